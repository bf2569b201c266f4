"""The lab's phones, for what adb is to do with them."""

import pytest
from device_lab.fixtures import lab, phone

__all__ = ["lab", "phone"]


@pytest.fixture
def connected(phone, monkeypatch):
    """The lab's Pixel 7 as android_bench sees it."""
    from android_bench.phone.adb import Phone, default_server

    return Phone(default_server(), phone.serial)

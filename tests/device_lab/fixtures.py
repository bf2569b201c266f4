"""Fixtures for tests that need phones: import `lab` and `phone` in a conftest.

If the lab cannot run they skip with its reason, unless PIPELINE_REQUIRE_DEVICE_LAB is 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from device_lab.adb_daemon import LabUnavailable
from device_lab.lab import Lab
from device_lab.phone import Phone

_opened: list[Lab] = []
"""The one lab of this test run, shared by all conftests that import the fixture."""


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab, built once and closed with all its phones at the end."""
    if not _opened:
        _opened.append(_open())
    yield _opened[0]
    _opened[0].close()


@pytest.fixture
def phone(lab: Lab) -> Iterator[Phone]:
    """A Pixel 7, for a test that runs inside the lab's network."""
    with lab.inside():
        started = lab.phone("pixel7")
        yield started
        started.remove()


def _open() -> Lab:
    try:
        return Lab()
    except LabUnavailable as error:
        if os.environ.get("PIPELINE_REQUIRE_DEVICE_LAB") == "1":
            pytest.fail(f"no device lab: {error}")
        pytest.skip(f"no device lab: {error}")

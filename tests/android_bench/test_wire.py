"""What is read from an adb server or a phone that does not keep to adb's protocol."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_bench.errors import DeviceError
from android_bench.phone.adb import AdbServer, Phone, default_server
from android_bench.phone.device import parse_clusters, parse_heat, parse_properties, split_sections
from android_bench.phone.wire import Upload, Wire, named_errors, receive_file, send_file

READS: tuple[Callable[[Wire], Any], ...] = (
    lambda wire: wire.text_block(),
    lambda wire: wire.request("host:version"),
    lambda wire: receive_file(wire, "/x"),
    lambda wire: list(send_file(wire, Upload(content=b"abc", remote="/x"))),
)
EXIT, OKAY = 3, b"OKAY"


@pytest.fixture
def scripted() -> Any:
    """Starts a server that answers every connection with the given bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_with(content: bytes) -> Phone:
            def serve() -> None:
                connection = listening.accept()[0]
                with connection:
                    connection.sendall(content)
                    connection.settimeout(5)
                    while connection.recv(4096):
                        pass

            threading.Thread(target=serve, daemon=True).start()
            return Phone(AdbServer("127.0.0.1", listening.getsockname()[1]), "R58M")

        yield answer_with


@given(st.binary(max_size=64) | st.binary(max_size=32).map(lambda rest: OKAY + rest), st.sampled_from(READS))
def test_any_answer_is_read_or_is_a_device_error(answer: bytes, read: Callable[[Wire], Any]):
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        try:
            with Wire(ours, time.monotonic() + 5) as wire, named_errors("phone R58M", 5):
                read(wire)
        except DeviceError:
            pass


@pytest.mark.parametrize("length", [b"zzzz", b"-001", b"+0ff", b" 12 ", b"0x1f"])
def test_length_that_is_not_hexadecimal_is_named(length: bytes):
    ours, theirs = socket.socketpair()
    with theirs, Wire(ours, time.monotonic() + 5) as wire:
        theirs.sendall(length + b"a" * 64)
        with pytest.raises(DeviceError, match="instead of a length"), named_errors("adb server", 5):
            wire.text_block()


def test_exit_packet_without_a_status_is_named(scripted: Callable[[bytes], Phone]):
    phone = scripted(OKAY + b"12345678" + OKAY + struct.pack("<BI", EXIT, 0))
    with pytest.raises(DeviceError, match="exit packet without a status"):
        phone.shell("true", limit_secs=5)


def test_packet_of_four_gigabytes_is_refused_before_it_is_read(scripted: Callable[[bytes], Phone]):
    phone = scripted(OKAY + b"12345678" + OKAY + struct.pack("<BI", 1, 0xFFFF_FFFF))
    with pytest.raises(DeviceError, match="packet of 4294967295 bytes"):
        phone.shell("true", limit_secs=5)


@pytest.mark.parametrize(
    ("name", "value"), [("HOST", "a..b"), ("HOST", "x\x1b[31m"), ("PORT", "usb"), ("PORT", "²")]
)
def test_server_in_the_environment_that_is_none_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(f"ANDROID_ADB_SERVER_{name}", value)
    with pytest.raises(DeviceError, match="is no adb server"):
        default_server()


NUMBER = st.sampled_from(
    ["312", "-1", "99999999999", "²", "٣", "1.2.3", "", "nan", "9" * 5000, "0-7", "6553"]
)


@given(st.lists(NUMBER, min_size=8, max_size=8), st.text(max_size=40))
def test_any_number_that_a_phone_reports_is_read_or_not_reported(numbers: list[str], other: str):
    one, two, three, four, five, six, cpu, khz = numbers
    output = (
        f"@@battery\n  level: {one}\n  temperature: {two}\n{other}\n@@thermal\nThermal Status: {three}\n"
        f"\tTemperature{{mValue={four}, mType={five}, mName=x, mStatus=0}}\n"
        f"\tTemperature{{mValue={six}, mType=3, mName=x, mStatus=0}}\n"
    )
    heat = parse_heat(split_sections(output))
    assert heat.celsius is None or -60 <= heat.celsius <= 150
    assert all(max(found.cpus) < 1000 for found in parse_clusters(f"/cpu{cpu}/cpufreq/max {khz}\n"))
    parse_properties(other)

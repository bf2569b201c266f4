"""Which phones are meant, and what is said of those that cannot be used."""

from __future__ import annotations

import pytest

from android_bench.errors import NoPhoneError, NotReadyError
from android_bench.phone.adb import AdbServer, ListedPhone, parse_server
from android_bench.phone.pool import select


def listed(**states: str) -> list[ListedPhone]:
    """Phones of these serials and states."""
    server = AdbServer("127.0.0.1", 5037)
    return [ListedPhone(serial=serial, state=state, server=server) for serial, state in states.items()]


def serials(found: list[ListedPhone]) -> list[str]:
    """Their serials."""
    return [phone.serial for phone in found]


def test_the_only_ready_phone_needs_no_name():
    assert serials(select(listed(A1="unauthorized", B2="device"), [])) == ["B2"]


def test_two_phones_and_no_serial_is_an_error_that_names_them():
    with pytest.raises(NoPhoneError, match=r"2 phones are connected \(A1, B2\).*-s SERIAL.*-s all"):
        select(listed(A1="device", B2="device"), [])


def test_all_takes_every_ready_phone():
    assert serials(select(listed(A1="device", B2="offline", C3="device"), ["all"])) == ["A1", "C3"]


def test_named_phones_come_in_their_order_and_once():
    assert serials(select(listed(A1="device", B2="device"), ["B2", "A1", "B2"])) == ["B2", "A1"]


def test_a_serial_that_two_servers_have_means_the_ready_phones_of_both():
    here, there = AdbServer("127.0.0.1", 5037), AdbServer("lab-pc", 5037)
    phones = [
        ListedPhone(serial="emulator-5554", state=state, server=server)
        for state, server in (("offline", here), ("device", there), ("device", here))
    ]
    assert select(phones, ["emulator-5554"]) == phones[1:]


def test_a_mistyped_serial_gets_the_nearest():
    with pytest.raises(NoPhoneError, match=r"no phone with serial 'R58M1'.*Did you mean 'R58M12'"):
        select(listed(R58M12="device"), ["R58M1"])


@pytest.mark.parametrize(
    ("state", "what_to_do"),
    [("unauthorized", "Allow USB debugging"), ("offline", "plug it in again"), ("recovery", "adb reboot")],
)
def test_a_phone_that_is_not_ready_is_told_with_what_to_do(state, what_to_do):
    with pytest.raises(NotReadyError, match=rf'phone A1 is not ready \(adb says "{state}"\).*{what_to_do}'):
        select(listed(A1=state), ["A1"])


def test_no_phone_at_all_is_told_how_to_get_one():
    with pytest.raises(NoPhoneError, match=r"USB debugging.*pipeline devices"):
        select([], [])


def test_a_server_is_host_and_port():
    assert parse_server("lab-pc:5038") == AdbServer("lab-pc", 5038)
    assert parse_server("lab-pc") == AdbServer("lab-pc", 5037)
    assert parse_server("[::1]:5037") == AdbServer("::1", 5037)


@pytest.mark.parametrize("text", ["", ":5037", "lab:port", "lab:0", "lab:70000", "lab:"])
def test_what_is_no_server_is_refused(text):
    with pytest.raises(ValueError, match=r"is no adb server"):
        parse_server(text)

"""The phones of one or several adb servers as one pool, and the selection by serial."""

from __future__ import annotations

from collections.abc import Sequence

from android_bench.adb_words import advice
from android_bench.errors import DeviceError, NoPhoneError, NotReadyError
from android_bench.phone.adb import AdbServer, ListedPhone
from spelling import did_you_mean

ALL = "all"
"""The serial that means every phone that is ready."""


def list_phones(servers: Sequence[AdbServer]) -> tuple[list[ListedPhone], list[str]]:
    """Every phone of the servers, ready or not, and the errors of servers that do not answer.

    DeviceError if none of them answers.
    """
    found: list[ListedPhone] = []
    problems: list[DeviceError] = []
    for server in servers:
        try:
            server.start()
            found += server.list()
        except DeviceError as error:
            problems.append(error)
    if len(problems) == len(servers):
        raise problems[0]
    return found, [str(problem) for problem in problems]


def select(listed: Sequence[ListedPhone], serials: Sequence[str]) -> list[ListedPhone]:
    """The ready phones with these serials, on all servers; without serials, the only phone that is ready.

    NoPhoneError if there is none or more than one, NotReadyError if a named phone cannot be used.
    """
    ready = [phone for phone in listed if phone.state == "device"]
    if not listed:
        raise NoPhoneError(
            "no phone is connected. Plug one in, switch on 'USB debugging' in its developer options, and "
            "accept the prompt on its screen; `pipeline devices` says what is seen."
        )
    if not serials or ALL in serials:
        if not ready:
            raise _not_ready(listed[0])
        if len(ready) > 1 and not serials:
            names = ", ".join(phone.serial for phone in ready)
            raise NoPhoneError(
                f"{len(ready)} phones are connected ({names}) and none was named. "
                f"Name it with -s SERIAL, several times for several, or take all of them: -s {ALL}"
            )
        return ready
    return [phone for serial in dict.fromkeys(serials) for phone in _named(serial, listed)]


def _named(serial: str, listed: Sequence[ListedPhone]) -> list[ListedPhone]:
    """The ready phones with the serial: each of several servers may have an emulator-5554."""
    found = [phone for phone in listed if phone.serial == serial]
    if ready := [phone for phone in found if phone.state == "device"]:
        return ready
    if found:
        raise _not_ready(found[0])
    known = [phone.serial for phone in listed]
    raise NoPhoneError(
        f"no phone with serial {serial!r} is connected. {did_you_mean(serial, known)}"
        f"Connected: {', '.join(known)}."
    )


def _not_ready(phone: ListedPhone) -> NotReadyError:
    return NotReadyError(
        f'phone {phone.serial} is not ready (adb says "{phone.state}"). {advice(phone.state)}'
    )

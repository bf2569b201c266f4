"""What adb says when it fails, as one sentence each, from a live phone or a log. Standard library only."""

from __future__ import annotations

import re

from android_bench.errors import ConnectionLostError, DeviceError, NoPhoneError, NotReadyError
from android_bench.reasons import Reason

_SAID = re.compile(r"(?:adb(?:\.exe)?: error: |adb(?:\.exe)?: |error: |\* )(?P<words>.+)", re.IGNORECASE)
_FAILED = re.compile(
    r"(?:device\b|no devices|more than one|protocol fault|closed$|insufficient permissions|connect error"
    r"|failed to (?:get feature set|start daemon|check server version|connect)|cannot connect|timeout expired"
    r"|could not (?:connect|read)|connection reset|unknown host service)",
    re.IGNORECASE,
)
"""How adb's client begins what failed."""
_NOT_COPIED = re.compile(r"failed to copy '(?P<local>.*)' to '(?P<remote>.*)': (?:remote )?(?P<why>.+)")
_NO_LOCAL_FILE = re.compile(r"cannot stat '(?P<local>.*)': (?P<why>.+)")
_NO_SPACE = re.compile(r".*?(?P<path>/[^\s:']+)'?: (?P<why>No space left on device|Read-only file system)")
_SERIAL = re.compile(r"(?:device|transport) '(?P<serial>[^']+)'")


def explained(who: str, words: str) -> DeviceError:
    """The server's or client's words as an error for the user; `who` is the phone or the server."""
    first = words.strip().splitlines()[0] if words.strip() else "no reason given"
    lower = words.lower()
    if "more than one" in lower:
        return NoPhoneError(f"several phones are connected (adb says: {first}). Name one with -s SERIAL.")
    if "insufficient permissions" in lower:
        return NotReadyError(f"{who} is not ready (adb says: {first}). {advice('no permissions')}")
    if "not found" in lower or "no devices" in lower:
        return NoPhoneError(f"{who} is not connected (adb says: {first}). Connected phones: pipeline devices")
    for state in ("unauthorized", "authorizing", "offline"):
        if state in lower:
            return NotReadyError(f'{who} is not ready (adb says "{state}"). {advice(state)}')
    return ConnectionLostError(f"{who} cannot be used: adb says: {first}. Reconnect it and try again.")


def advice(state: str) -> str:
    """Advice for a phone in one of adb's states; empty if it is ready."""
    known = {
        "device": "",
        "unauthorized": "Accept the prompt 'Allow USB debugging' on the phone's screen, then retry.",
        "authorizing": "Wait a moment, or accept the prompt on the phone's screen, then retry.",
        "offline": "Unplug it and plug it in again (or: adb reconnect offline), then retry.",
        "no permissions": "Add a udev rule for it, or run the adb server as a user who may use USB.",
        "recovery": "Start Android on it: adb reboot.",
        "sideload": "Start Android on it: adb reboot.",
        "bootloader": "Start Android on it: fastboot reboot.",
        "host": "This is no phone; unplug it.",
    }
    for name, text in known.items():
        if state.startswith(name):
            return text
    return "Unplug it and plug it in again, then retry."


def cannot_write(path: str, why: str) -> str:
    """The sentence for a file that the phone does not take."""
    full = "No space left" in why
    advice = (
        "The phone's storage is full: free some space there, then run the same command again."
        if full
        else "Check the storage of the phone, then run the same command again."
    )
    return Reason.CANNOT_WRITE.text(path=path, why=why, advice=advice)


def failure_said(line: str) -> str | None:
    """The sentence for a line in which adb fails, or a shell for want of space; None for any other."""
    found = _SAID.fullmatch(line)
    words = found["words"] if found else ""
    if copied := _NOT_COPIED.match(words):
        return cannot_write(copied["remote"], copied["why"].rstrip("."))
    if missing := _NO_LOCAL_FILE.match(words):
        return f"adb cannot read {missing['local']} on this machine ({missing['why']}). Check the path."
    if found and _FAILED.match(words):
        serial = _SERIAL.search(words)
        return str(explained(f"phone {serial['serial']}" if serial else "the phone", words.rstrip(".")))
    space = _NO_SPACE.match(line)
    return cannot_write(space["path"], space["why"]) if space else None

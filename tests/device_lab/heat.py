"""A phone's temperature: files that its dumpsys, its thermal zones and its benchmark tool share.

On the machine they are in the phone's folder, inside the phone in /lab.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOM_CELSIUS = 25.0
_STATUS_STEPS = ((10.0, 4), (5.0, 3), (0.0, 2))
"""(degrees above the threshold, thermal status): critical, severe, moderate."""


@dataclass(frozen=True)
class Heat:
    """How much a run of the tool warms the phone, and how much the phone then slows the tool."""

    celsius: float = 0.0
    """Each run warms the phone by this much."""
    slowdown: float = 1.0
    """From the threshold on, an inference takes this many times as long."""
    threshold_celsius: float = 40.0
    cool_celsius_per_s: float = 0.0
    room_celsius: float = ROOM_CELSIUS


def write_heat(lab: Path, heat: Heat) -> None:
    """Sets how the phone warms up."""
    _replace(lab / "heat.json", json.dumps(asdict(heat)))


def read_heat(lab: Path) -> Heat | None:
    """How the phone warms up; None if runs do not warm it."""
    try:
        return Heat(**json.loads((lab / "heat.json").read_text()))
    except FileNotFoundError:
        return None


def celsius(lab: Path) -> float:
    """The battery's temperature."""
    return float((lab / "state/celsius").read_text())


def set_celsius(lab: Path, value: float) -> None:
    """Writes the battery's temperature, and each thermal zone's, which has an offset."""
    _replace(lab / "state/celsius", f"{value:.3f}")
    _replace(lab / "state/temperature", f"{round(value * 10)}")
    for zone in (lab / "thermal").iterdir():
        offset = float((lab / "offsets" / zone.name).read_text())
        (zone / "temp").write_text(f"{round((value + offset) * 1000)}\n")


def set_status(lab: Path, status: int) -> None:
    """Writes the thermal status, 0 (none) to 6 (shutdown)."""
    _replace(lab / "state/thermal_status", str(status))


def warm_up(lab: Path, heat: Heat) -> None:
    """Adds the warmth of one run."""
    with _locked(lab):
        _settle(lab, heat, celsius(lab) + heat.celsius)


def cool_down(lab: Path, elapsed_s: float) -> None:
    """Cools the phone for `elapsed_s`, down to the room's temperature."""
    heat = read_heat(lab)
    if heat is None or not heat.cool_celsius_per_s:
        return
    with _locked(lab):
        before = celsius(lab)
        if before > heat.room_celsius:
            after = max(heat.room_celsius, before - elapsed_s * heat.cool_celsius_per_s)
            _settle(lab, heat, after)


def slowdown(lab: Path) -> float:
    """The factor by which an inference is slower now."""
    heat = read_heat(lab)
    if heat is None or celsius(lab) < heat.threshold_celsius:
        return 1.0
    return heat.slowdown


def _settle(lab: Path, heat: Heat, value: float) -> None:
    set_celsius(lab, value)
    above = value - heat.threshold_celsius
    set_status(lab, next((status for step, status in _STATUS_STEPS if above >= step), 0))


@contextmanager
def _locked(lab: Path) -> Iterator[None]:
    with (lab / "state/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    """Replaces the file's text atomically."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(f"{text}\n")
    beside.rename(path)

"""The log of the tool's runs on a phone: one line at a run's start, another at its end."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run. A run killed from outside has no end and no status."""

    argv: tuple[str, ...]
    flavour: str
    """tflite or litert."""
    process: int
    affinity: str | None
    """The mask given to taskset, in hexadecimal; None without one."""
    num_threads: int
    """Threads the runtime was given; 0 if it ended before."""
    started_s: float
    """CLOCK_MONOTONIC, as time.monotonic() on the machine, when the tool was executed."""
    ended_s: float | None = None
    status: int | None = None
    """As in a shell: 128 plus the number of the signal."""

    @property
    def seconds(self) -> float | None:
        return None if self.ended_s is None else self.ended_s - self.started_s


def append(lab: Path, record: dict) -> None:
    """Appends one line, atomically even if several tools write at once."""
    with (lab / "runs.jsonl").open("a") as file:
        file.write(f"{json.dumps(record)}\n")


def read_runs(lab: Path) -> list[Run]:
    """Every run since the phone was made, in order of start."""
    path = lab / "runs.jsonl"
    runs: dict[str, Run] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        record = json.loads(line)
        key = record.pop("id")
        if key in runs:
            runs[key] = replace(runs[key], **record)
        else:
            runs[key] = Run(argv=tuple(record.pop("argv")), **record)
    return list(runs.values())

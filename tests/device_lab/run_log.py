"""Which runs of the tool a phone has seen: a line as one starts, another as it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run. What was killed from outside has no end and no status."""

    argv: tuple[str, ...]
    flavour: str
    """tflite or litert."""
    process: int
    affinity: str | None
    """The mask given to taskset, in hexadecimal; None without one."""
    num_threads: int
    """Threads the runtime was given; 0 when it never came to that."""
    started_s: float
    """CLOCK_MONOTONIC, as time.monotonic() on the machine, when the tool was executed."""
    ended_s: float | None = None
    status: int | None = None
    """As a shell gives it: 128 more than the signal."""

    @property
    def seconds(self) -> float | None:
        return None if self.ended_s is None else self.ended_s - self.started_s


def append(lab: Path, record: dict) -> None:
    """Adds one line; whole even when several tools write at once."""
    with (lab / "runs.jsonl").open("a") as file:
        file.write(f"{json.dumps(record)}\n")


def read_runs(lab: Path) -> list[Run]:
    """Every run since the phone was made, in the order of their starts."""
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

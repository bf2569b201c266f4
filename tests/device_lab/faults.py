"""Faults of a phone's benchmark tool: set by a test, read by the tool when it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Faults:
    """No fault by default. A fault that ends or stops the tool does so in its timed runs."""

    abort: bool = False
    """Ends with signal 6: exit status 134."""
    killed: bool = False
    """Ends with signal 9, as Android's low-memory killer ends it: 137."""
    segfault: bool = False
    """Ends with signal 11: 139."""
    hang: bool = False
    """Never ends."""
    chatter: bool = False
    """Prints without end."""
    endless_file: bool = False
    """Its result file is one that never ends."""
    half_line: bool = False
    """Prints half of the timed stats line and ends with status 0 ..."""
    half_line_killed: bool = False
    """... or by signal 9."""
    gpu_none: bool = False
    """The GPU delegate takes no node."""
    gpu_partial: bool = False
    """The GPU delegate takes every node but the last."""
    gpu_fails: bool = False
    """The GPU delegate cannot be applied: exit status 1."""
    gpu_wrong: bool = False
    """The GPU is four times as fast, and its outputs are wrong."""
    nnapi_takes: bool = False
    """The NNAPI delegate takes every node."""
    coarse_profile: bool = False
    """The operator profile has XNNPACK's nodes without their operators, as before TensorFlow 2.10."""
    threads_ignored: bool = False
    """Runs with one thread and does not say so."""
    fewer_runs: int = 0
    """Stops after this many timed runs."""
    proto_differs: bool = False
    """The protocol buffer's mean is twice the text's."""
    coarse_clock: bool = False
    """The clock does not advance during an inference."""
    no_median: bool = False
    """Tells no percentiles, as before TensorFlow 2.13."""
    slow: float = 1.0
    """An inference takes that many times as long."""
    unconsumed: str = ""
    """Warns that this flag was not consumed, and ignores it."""
    only_for: str = ""
    """The faults only apply to a run whose command line contains this text."""


def known_faults() -> list[str]:
    """The names of all faults."""
    return [field.name for field in fields(Faults)]


def write_faults(lab: Path, faults: Faults) -> None:
    """Sets the faults of every tool that starts from now on."""
    beside = lab / "faults.new"
    beside.write_text(json.dumps(asdict(faults)))
    beside.rename(lab / "faults.json")


def read_faults(lab: Path, words: list[str]) -> Faults:
    """The faults that apply to a tool with this command line."""
    try:
        faults = Faults(**json.loads((lab / "faults.json").read_text()))
    except FileNotFoundError:
        return Faults()
    return faults if faults.only_for in " ".join(words) else Faults()

"""Measures the time of each operator of a file on this machine: LiteRT's Python package has no profiler.

Each operator is cut out into its own file, with the inputs that it has in the whole file. The whole files
and their operators take turns in rounds, each loaded anew in every round, in one child process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pipeline
from export.limits import TFLITE_PARTS_BYTES
from export.reading import OutOfBoundsError, size_in_words
from export.signals import signal_words
from export.tflite.layer import Layer
from export.tflite.submodel import Cutter
from pipeline.bench.child import explain, one_line, runtime_version
from pipeline.bench.host import machine_name
from pipeline.bench.statistics import noise_ms
from pipeline.errors import UsageError

RUNTIME = "litert"


@dataclass(frozen=True, kw_only=True)
class TimingSettings:
    """How long and how often each operator is run."""

    num_threads: int = 1
    num_rounds: int = 9
    """At least 6 are needed for the noise."""
    operator_secs: float = 0.004
    """Minimum seconds of each operator in a round; it runs at least three times."""
    whole_secs: float = 0.08
    """The same for the whole file."""
    max_secs: float = 60.0
    """No round starts after this many seconds."""

    def __post_init__(self) -> None:
        """Refuses impossible settings."""
        for name in ("num_threads", "num_rounds"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}. Give 1 or more.")


@dataclass(frozen=True, kw_only=True)
class TimedFile:
    """The times of one file and its operators, and their conditions."""

    whole_ms: float
    """The median over the rounds of the whole file's median run."""
    noise_ms: float | None
    """Half the 95% interval of whole_ms; None after fewer than 6 rounds."""
    operators_ms: dict[int, float]
    """Operator's index -> its median, run alone; without those that a runtime runs while loading."""
    sum_ms: float
    """Sum over all timed operators; compare with whole_ms."""
    outside_xnnpack: tuple[int, ...] | None
    """Operators that XNNPACK left to TFLite's own kernels in the whole file; None if unknown."""
    failed: dict[int, str]
    """Operator's index -> why it could not be run alone."""
    round_medians_ms: tuple[float, ...]
    machine: str
    runtime: str
    runtime_version: str
    num_threads: int
    num_rounds: int
    measured_utc: str

    @property
    def coverage(self) -> float:
        """The timed operators' share of the whole file's time, at most 1."""
        return min(1.0, self.sum_ms / self.whole_ms)


@dataclass(frozen=True, kw_only=True)
class NotTimed:
    """Why a file could not be measured."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class FileToTime:
    """A file, and the operators of its main graph."""

    path: Path
    layers: tuple[Layer, ...]


def time_operators(files: Sequence[FileToTime], settings: TimingSettings) -> list[TimedFile | NotTimed]:
    """The times of each file's operators, in the order of the files. MissingToolError without LiteRT."""
    version = runtime_version(RUNTIME)
    try:
        said = _run(files, settings)
    except OutOfBoundsError as error:
        return [NotTimed(reason=str(error)) for _ in files]
    if said.died and len(files) > 1:  # one file crashed the child: the others are still measured
        return [time_operators([file], settings)[0] for file in files]
    return [_timed(index, file, said, settings, version) for index, file in enumerate(files)]


@dataclass(frozen=True, kw_only=True)
class _Said:
    """The child's output lines, and how it ended."""

    lines: tuple[dict[str, Any], ...]
    died: str
    """Why it ended early; empty if it did not."""

    def of(self, file: int, key: str) -> list[dict[str, Any]]:
        """The lines about one file that contain `key`."""
        return [line for line in self.lines if line.get("file") == file and key in line]


def _run(files: Sequence[FileToTime], settings: TimingSettings) -> _Said:
    with tempfile.TemporaryDirectory(prefix="pipeline-explain-") as folder:
        plan = Path(folder) / "plan.json"
        plan.write_text(json.dumps(_plan(files, settings, Path(folder))))
        patience_secs = 120 + 5 * settings.max_secs
        root = str(Path(pipeline.__path__[0]).parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "pipeline.explain.worker", str(plan)],
                capture_output=True,
                timeout=patience_secs,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return _Said(
                lines=_lines(error.stdout or b""),
                died=f"{RUNTIME} hung: no answer in {patience_secs:.0f} s",
            )
    return _Said(lines=_lines(done.stdout), died=_why_dead(done))


def _plan(files: Sequence[FileToTime], settings: TimingSettings, folder: Path) -> dict[str, Any]:
    entries, room = [], TFLITE_PARTS_BYTES
    for number, file in enumerate(files):
        cutter = Cutter(file.path.read_bytes())
        operators = []
        for layer in file.layers[: cutter.num_operators]:
            if layer.on_loading:
                continue
            part, path = cutter.cut(layer.index), folder / f"{number}-{layer.index}.tflite"
            room -= len(part.content)
            if room < 0:
                raise OutOfBoundsError(
                    f"the operators, cut out one by one, take more than {size_in_words(TFLITE_PARTS_BYTES)}"
                )
            path.write_bytes(part.content)
            operators.append({"index": layer.index, "path": str(path), "inputs": part.inputs})
        entries.append({"path": str(file.path.absolute()), "operators": operators})
    return {
        "files": entries,
        "num_threads": settings.num_threads,
        "num_rounds": settings.num_rounds,
        "operator_secs": settings.operator_secs,
        "whole_secs": settings.whole_secs,
        "max_secs": settings.max_secs,
    }


def _timed(
    index: int, file: FileToTime, said: _Said, settings: TimingSettings, version: str
) -> TimedFile | NotTimed:
    rounds = said.of(index, "whole_ns")
    refusals = said.of(index, "error")
    if refusals:
        return NotTimed(reason=explain(RUNTIME, "loading or running it", refusals[0]["error"]))
    if not rounds:
        return NotTimed(reason=said.died or f"{RUNTIME} said nothing of it")
    whole = [each["whole_ns"] / 1e6 for each in rounds]
    names = sorted({int(name) for each in rounds for name in each["operators_ns"]})
    operators = {
        name: median(
            each["operators_ns"][str(name)] / 1e6 for each in rounds if str(name) in each["operators_ns"]
        )
        for name in names
    }
    delegated = said.of(index, "delegated")[0]["delegated"]
    return TimedFile(
        whole_ms=median(whole),
        noise_ms=noise_ms(whole),
        operators_ms=operators,
        sum_ms=sum(operators.values()),
        outside_xnnpack=None if delegated is None else _left(file.layers, names, delegated),
        failed={int(name): one_line(why) for each in rounds for name, why in each["failed"].items()},
        round_medians_ms=tuple(whole),
        machine=machine_name(),
        runtime=RUNTIME,
        runtime_version=version,
        num_threads=settings.num_threads,
        num_rounds=len(rounds),
        measured_utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _left(
    layers: tuple[Layer, ...], timed: Sequence[int], delegated: list[dict[str, list[int]]]
) -> tuple[int, ...]:
    """The operators outside the delegated parts; a part is everything between its inputs and outputs."""
    writers = {tensor: layers[index] for index in timed for tensor in layers[index].outputs}
    taken: set[int] = set()
    for part in delegated:
        stop, seen, ahead = set(part["inputs"]), set(), list(part["outputs"])
        while ahead:
            tensor = ahead.pop()
            writer = writers.get(tensor)
            if writer is None or tensor in stop or tensor in seen:
                continue
            seen.add(tensor)
            taken.add(writer.index)
            ahead += writer.inputs
    return tuple(index for index in timed if index not in taken)


def _lines(said: bytes) -> tuple[dict[str, Any], ...]:
    whole = [line for line in said.splitlines(keepends=True) if line.endswith(b"\n")]
    return tuple(json.loads(line) for line in whole)


def _why_dead(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"{RUNTIME} crashed ({signal_words(-done.returncode)})"
    last_words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return f"{RUNTIME} ended with status {done.returncode}: {' '.join(last_words) or 'it said nothing'}"

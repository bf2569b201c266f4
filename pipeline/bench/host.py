"""Latency on this machine: the files take turns in rounds, one process per file, one running at a time.

In each round every file is loaded anew, warmed up and timed; every second round runs in reverse order. So
drift of the machine affects all files equally, and round i of two files can be compared (see statistics.py).
With many files, only some keep their process between rounds.
"""

from __future__ import annotations

import os
import platform
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from android_bench.reasons import Reason
from export.files import sha256_of
from export.tflite.inspect import inspect
from pipeline.bench.child import ChildFailedError, runtime_version
from pipeline.bench.children import Children
from pipeline.bench.machine_use import MachineUse, Watch, typical
from pipeline.bench.settings import BenchSettings, share_of_runs
from pipeline.bench.statistics import noise_ms, percentile, summarize
from pipeline.records.measurement import XNNPACK, Measurement
from pipeline.sessions import new_session
from spelling import counted

Progress = Callable[[int, int, str], None]
"""progress(done, total, name), called before each file's turn; done and total count turns."""


@dataclass(frozen=True, kw_only=True)
class MeasuredFile:
    """A measurement and its rounds' medians, which comparisons use."""

    measurement: Measurement
    round_medians_ms: tuple[float, ...]
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """The measurements of one call: all files with the first number of threads, then with the next."""

    measured: tuple[MeasuredFile, ...]
    stopped: bool
    """Whether Ctrl-C ended it early; the measurements until then are kept, marked as not valid."""


def run_rounds(
    files: Sequence[Path], settings: BenchSettings, *, progress: Progress | None = None
) -> BenchResult:
    """Measures each file with each number of threads, in interleaved rounds.

    A file on which the runtime fails, crashes or hangs gets an invalid measurement with the reason. Raises
    BadModelFileError for an incomplete .tflite file before anything is measured, and MissingToolError for a
    runtime that is not installed.
    """
    for file in dict.fromkeys(files):
        inspect(file)
    version = runtime_version(settings.runtime)
    checksums = {file: sha256_of(file) for file in files}
    asked = [(file, num_threads) for num_threads in settings.num_threads for file in files]
    series = [
        _Series(place, file, checksums[file], num_threads) for place, (file, num_threads) in enumerate(asked)
    ]
    stopped = False
    with Children(runtime=settings.runtime, patience_secs=settings.patience_secs) as children:
        try:
            _take_turns(series, settings, children, progress or _no_progress)
        except KeyboardInterrupt:
            stopped = True
    machine, session = machine_name(), new_session()
    measured = [
        each.result(settings, version=version, machine=machine, session=session)
        for each in series
        if each.began or not stopped
    ]
    return BenchResult(measured=tuple(measured), stopped=stopped)


def machine_name() -> str:
    """The processor's model and the number of CPUs that this process may use."""
    count = num_cpus()
    return f"{_processor()}, {counted(count, 'CPU')}"


def num_cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Series:
    """One file with one number of threads, and its rounds so far."""

    place: int
    file: Path
    sha256: str
    num_threads: int
    samples_ns: array[int] = field(default_factory=lambda: array("q"))
    round_medians_ms: list[float] = field(default_factory=list)
    machine_use: list[MachineUse] = field(default_factory=list)
    warmup_runs: int = 0
    first_round: dict[str, Any] | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        self.size_bytes = self.file.stat().st_size

    def play(self, settings: BenchSettings, round_index: int, children: Children) -> None:
        """Runs one round, unless the file has failed or max_secs are over."""
        left_secs = settings.max_secs - sum(self.samples_ns) / 1e9
        if self.reason is not None or left_secs <= 0:
            return
        request = _request(settings, round_index, left_secs)
        busy_secs = request["warmup_min_secs"] + 2 * request["max_secs"]
        turn = self.place, self.file
        try:
            child = children.ready(turn, num_threads=self.num_threads)
            watch = Watch()
            reply = child.run_round(request, busy_secs=busy_secs)
        except ChildFailedError as error:
            self.reason = str(error)
            children.end(turn)
            return
        self._note_use(watch, reply)
        samples = reply.pop("samples_ns")
        self.samples_ns.extend(samples)
        self.round_medians_ms.append(percentile(sorted(samples), 50) / 1e6)
        self.warmup_runs += reply["warmup_runs"]
        if self.first_round is None:
            self.first_round = reply
            self.reason = _threads_ignored(settings.runtime, self.num_threads, reply["new_threads"])

    def _note_use(self, watch: Watch, reply: dict[str, Any]) -> None:
        waited_ns = reply["waited_ns"]
        use = watch.over(
            num_threads=self.num_threads,
            cpu_secs=reply["cpu_ns"] / 1e9,
            waited_secs=None if waited_ns is None else waited_ns / 1e9,
            num_cpus=num_cpus(),
        )
        if use is not None:
            self.machine_use.append(use)

    @property
    def began(self) -> bool:
        """Whether there is a round or a failure."""
        return bool(self.samples_ns) or self.reason is not None

    def reasons(self, settings: BenchSettings) -> tuple[str, ...]:
        """Why the measurement is not valid, after all rounds."""
        if self.reason is not None:
            return (self.reason,)
        found = []
        done = len(self.round_medians_ms)
        if done < settings.rounds and sum(self.samples_ns) / 1e9 < settings.max_secs:
            found.append(Reason.STOPPED.text(done=done, rounds=counted(settings.rounds, "round")))
        if 0 in self.round_medians_ms:
            found.append(Reason.BELOW_RESOLUTION.text())
        use = typical(self.machine_use)
        if use is not None and use.wait_share > settings.max_wait:
            others = f"{use.others_cpus:.1f} of {use.num_cpus} CPUs"
            found.append(Reason.MACHINE_BUSY.text(others=others, share=f"{use.wait_share:.0%}"))
        if not self.file.is_file() or sha256_of(self.file) != self.sha256:
            found.append(Reason.FILE_CHANGED.text())
        return tuple(found)

    def result(self, settings: BenchSettings, *, version: str, machine: str, session: str) -> MeasuredFile:
        """The measurement over all rounds."""
        latency = summarize([ns / 1e6 for ns in self.samples_ns]) if self.samples_ns else None
        first = self.first_round or {}
        use = typical(self.machine_use)
        reasons = self.reasons(settings)
        measurement = Measurement(
            artifact_sha256=self.sha256,
            path=str(self.file),
            where="host",
            machine=machine,
            runtime=settings.runtime,
            runtime_version=version,
            delegate=XNNPACK if first.get("delegated") else "cpu",
            num_threads=self.num_threads,
            warmup_runs=self.warmup_runs,
            num_runs=len(self.samples_ns),
            num_rounds=len(self.round_medians_ms),
            median_ms=latency.median_ms if latency else None,
            avg_ms=latency.avg_ms if latency else None,
            std_ms=latency.std_ms if latency else None,
            min_ms=latency.min_ms if latency else None,
            max_ms=latency.max_ms if latency else None,
            p5_ms=latency.p5_ms if latency else None,
            p95_ms=latency.p95_ms if latency else None,
            first_ms=first["first_ns"] / 1e6 if first else None,
            init_ms=first["init_ns"] / 1e6 if first else None,
            peak_memory_bytes=first.get("peak_memory_bytes"),
            noise_ms=noise_ms(self.round_medians_ms),
            valid=not reasons,
            reasons=reasons,
            measured_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            round_sessions=(session,) * len(self.round_medians_ms),
            others_cpus=use.others_cpus if use else None,
            wait_share=use.wait_share if use else None,
        )
        return MeasuredFile(
            measurement=measurement,
            round_medians_ms=tuple(self.round_medians_ms),
            size_bytes=self.size_bytes,
        )


def _take_turns(
    series: Sequence[_Series], settings: BenchSettings, children: Children, progress: Progress
) -> None:
    total = settings.rounds * len(series)
    for round_index in range(settings.rounds):
        order = series if round_index % 2 == 0 else series[::-1]
        for place, each in enumerate(order):
            progress(round_index * len(series) + place, total, each.file.stem)
            each.play(settings, round_index, children)
    progress(total, total, "done")


def _request(settings: BenchSettings, round_index: int, left_secs: float) -> dict[str, Any]:
    """This round's share of the settings."""
    rounds = settings.rounds
    return {
        "warmup_runs": settings.warmup_runs,
        "warmup_min_secs": settings.warmup_min_secs / rounds,
        "num_runs": share_of_runs(settings, round_index),
        "min_secs": settings.min_secs / rounds,
        "max_secs": min(settings.max_secs / rounds, left_secs),
    }


def _threads_ignored(runtime: str, num_threads: int, new_threads: int | None) -> str | None:
    if new_threads is None or new_threads >= num_threads - 1:
        return None
    return Reason.HOST_THREADS_IGNORED.text(runtime=runtime, ran=new_threads + 1, asked=num_threads)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    board = Path("/proc/device-tree/model")  # an ARM board's cpuinfo names no model
    if board.is_file():
        return board.read_text().strip("\0\n ")
    return platform.processor() or platform.machine()


def _no_progress(done: int, total: int, name: str) -> None:
    """A progress callback that does nothing."""
    del done, total, name

"""Runs a model repeatedly like the tool, with the effects of faults and heat."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_lab.faults import Faults
from device_lab.tool import spoken
from device_lab.tool.command_line import CommandLine
from device_lab.tool.model_runtime import Model
from device_lab.tool.timings import Timings

_GPU_WRONG_SPEED = 4


@dataclass
class Job:
    """The state of one call of the tool."""

    options: CommandLine
    faults: Faults
    slowdown: float
    """The factor by which an inference is slower, from faults and heat together."""
    threads: int = 0
    """Threads that the runtime was given; 0 before that."""
    wrong: bool = field(default=False)
    """Whether a GPU computes fast and wrong outputs."""


def warm_up_and_time(job: Job, model: Model, data: list[Any]) -> tuple[Timings, Timings]:
    """The warm-up's timings and the timed ones, each with its lines."""
    options = job.options
    dry = options["dry_run"]
    warmup = _block(
        job,
        model,
        data,
        runs=0 if dry else options["warmup_runs"],
        secs=-1.0 if dry else options["warmup_min_secs"],
    )
    spoken.info(f"{warmup.line(percentiles=not job.faults.no_median)}\n")
    timed = _block(
        job,
        model,
        data,
        runs=0 if dry else options["num_runs"],
        secs=-1.0 if dry else options["min_secs"],
        timed=True,
    )
    _say_timed(job.faults, timed)
    return warmup, timed


def outputs(job: Job, model: Model) -> bytes:
    """The raw outputs of the last run."""
    content = model.result_bytes()
    return bytes(reversed(content)) if job.wrong else content


def memory_kb() -> int:
    """The peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class PeakMemory:
    """Samples the memory in a thread until it is stopped."""

    def __init__(self, interval_ms: int) -> None:
        self._most_pages = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(max(interval_ms, 1) / 1000,), daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stops; returns the highest sample in whole megabytes."""
        self._stopped.set()
        self._thread.join()
        return megabytes(self._most_pages)

    def _look(self, interval_s: float) -> None:
        while True:
            self._most_pages = max(self._most_pages, resident_pages()[0])
            if self._stopped.wait(interval_s):
                return


def resident_pages() -> tuple[int, int]:
    """Pages in memory, and how many of them are shared."""
    words = Path("/proc/self/statm").read_text().split()
    return int(words[1]), int(words[2])


def megabytes(pages: int) -> int:
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _block(
    job: Job, model: Model, data: list[Any], *, runs: int, secs: float, timed: bool = False
) -> Timings:
    """One block of runs: a minimum number and a minimum time, but no start after max_secs."""
    longest = job.options["max_secs"]
    spoken.info(
        f"Running benchmark for at least {runs} iterations and at least {secs:g} seconds"
        f" but terminate if exceeding {longest:g} seconds."
    )
    if timed:
        _befall(job.faults)
    most = job.faults.fewer_runs if timed else 0
    now = time.monotonic()
    least_end, last_start = now + secs, now + longest
    each = []
    while (len(each) < runs or now < least_end) and now <= last_start and not (most and len(each) >= most):
        model.fill(data)
        each.append(_run(job, model))
        _rest(job.options, len(each), last_start - longest)
        now = time.monotonic()
    return Timings(tuple(each))


def _run(job: Job, model: Model) -> int:
    """Microseconds of one inference, with the slowdown of faults and heat."""
    start = time.perf_counter_ns()
    model.interpreter.invoke()
    took = time.perf_counter_ns() - start
    if job.faults.coarse_clock:
        return 0
    if job.wrong:
        return max(took // 1000 // _GPU_WRONG_SPEED, 1)
    if job.slowdown > 1:
        end = start + int(took * job.slowdown)
        while (left := end - time.perf_counter_ns()) > 0:
            time.sleep(left / 1e9)
        took = time.perf_counter_ns() - start
    return took // 1000


def _rest(options: CommandLine, num: int, start_s: float) -> None:
    """The pause after a run."""
    pause = options["run_delay"]
    if options["run_frequency"] > 0:
        pause = start_s + (num + 1) / options["run_frequency"] - time.monotonic()
    if pause > 0:
        time.sleep(pause)


def _befall(faults: Faults) -> None:
    """Ends or stops the tool by its fault; raises SystemExit with the shell's exit status."""
    if faults.hang:
        while True:
            signal.pause()
    while faults.chatter:
        spoken.info("a line like the others, " * 1000)
    for befallen, number in (
        (faults.abort, signal.SIGABRT),
        (faults.killed, signal.SIGKILL),
        (faults.segfault, signal.SIGSEGV),
    ):
        if befallen:
            raise SystemExit(128 + number)


def _say_timed(faults: Faults, timed: Timings) -> None:
    line = timed.line(percentiles=not faults.no_median)
    if faults.half_line or faults.half_line_killed:
        spoken.unfinished(f"INFO: {line[: len(line) // 2]}")
        raise SystemExit(128 + signal.SIGKILL if faults.half_line_killed else 0)
    spoken.info(f"{line}\n")

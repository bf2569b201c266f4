"""Reads mutated files with the product's readers: only its own errors come out, in bounded time and memory.

A mutation is made from a seed and its number, so that a finding can be made again. They are read in worker
processes, each of which reads many; the death of one is a finding too, and another goes on behind it.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutations import mutated
from readers import KINDS, Kind
from row import Row

from export import native_output

MAX_SECS = 2.0
"""Of CPU time for one file."""
MAX_BYTES = 500 * 10**6
"""More memory than before it was read."""
HANG_SECS = 20
"""Of CPU time, after which a worker's process ends with the stack; six times as much of the clock's."""
_HERE = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))
"""Where a worker finds its siblings and the product."""


@dataclass(frozen=True)
class Outcome:
    """What one mutation led to."""

    number: int
    kind: str
    """read, refused, or a finding: traceback, lines, slow, memory, died."""
    what: str = ""
    """Of a finding, the exception and its place."""


def fuzz(name: str, options: argparse.Namespace) -> Row:
    """Reads `count` mutations of one kind of file, from `first` on, and prints each finding."""
    started = time.monotonic()
    numbers = range(options.first, options.first + (options.count or KINDS[name].count))
    outcomes = _run(name, numbers, options)
    counts = Counter(each.kind for each in outcomes)
    findings = [each for each in outcomes if each.kind not in ("read", "refused")]
    words = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    print(f"{name}: {len(outcomes):,} in {time.monotonic() - started:.0f} s: {words}", flush=True)
    for (kind, what), count in Counter((each.kind, each.what) for each in findings).most_common():
        same = ", ".join(str(each.number) for each in findings if (each.kind, each.what) == (kind, what))
        print(f"  {count:6,} {kind}: {what} ({same[:60]})", flush=True)
    return Row(
        test=f"mutated {KINDS[name].title}",
        found=f"{len(findings)} of {len(outcomes):,}",
        wanted=f"0 of {KINDS[name].count:,}, none above {MAX_SECS:.0f} s or {MAX_BYTES / 1e6:.0f} MB",
        holds=not findings and len(outcomes) >= KINDS[name].count,
    )


def read_alone(name: str, number: int, seed: int, *, keep: Path | None) -> None:
    """Reads one mutation in this process, with its traceback; also writes it to a file."""
    task = _Task(KINDS[name], KINDS[name].sources(), seed)
    if keep is not None:
        keep.write_bytes(mutated(task.sources, task.kind.mutations, seed, number))
    with tempfile.TemporaryDirectory() as folder:
        _read_source(task, Path(folder))
        print(_read_once(task, number, Path(folder), catch=()))


def work(name: str, options: argparse.Namespace) -> None:
    """A worker: reads the mutations and prints a line each; a signal ends it when it hangs."""
    first, end, step = options.worker
    sources = [each.read_bytes() for each in sorted(Path(options.sources).iterdir())]
    task = _Task(KINDS[name], sources, options.seed)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        _read_source(task, Path(folder))
        limit = _memory_bytes() + 4 * 2**30
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        faulthandler.register(signal.SIGPROF, chain=True)
        for number in range(first, end, step):
            signal.setitimer(signal.ITIMER_PROF, HANG_SECS)
            signal.alarm(6 * HANG_SECS)
            outcome = _read_once(task, number, Path(folder), catch=(Exception,))
            replies.write(json.dumps(vars(outcome)) + "\n")
            replies.flush()


@dataclass(frozen=True)
class _Task:
    kind: Kind
    sources: Sequence[bytes]
    seed: int


def _run(name: str, numbers: range, options: argparse.Namespace) -> list[Outcome]:
    """Every mutation's outcome; a worker that dies goes on behind the mutation that ended it."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        with native_output.captured():
            sources = KINDS[name].sources()
        for number, source in enumerate(sources):
            (Path(folder) / f"{number:04}").write_bytes(source)
        words = [name, "--seed", str(options.seed), "--sources", folder]
        running = [_Worker(words, numbers[place :: options.workers]) for place in range(options.workers)]
        while running:
            worker = running.pop(0)
            found = worker.finish()
            outcomes += found
            if left := worker.numbers[len(found) :]:
                running.append(_Worker(words, left))
    return sorted(outcomes, key=lambda each: each.number)


class _Worker:
    """A child that reads these mutations and prints a line each."""

    def __init__(self, words: Sequence[str], numbers: range) -> None:
        self.numbers = numbers
        self._said, self._errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 - read when it has ended
        which = map(str, (numbers.start, numbers.stop, numbers.step))
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).parent), *words, "--worker", *which],
            stdout=self._said,
            stderr=self._errors,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": _HERE},
        )

    def finish(self) -> list[Outcome]:
        """Its outcomes; a death is that of the mutation that it was reading."""
        status = self._child.wait()
        self._said.seek(0)
        found = [Outcome(**json.loads(line)) for line in self._said if line.endswith("\n")]
        if len(found) < len(self.numbers):
            self._errors.seek(0)
            last_words = self._errors.read().strip().splitlines()
            if status >= 0:
                raise SystemExit(f"a worker ended with status {status}: {' '.join(last_words[-1:])}")
            why = f"{signal.Signals(-status).name} in {_innermost(last_words)}"
            found.append(Outcome(self.numbers[len(found)], "died", why))
        return found


def _innermost(words: Sequence[str]) -> str:
    """The innermost lines of the last stack that faulthandler printed."""
    starts = [number for number, line in enumerate(words) if "most recent call first" in line]
    lines = words[starts[-1] + 1 :][:40] if starts else []
    ours = [
        line.split('"')[1:]
        for line in lines
        if str(Path(__file__).parents[2]) in line and ".venv" not in line
    ]
    places = [line.split('"')[1:] for line in lines[:1]] + ours[:1]
    return "; ".join(f"{Path(place[0]).name}{place[1]}" for place in places if len(place) > 1) or "?"


def _read_source(task: _Task, folder: Path) -> None:
    """Reads each source unchanged, which also imports what the reader needs."""
    for source in task.sources:
        with contextlib.suppress(*task.kind.own_errors):
            task.kind.read(source, folder, 0)


def _read_once(task: _Task, number: int, folder: Path, *, catch: tuple[type[Exception], ...]) -> Outcome:
    kind = task.kind
    content = mutated(task.sources, kind.mutations, task.seed, number)
    _forget_peak()
    memory, started = _memory_bytes(), time.process_time()
    outcome = Outcome(number, "read")
    try:
        kind.read(content, folder, number)
    except kind.own_errors as error:
        outcome = Outcome(number, "refused")
        if "\n" in str(error):
            outcome = Outcome(number, "lines", f"{type(error).__name__} of several lines")
    except catch as error:
        outcome = Outcome(number, "traceback", _place(error))
    secs, grown = time.process_time() - started, _memory_bytes(peak=True) - memory
    if secs > MAX_SECS:
        return Outcome(number, "slow", f"{secs:.0f} s")
    if grown > MAX_BYTES:
        return Outcome(number, "memory", f"{grown / 1e6:.0f} MB")
    return outcome


def _place(error: Exception) -> str:
    """The exception, and the innermost line of ours that it came from."""
    root, place = str(Path(__file__).parents[2]), "?"
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(root) and "/.venv/" not in file and "/benchmarks/" not in file:
            place = f"{Path(file).relative_to(root)}:{trace.tb_lineno} {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}: {str(error)[:60]!r}"


def _memory_bytes(*, peak: bool = False) -> int:
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")

"""Reads mutated files with the product's readers: only its own errors come out, in bounded time and memory.

    python benchmarks/hold_fuzz.py tflite --count 20000
    python benchmarks/hold_fuzz.py keras h5 npz images logs adb --count 5000

A mutation is made from a seed and its number, so that a finding can be made again (--only NUMBER). They are
read in worker processes, whose deaths are counted too: a signal, over 2 s of CPU time, or 500 MB more memory
than before. Prints the counts by outcome, and each finding by exception and place.
"""

from __future__ import annotations

import argparse
import contextlib
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

from fuzz_mutations import mutated
from fuzz_readers import KINDS, Kind

from export import native_output

MAX_SECS = 2.0
MAX_BYTES = 500 * 10**6
HANG_SECS = 60
_HERE = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1])))
"""Where a worker finds its siblings and the product."""


@dataclass(frozen=True)
class Outcome:
    """What one mutation led to."""

    number: int
    kind: str
    """read, refused, or a finding: traceback, slow, memory, died."""
    what: str = ""
    """Of a finding, the exception and its place."""


def main() -> int:
    """Prints the table; 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=sorted(KINDS))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this mutation alone, here, with its traceback")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sources", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        sources = [each.read_bytes() for each in sorted(Path(asked.sources).iterdir())]
        task = _Task(KINDS[asked.kinds[0]], sources, asked.seed)
        return _work(task, range(asked.worker[0], asked.count, asked.worker[1]))
    if asked.only is not None:
        task = _Task(KINDS[asked.kinds[0]], KINDS[asked.kinds[0]].sources(), asked.seed)
        with tempfile.TemporaryDirectory() as folder:
            print(_read_once(task, asked.only, Path(folder), catch=()))
        return 0
    findings = 0
    for name in asked.kinds:
        started = time.monotonic()
        outcomes = _run(name, asked.count, asked.seed, asked.workers)
        counts = Counter(each.kind for each in outcomes)
        findings += sum(count for kind, count in counts.items() if kind not in ("read", "refused"))
        words = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
        print(f"{name}: {len(outcomes):,} in {time.monotonic() - started:.0f} s: {words}", flush=True)
        places = Counter((each.kind, each.what) for each in outcomes if each.what)
        for (kind, what), count in places.most_common():
            first = next(each.number for each in outcomes if (each.kind, each.what) == (kind, what))
            print(f"  {count:6,} {kind}: {what} (first {first})", flush=True)
    return 1 if findings else 0


@dataclass(frozen=True)
class _Task:
    kind: Kind
    sources: Sequence[bytes]
    seed: int


def _run(name: str, count: int, seed: int, num_workers: int) -> list[Outcome]:
    """Every mutation's outcome; a worker that dies goes on behind the mutation that ended it."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        with native_output.captured():
            sources = KINDS[name].sources()
        for number, source in enumerate(sources):
            (Path(folder) / f"{number:04}").write_bytes(source)
        options = [name, "--count", str(count), "--seed", str(seed), "--sources", folder]
        running = [_Worker(options, count, first, num_workers) for first in range(min(count, num_workers))]
        while running:
            worker = running.pop(0)
            outcomes += worker.finish()
            if worker.next_number is not None:
                running.append(_Worker(options, count, worker.next_number, num_workers))
    return sorted(outcomes, key=lambda each: each.number)


class _Worker:
    """A child that reads every STEPth mutation and prints a line each."""

    def __init__(self, options: list[str], count: int, first: int, step: int) -> None:
        self._numbers = range(first, count, step)
        self._said, self._errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 - read when it has ended
        self.next_number: int | None = None
        self._child = subprocess.Popen(
            [sys.executable, "-P", __file__, *options, "--worker", str(first), str(step)],
            stdout=self._said,
            stderr=self._errors,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": _HERE},
        )

    def finish(self) -> list[Outcome]:
        """Its outcomes; a death is that of the mutation that it was reading."""
        status = self._child.wait()
        self._said.seek(0)
        lines = [json.loads(line) for line in self._said if line.endswith("\n")]
        found = [Outcome(**line) for line in lines]
        if len(found) < len(self._numbers):
            self._errors.seek(0)
            last_words = self._errors.read().strip().splitlines()[-1:]
            if status > 0:
                raise SystemExit(f"a worker ended with status {status}: {' '.join(last_words)}")
            found.append(Outcome(self._numbers[len(found)], "died", signal.Signals(-status).name))
            if len(found) < len(self._numbers):
                self.next_number = self._numbers[len(found)]
        return found


def _work(task: _Task, numbers: range) -> int:
    """Reads the mutations and prints a line each; a hang ends in SIGALRM, which ends the process."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        _read_source(task, Path(folder))
        limit = _memory_bytes() + 4 * 2**30
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        for number in numbers:
            signal.alarm(HANG_SECS)
            outcome = _read_once(task, number, Path(folder), catch=(Exception,))
            replies.write(json.dumps(vars(outcome)) + "\n")
            replies.flush()
    return 0


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
    root, place = str(Path(__file__).parents[1]), "?"
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


if __name__ == "__main__":
    sys.exit(main())

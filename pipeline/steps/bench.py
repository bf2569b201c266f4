"""The latency of exported files on this machine, measured in turns and stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.tflite.content import signatures_in_words
from export.tflite.inspect import inspect
from pipeline.bench.host import BenchResult, run_rounds
from pipeline.bench.settings import BenchSettings
from pipeline.progress import Doing, Note, Progress, silent
from pipeline.store.store import open_store


def bench(
    files: Sequence[Path],
    settings: BenchSettings | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> BenchResult:
    """Measures the files and adds every measurement to the store in `runs`."""
    result = measure(files, settings or BenchSettings(), progress=progress)
    keep(result, runs=runs)
    return result


def measure(files: Sequence[Path], settings: BenchSettings, *, progress: Progress = silent) -> BenchResult:
    """Measures the files without storing anything, so that a caller can show the results first.

    `progress` is only called between two turns: during one, it would be measured too. Raises as run_rounds().
    """

    def turn(done: int, total: int, name: str) -> None:
        progress(Doing("measuring", name, done, total))

    for file in dict.fromkeys(files):
        if said := signatures_in_words(inspect(file)):
            progress(Note(f"{file.name}: {said}"))
    return run_rounds(files, settings, progress=turn)


def keep(result: BenchResult, *, runs: Path) -> None:
    """Adds every measurement to the store in `runs`."""
    with open_store(runs) as store:
        for each in result.measured:
            store.add_measurement(each.measurement)

"""Measures the files of trials on this machine, when nothing is trained: all in turns, some at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.bench.host import MeasuredFile
from pipeline.bench.settings import BenchSettings
from pipeline.progress import Doing, Event
from pipeline.steps.bench import bench
from pipeline.trials.book import entry_of, keep
from pipeline.trials.trial import Trial, TrialEntry, to_measure

FILES_AT_A_TIME = 16
"""Files of one session, whose results are kept when it ends: what a kill loses at most."""


def measure_files(
    trials: Sequence[Trial], settings: BenchSettings, *, runs: Path, report: Callable[[str], None]
) -> None:
    """Measures every file that its trial wants measured and that has no valid latency yet."""
    entries: dict[str, TrialEntry] = {}
    wanted: list[tuple[str, Path]] = []
    for trial in trials:
        if trial.measure and (entry := entry_of(trial, runs)) is not None:
            entries[entry.key] = entry
            wanted += [(entry.key, runs / file.path) for file in to_measure(trial, entry)]

    def turn(event: Event) -> None:
        if isinstance(event, Doing):
            report(f"{event.detail} ({event.done} of {event.total} turns)" if event.detail else event.what)

    for first in range(0, len(wanted), FILES_AT_A_TIME):
        some = wanted[first : first + FILES_AT_A_TIME]
        report(f"files {first + 1} to {first + len(some)} of {len(wanted)}")
        result = bench([path for _, path in some], settings, runs=runs, progress=turn)
        measured: dict[str, MeasuredFile] = {}
        for each in result.measured:
            measured.setdefault(each.measurement.artifact_sha256, each)  # with the first number of threads
        for key in dict.fromkeys(key for key, _ in some):
            entries[key] = _with(entries[key], measured)
            keep(entries[key], runs)
        if result.stopped:
            raise KeyboardInterrupt


def _with(entry: TrialEntry, measured: dict[str, MeasuredFile]) -> TrialEntry:
    files = []
    for file in entry.files:
        found = measured.get(file.sha256)
        if found is not None:
            figures = found.measurement
            file = dataclasses.replace(
                file,
                median_ms=figures.median_ms if figures.valid else None,
                noise_ms=figures.noise_ms if figures.valid else None,
                why_not_valid="" if figures.valid else "; ".join(figures.reasons),
            )
        files.append(file)
    return dataclasses.replace(entry, files=tuple(files))

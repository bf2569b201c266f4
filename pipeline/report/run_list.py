"""Summaries of the runs in the runs folder: finished, unfinished or damaged. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.errors import ExportError
from pipeline.errors import PipelineError, unknown_name
from pipeline.run_cache import RunCache
from pipeline.runs import RECORD, exported_files, finished_runs, how_to_resume, setting_of, unfinished_runs

State = Literal["finished", "unfinished", "damaged"]


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """A file that a run exported; precision is None if its sidecar is damaged."""

    name: str
    precision: str | None
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run of the folder. None for what an unfinished or damaged run lacks."""

    run: str
    state: State
    path: str
    model_name: str | None = None
    family: str | None = None
    dataset: str | None = None
    validation_top1: float | None = None
    test_top1: float | None = None
    """Percent, of the Keras model."""
    epochs_run: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    finished_utc: str | None = None
    model_sha256: str | None = None
    exports: tuple[ExportedFile, ...] = ()
    problem: str | None = None
    """What is wrong or still to do; None for a finished, intact run."""


def run_summaries(folder: Path, *, newest: int | None = None) -> list[RunSummary]:
    """The runs of the folder: finished and damaged ones, oldest first, then unfinished ones.

    All, or the newest so many of the finished and so many of the unfinished.
    """
    cache = RunCache(folder)
    last = slice(None if newest is None else -newest, None)
    ended = [_ended(run, cache) for run in finished_runs(folder, cache)[last]]
    cache.save()
    return [*ended, *(_unfinished(run) for run in unfinished_runs(folder)[last])]


def run_summary(name: str, folder: Path) -> RunSummary:
    """The run with that name in the folder, or at that path. Raises UsageError."""
    cache = RunCache(folder)
    finished, unfinished = finished_runs(folder, cache), unfinished_runs(folder)
    runs = (*finished, *unfinished)
    found = [run for run in runs if run.name == name]
    if not found and Path(name).exists():
        found = [run for run in runs if run.samefile(name)]
    if not found:
        raise unknown_name("run", name, [run.name for run in runs])
    return _ended(found[0], cache) if found[0] in finished else _unfinished(found[0])


def _ended(run: Path, cache: RunCache) -> RunSummary:
    exports = tuple(_exported(file, cache) for file in exported_files(run))
    try:
        found = vars(cache.trained(run / RECORD))
    except PipelineError as error:
        return RunSummary(run=run.name, state="damaged", path=str(run), exports=exports, problem=str(error))
    return RunSummary(**{**found, "run": run.name}, state="finished", path=str(run), exports=exports)


def _exported(file: Path, cache: RunCache) -> ExportedFile:
    size_bytes = file.stat().st_size
    try:
        found = cache.exported(file)
    except ExportError:
        return ExportedFile(name=file.name, precision=None, size_bytes=size_bytes, sha256=None)
    return ExportedFile(name=file.name, precision=found.precision, size_bytes=size_bytes, sha256=found.sha256)


def _unfinished(run: Path) -> RunSummary:
    """The summary from config.json, which may itself be broken after a killed run."""
    try:
        config = setting_of(run, "config")
        family, dataset = config["family"], Path(config["data"]).name
    except (PipelineError, KeyError, TypeError):
        family = dataset = None
    return RunSummary(
        run=run.name,
        state="unfinished",
        path=str(run),
        family=family,
        dataset=dataset,
        problem=f"not finished; go on: {how_to_resume(run)}",
    )

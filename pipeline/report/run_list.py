"""Summaries of the runs in the runs folder: finished, unfinished or damaged. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.artifact import read_sidecar
from export.errors import ExportError
from pipeline.errors import PipelineError
from pipeline.records.training import TrainRecord, read_record
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


def run_summaries(folder: Path) -> list[RunSummary]:
    """All runs of the folder: finished and damaged ones, oldest first, then unfinished ones."""
    ended = [_ended(run) for run in finished_runs(folder)]
    return [*ended, *(_unfinished(run) for run in unfinished_runs(folder))]


def _ended(run: Path) -> RunSummary:
    exports = tuple(_exported(file) for file in exported_files(run))
    try:
        record = read_record(run / RECORD)
    except PipelineError as error:
        return RunSummary(run=run.name, state="damaged", path=str(run), exports=exports, problem=str(error))
    return _finished(run, record, exports)


def _finished(run: Path, record: TrainRecord, exports: tuple[ExportedFile, ...]) -> RunSummary:
    return RunSummary(
        run=run.name,
        state="finished",
        path=str(run),
        model_name=record.model_name,
        family=record.config.family,
        dataset=record.dataset,
        validation_top1=record.validation_top1,
        test_top1=record.test_top1,
        epochs_run=record.epochs_run,
        seconds=record.seconds,
        parameters=record.parameters,
        finished_utc=record.finished_utc,
        model_sha256=record.model_sha256,
        exports=exports,
    )


def _exported(file: Path) -> ExportedFile:
    size_bytes = file.stat().st_size
    try:
        artifact = read_sidecar(file)
    except ExportError:
        return ExportedFile(name=file.name, precision=None, size_bytes=size_bytes, sha256=None)
    return ExportedFile(
        name=file.name, precision=artifact.precision.value, size_bytes=size_bytes, sha256=artifact.sha256
    )


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

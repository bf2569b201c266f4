"""What is kept of trials between calls: trials/KEY.json below the runs folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from export.files import write_json
from export.records import json_of, read_record_as
from pipeline.errors import PipelineError
from pipeline.trials.trial import Trial, TrialEntry

TRIALS = "trials"


def read_entry(key: str, runs: Path) -> TrialEntry | None:
    """What is kept of the training with this key; None if it never began, or if its run was removed."""
    path = _path(key, runs)
    try:
        entry = read_record_as(TrialEntry, json_of(path))
        return entry if (runs / entry.run).is_dir() else None
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PipelineError(
            f"{path} is damaged ({error}); it should say how far a trial is. Remove it; the run goes on."
        ) from error


def entry_of(trial: Trial, runs: Path) -> TrialEntry | None:
    """What is kept of the trial's training."""
    return read_entry(trial.key, runs)


def keep(entry: TrialEntry, runs: Path) -> None:
    """Writes the entry."""
    write_json(_path(entry.key, runs), dataclasses.asdict(entry))


def _path(key: str, runs: Path) -> Path:
    return runs / TRIALS / f"{key}.json"

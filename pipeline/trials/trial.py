"""A trial: one training with its settings, its export and its measurements; and what came of it.

Light at import: no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.precisions import Precision
from export.records import read_record_as
from models.registry import without_aliases
from pipeline.data.registry import from_any_folder
from pipeline.steps.settings import TrainSettings
from pipeline.training.checkpoint import EpochResult, History

KEY_LETTERS = 12


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training, how far it goes, and what is made and measured of it. JSON in and out."""

    name: str
    """The user's name for it; unique among the trials of a call."""
    family: str
    settings: TrainSettings = field(default_factory=TrainSettings)
    data: str
    """A data set's name or path, with the choice of splits behind a question mark."""
    dataset_fingerprint: str = ""
    """Of the images, if the caller knows it: then other images at the same place are another training."""
    until: int | None = None
    """Pause after this epoch of the schedule; None: train to the end, then export, verify, measure."""
    precisions: tuple[Precision, ...] = ()
    """The files to export once it is trained."""
    verify: bool = True
    """Whether to compare them with the Keras model on the test split."""
    measure: bool = False
    """Whether to measure their latency on this machine, when no training runs on it."""

    def __post_init__(self) -> None:
        """Makes paths absolute, since other processes and nodes have another current folder."""
        object.__setattr__(self, "data", from_any_folder(self.data))
        weights = self.settings.weights
        if weights is not None and Path(weights).exists():
            settings = dataclasses.replace(self.settings, weights=str(Path(weights).absolute()))
            object.__setattr__(self, "settings", settings)

    @property
    def key(self) -> str:
        """Names the training: equal for two trials that would train the same weights of the same images."""
        asked = dataclasses.asdict(self.settings)
        given = {name: value for name, value in asked.items() if value is not None}
        given["knobs"] = without_aliases(self.family, dict(self.settings.knobs))
        content = {
            "family": self.family,
            "settings": given,
            "data": self.data,
            "images": self.dataset_fingerprint,
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LETTERS]


def trial_as_json(trial: Trial) -> dict[str, Any]:
    """The trial as a JSON object."""
    return _plain(dataclasses.asdict(trial))


def trial_from_json(content: Any) -> Trial:  # noqa: ANN401 - what JSON holds
    """The trial from its JSON. ValueError with the field that is missing, unknown or of another type."""
    trial = read_record_as(Trial, content)
    knobs = {  # JSON made lists of tuples
        name: tuple(value) if isinstance(value, list) else value
        for name, value in trial.settings.knobs.items()
    }
    return dataclasses.replace(trial, settings=dataclasses.replace(trial.settings, knobs=knobs))


@dataclass(frozen=True, kw_only=True)
class TrialFile:
    """A file that a trial exported, and what was found of it; None where it was not looked at."""

    precision: Precision
    path: str
    """Below the runs folder."""
    sha256: str
    size_bytes: int
    top1: float | None = None
    """Percent, of the file, on the test split."""
    drop_points: float | None = None
    """How much less than the Keras model's, in percentage points."""
    median_ms: float | None = None
    """On this machine; None where it was not measured, or not validly."""
    noise_ms: float | None = None
    why_not_valid: str = ""
    """Why the latency does not count."""


@dataclass(frozen=True, kw_only=True)
class TrialEntry:
    """What is kept of a training and its files, in trials/KEY.json: later calls go on from it."""

    key: str
    run: str
    """The run's folder name."""
    epochs: int
    """Of its schedule."""
    history: tuple[EpochResult, ...] = ()
    """The finished epochs; epoch 0 is the head's training."""
    test_top1: float | None = None
    """Percent, of the Keras model; None before the training has ended."""
    best_epoch: int | None = None
    parameters: int | None = None
    macs: int | None = None
    files: tuple[TrialFile, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    """Precision -> why there is no such file."""
    dataset_fingerprint: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether the training has ended."""
        return self.test_top1 is not None

    @property
    def epochs_run(self) -> int:
        """The finished epochs, without the head's."""
        return sum(row.epoch > 0 for row in self.history)

    def file(self, precision: Precision) -> TrialFile | None:
        """The file of a precision."""
        return next((each for each in self.files if each.precision == precision), None)


DONE, PAUSED, FAILED = "done", "paused", "failed"


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What came of a trial."""

    trial: Trial
    status: str
    """done, paused (after its `until`) or failed."""
    run: str | None = None
    """The run's folder name; None if it failed before there was one."""
    epochs_run: int = 0
    epochs: int | None = None
    """Of its schedule."""
    validation_top1: float | None = None
    """Percent, of the best epoch up to where it is."""
    test_top1: float | None = None
    """Percent, of the Keras model; None before its end."""
    parameters: int | None = None
    """None before its end, as the MACs."""
    macs: int | None = None
    seconds: float = 0.0
    """Of training, up to where it is."""
    files: tuple[TrialFile, ...] = ()
    """Of the trial's precisions, in their order."""
    refused: tuple[str, ...] = ()
    """Why a file could not be made, one sentence each."""
    reason: str = ""
    """Why it failed."""

    @property
    def name(self) -> str:
        """The trial's."""
        return self.trial.name


def result_of(trial: Trial, entry: TrialEntry) -> TrialResult:
    """The trial's result, by what is kept: of a pause, as it was then, however far the training is now."""
    last = entry.epochs_run if entry.is_trained else entry.epochs
    paused = trial.until is not None and trial.until < last
    rows = tuple(row for row in entry.history if not paused or row.epoch <= (trial.until or 0))
    head = next((row for row in rows if row.epoch == 0), None)
    epochs = tuple(row for row in rows if row.epoch > 0)
    best = History(epochs=epochs, head=head).best
    files = tuple(filter(None, map(entry.file, trial.precisions)))
    return TrialResult(
        trial=trial,
        status=PAUSED if paused else DONE,
        run=entry.run,
        epochs_run=len(epochs),
        epochs=entry.epochs,
        validation_top1=best.validation_top1 if best else None,
        test_top1=None if paused else entry.test_top1,
        parameters=None if paused else entry.parameters,
        macs=None if paused else entry.macs,
        seconds=sum(row.seconds for row in rows),
        files=() if paused else files,
        refused=() if paused else tuple(entry.refused[p] for p in trial.precisions if p in entry.refused),
    )


def is_complete(trial: Trial, entry: TrialEntry, runs: Path) -> bool:
    """Whether nothing of the trial is left to do but measuring latency."""
    if trial.until is not None and (entry.epochs_run >= trial.until or entry.is_trained):
        return True
    if not entry.is_trained:
        return False
    found = [entry.file(precision) for precision in trial.precisions if precision not in entry.refused]
    return all(
        file is not None and (runs / file.path).is_file() and (file.top1 is not None or not trial.verify)
        for file in found
    )


def to_measure(trial: Trial, entry: TrialEntry) -> tuple[TrialFile, ...]:
    """The trial's files whose latency is to be measured still."""
    if not trial.measure or trial.until is not None:
        return ()
    found = filter(None, map(entry.file, trial.precisions))
    return tuple(file for file in found if file.median_ms is None)


def result_as_json(result: TrialResult) -> dict[str, Any]:
    """The result as a JSON object."""
    return _plain(dataclasses.asdict(result))


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """The content as JSON has it: paths as texts."""
    found: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return found

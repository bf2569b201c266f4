"""Where a choice stands: one JSON, written whole after every part, from which a killed one goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.files import write_json
from export.records import json_of, read_record_as
from pipeline.choose.fit import Prediction
from pipeline.choose.settings import CHOICES, ChooseSettings, settings_record
from pipeline.errors import PipelineError
from pipeline.json_values import finite

STATE = "state.json"
PAGE = "index.html"
KEY_LETTERS = 8


@dataclass(frozen=True, kw_only=True)
class LineFigures:
    """A family's line of a rung, as the page shows it."""

    intercept: float
    slope: float
    num_nets: int
    r_squared: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A rung that is done."""

    epochs: int
    """That its nets were trained to."""
    trained: dict[str, float]
    """Net -> validation top-1, percent."""
    predicted_before: dict[str, Prediction] = field(default_factory=dict)
    """Net -> what was predicted of it before it was trained in this rung, or dropped."""
    predicted: dict[str, Prediction] = field(default_factory=dict)
    """Net -> what this rung's lines predict of it, for every net that it did not train."""
    lines: dict[str, LineFigures] = field(default_factory=dict)
    """Family -> its line."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Net -> why it does not go on."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Net -> why it was not trained: the hours, or a failure."""
    seconds: float = 0.0
    """Of training, summed over the nets."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The content of state.json."""

    data: str
    dataset_fingerprint: str
    settings: dict[str, Any]
    spent_secs: float = 0.0
    """Of all calls so far."""
    rates: dict[str, float] = field(default_factory=dict)
    """Family -> seconds that a training took for an epoch and mult-add."""
    rungs: tuple[Rung, ...] = ()
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Target -> SHA-256 -> the final measurement, as JSON."""
    lost: dict[str, str] = field(default_factory=dict)
    """Target -> why it was given up in the last call."""


def folder_of(settings: ChooseSettings, *, dataset: str, fingerprint: str, targets: Any, runs: Path) -> Path:  # noqa: ANN401
    """The folder of this choice: the same for the same images, settings and targets."""
    asked = {"settings": settings_record(settings), "images": fingerprint, "targets": sorted(targets)}
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:KEY_LETTERS]
    return runs / CHOICES / f"{dataset}-{key}"


def read_state(folder: Path) -> State | None:
    """The state in the folder; None for a choice that begins."""
    path = folder / STATE
    try:
        return read_record_as(State, json_of(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PipelineError(
            f"{path} is damaged ({error}); it should say where the choice stands. Remove it: trainings and "
            "measurements are kept elsewhere, and nothing is done twice."
        ) from error


def write_state(state: State, folder: Path) -> None:
    """Writes the state, whole or not at all."""
    write_json(folder / STATE, finite(dataclasses.asdict(state)))

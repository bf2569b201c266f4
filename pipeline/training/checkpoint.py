"""The state of a training between two epochs, so that a killed run goes on where it was.

state.json is replaced last and names the weights that belong to it: whenever the process is killed, the
folder holds one consistent state. Weights are .npz files made in memory: HDF5, Keras's own format for weights
alone, crashes the process when the disk is full.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from export.files import write_bytes, write_json
from pipeline.errors import PipelineError

STATE = "state.json"
HISTORY_COLUMNS = (
    "epoch",
    "learning_rate",
    "loss",
    "train_top1",
    "validation_loss",
    "validation_top1",
    "images_per_second",
    "seconds",
)


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """One row of history.csv; accuracies in percent, the learning rate at the epoch's end."""

    epoch: int
    learning_rate: float
    loss: float
    train_top1: float
    validation_loss: float
    validation_top1: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """What was reached: every finished epoch, and where its weights stand."""

    history: tuple[EpochResult, ...]
    best_epoch: int
    last_weights: str
    best_weights: str


def save_state(run: Path, model: keras.Model, history: tuple[EpochResult, ...]) -> TrainState:
    """Writes the weights after the newest epoch, then the state that names them; older weights go."""
    epoch = history[-1].epoch
    last = f"last-{epoch:04d}.npz"
    best_epoch = best_of(history).epoch
    best = f"best-{best_epoch:04d}.npz"
    content = _as_npz(model)
    write_bytes(run / last, content)
    if best_epoch == epoch:
        write_bytes(run / best, content)
    state = TrainState(history=history, best_epoch=best_epoch, last_weights=last, best_weights=best)
    write_json(run / STATE, asdict(state))
    write_history(run, history)
    for old in (*run.glob("last-*.npz"), *run.glob("best-*.npz")):
        if old.name not in (last, best):
            old.unlink(missing_ok=True)
    return state


def read_state(run: Path) -> TrainState | None:
    """The state of a run; None before its first epoch ended."""
    if not (run / STATE).is_file():
        return None
    try:
        record = json.loads((run / STATE).read_text())
        history = tuple(EpochResult(**row) for row in record["history"])
        return TrainState(**{**record, "history": history})
    except (ValueError, TypeError, KeyError) as error:
        raise PipelineError(
            f"{run / STATE} is damaged ({error!r}); it should name the finished epochs. Train anew."
        ) from error


def load_weights(model: keras.Model, path: Path) -> None:
    """Fills a compiled model and its optimizer with what save_state wrote."""
    variables = _named_variables(model)
    try:
        # np.load leaves a damaged file open, unless it is handed an open one
        with path.open("rb") as file, np.load(file) as arrays:
            values = {name: arrays[name] for name in variables}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise PipelineError(
            f"{path} cannot be read ({error}); it should hold the weights of the last finished epoch. "
            "Start the training anew."
        ) from error
    for name, variable in variables.items():
        variable.assign(values[name])


def _as_npz(model: keras.Model) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(variable) for name, variable in _named_variables(model).items()})
    return buffer.getvalue()


def _named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Every weight of a compiled model, such as model/conv1/kernel, and its optimizer's variables."""
    optimizer = model.optimizer.variables
    named = {f"model/{variable.path}": variable for variable in model.weights}
    # Keras numbers the optimizers of a process: sgd/..., sgd_1/...
    named |= {f"optimizer/{variable.path.partition('/')[2]}": variable for variable in optimizer}
    assert len(named) == len(model.weights) + len(optimizer)
    return named


def best_of(history: tuple[EpochResult, ...]) -> EpochResult:
    """The epoch of the highest validation accuracy; of equal ones, that of the lowest validation loss."""
    return max(history, key=lambda row: (row.validation_top1, -row.validation_loss))


def write_history(run: Path, history: tuple[EpochResult, ...]) -> None:
    """Writes history.csv, a row an epoch."""
    lines = [",".join(HISTORY_COLUMNS)]
    for row in history:
        values = asdict(row)
        lines.append(",".join(f"{values[column]:.6g}" for column in HISTORY_COLUMNS))
    write_bytes(run / "history.csv", ("\n".join(lines) + "\n").encode())

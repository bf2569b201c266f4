"""Saves and loads a training's state after each epoch, so that a killed run can be resumed.

Each epoch's weights have their own file names, and state.json, whose history says which of them count, is
written after them: the folder is consistent whenever the process is killed. Weights are .npz files made in
memory: HDF5, Keras's own format for weights alone, crashes the process when the disk is full.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from export.files import write_bytes
from export.npz import opened_npz
from export.reading import ARCHIVE_ERRORS
from pipeline.errors import PipelineError

STATE = "state.json"
_LAST, _BEST = "last-{:04d}.npz", "best-{:04d}.npz"


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """One row of history.csv; accuracies in percent, the learning rate of the epoch's last step."""

    epoch: int
    """Counted from 1; 0 is the head's training."""
    learning_rate: float
    loss: float
    train_top1: float
    validation_loss: float
    validation_top1: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class History:
    """The finished epochs of a training."""

    epochs: tuple[EpochResult, ...] = ()
    first_kept: int = 1
    """The first epoch, counted from 1, whose weights may be kept as the best."""
    head: EpochResult | None = None
    """The result of the head alone, as epoch 0, which may be the best too."""

    @property
    def results(self) -> tuple[EpochResult, ...]:
        """The head's, if it was trained alone, and the epochs'."""
        return (*((self.head,) if self.head else ()), *self.epochs)

    @property
    def best(self) -> EpochResult | None:
        """The kept epoch with the highest validation accuracy; of equal ones, with the lowest loss."""
        kept = [row for row in self.results if row is self.head or row.epoch >= self.first_kept]
        return max(kept, key=lambda row: (row.validation_top1, -row.validation_loss), default=None)

    @property
    def last_file(self) -> str:
        """The file name of the weights after the last epoch."""
        return _LAST.format(len(self.epochs))

    @property
    def best_file(self) -> str | None:
        """The file name of the best epoch's weights."""
        return _BEST.format(self.best.epoch) if self.best else None


def save_epoch(run: Path, variables: Sequence[Any], history: History) -> bool:
    """Writes the weights after the newest epoch; returns whether it is the best one."""
    content = weights_content(variables)
    write_bytes(run / history.last_file, content)
    is_best = history.best == history.results[-1]
    if is_best:
        write_bytes(run / str(history.best_file), content)
    return is_best


def forget_epochs(run: Path, *, but: Collection[str | None] = ()) -> None:
    """Removes the weights of single epochs from a run's folder, except files named in `but`."""
    for path in (*run.glob("last-*.npz"), *run.glob("best-*.npz")):
        if path.name not in but:
            path.unlink(missing_ok=True)


def weights_content(variables: Sequence[Any]) -> bytes:
    """The values of Keras or TensorFlow variables in their order, each by its name, as an .npz file."""
    values: dict[str, Any] = {}
    for variable in variables:
        name = getattr(variable, "path", variable.name)
        values[name if name not in values else f"{name}-{len(values)}"] = np.asarray(variable)
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    return buffer.getvalue()


def load_weights(variables: Sequence[Any], path: Path, *, advice: str) -> None:
    """Fills variables from a file with weights_content().

    Raises PipelineError, which ends in the advice, for a damaged file or one of another model.
    """
    try:
        with opened_npz(path) as arrays:
            values = list(arrays.values())
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise ValueError("its arrays are those of another model")
    except ARCHIVE_ERRORS as error:
        raise PipelineError(
            f"{path} cannot be read ({error}); it should hold the weights that the run goes on from. {advice}"
        ) from error
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def write_history(run: Path, epochs: Sequence[EpochResult]) -> None:
    """Writes history.csv, one row per epoch."""
    columns = [field.name for field in fields(EpochResult)]
    lines = [",".join(columns)]
    for row in epochs:
        values = asdict(row)
        lines.append(",".join(f"{values[column]:.6g}" for column in columns))
    write_bytes(run / "history.csv", ("\n".join(lines) + "\n").encode())

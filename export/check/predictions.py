"""What a file and its Keras model say of each image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from export.check.runner import is_finite
from export.check.tally import has_labels, held_labels
from export.head import HALF, Head, HeadKind

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side's answer to each image."""

    label: Labels
    """(n,) numbers of classes; -1 where an output is not finite."""
    probability: Floats
    """(n,) of that class, 0 to 1; NaN where an output is not finite."""
    said: Flags | None = None
    """(n, labels): which labels hold; None for classes that exclude each other."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The true classes of images, and what a file and its Keras model say."""

    truth: Labels
    """(n,) numbers of classes; -1 for an image of several labels."""
    file: Side
    keras: Side | None
    """What the file is compared with; None without a Keras model."""
    held: Flags | None = None
    """(n, labels): which are true; None for classes that exclude each other."""


@dataclass
class PredictionLog:
    """Collects the predictions of a file, batch by batch."""

    _truth: list[Labels] = field(default_factory=list)
    _held: list[Flags] = field(default_factory=list)
    _file: list[Side] = field(default_factory=list)
    _keras: list[Side] = field(default_factory=list)

    def add(
        self,
        head: Head,
        expected: Floats | None,
        found: Floats,
        labels: Labels,
        *,
        are_probabilities: bool,
    ) -> None:
        """Adds outputs (batch, outputs) of both and the labels; `expected` is None without a model."""
        by_label = has_labels(head, labels)
        self._truth.append(labels if labels.ndim == 1 else np.full(len(labels), -1, np.int64))
        if by_label:
            self._held.append(held_labels(labels, head.num_classes))
        self._file.append(_side(head, found, are_probabilities=are_probabilities, by_label=by_label))
        if expected is not None:
            self._keras.append(_side(head, expected, are_probabilities=are_probabilities, by_label=by_label))

    def predictions(self) -> Predictions:
        """All that was added."""
        return Predictions(
            truth=np.concatenate(self._truth),
            file=_joined(self._file),
            keras=_joined(self._keras) if self._keras else None,
            held=np.concatenate(self._held) if self._held else None,
        )


def class_probabilities(head: Head, outputs: Floats, *, are_probabilities: bool) -> Floats:
    """(n, outputs) -> (n, classes): the probability of each class, or of each label on its own.

    Scores of a file without its softmax or sigmoid are put through it. NaN where an output is not finite.
    """
    values = np.where(is_finite(outputs)[:, None], outputs, np.nan).astype(np.float64)
    if head.kind is HeadKind.CLASSES:
        shares = values if are_probabilities or _are_shares(values) else _softmax(values)
        return shares.astype(np.float32)
    if head.threshold != HALF:
        values = 0.5 * (1 + np.tanh(values / 2))
    if head.kind is HeadKind.BINARY:
        values = np.concatenate([1 - values, values], axis=1)
    return values.astype(np.float32)


def _are_shares(values: npt.NDArray[np.float64]) -> bool:
    """Whether these are probabilities already, as of a softmax that other operators follow."""
    finite = values[np.isfinite(values).all(axis=1)]
    return bool((finite >= 0).all() and (np.abs(finite.sum(axis=1) - 1) < 1e-3).all())


def _softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _side(head: Head, outputs: Floats, *, are_probabilities: bool, by_label: bool) -> Side:
    finite, answers = is_finite(outputs), head.answers(outputs)
    shares = class_probabilities(head, outputs, are_probabilities=are_probabilities)
    return Side(
        label=np.where(finite, answers, -1).astype(np.int64),
        probability=np.clip(shares[np.arange(len(outputs)), answers], 0, 1),
        said=head.decisions(outputs) & finite[:, None] if by_label else None,
    )


def _joined(sides: list[Side]) -> Side:
    said = [side.said for side in sides if side.said is not None]
    return Side(
        label=np.concatenate([side.label for side in sides]),
        probability=np.concatenate([side.probability for side in sides]),
        said=np.concatenate(said) if said else None,
    )

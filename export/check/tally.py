"""Counts of a file and its Keras model over batches: top-1, balanced accuracy, average precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from export.check.runner import is_finite
from export.head import Head, HeadKind
from export.verification import points_lost

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass
class Side:
    """One of the two: how often it is right, in all and for each class."""

    num_classes: int
    right: int = 0
    not_finite: int = 0
    all_right: int = 0
    right_of_class: Labels = field(init=False)
    scores: list[Floats] = field(default_factory=list)
    """(batch, labels) of every batch; only for labels."""

    def __post_init__(self) -> None:
        self.right_of_class = np.zeros(self.num_classes, np.int64)

    def add(self, head: Head, outputs: Floats, labels: Labels) -> None:
        """Adds outputs (batch, outputs) and labels (batch,), or (batch, labels) of 0 and 1."""
        finite = is_finite(outputs)
        right = finite & head.are_right(outputs, labels)
        self.right += int(right.sum())
        self.not_finite += int((~finite).sum())
        if labels.ndim == 1:
            self.right_of_class += np.bincount(labels[right], minlength=self.num_classes)
        if has_labels(head, labels):
            held = held_labels(labels, self.num_classes)
            self.all_right += int((finite & (head.decisions(outputs) == held).all(axis=1)).sum())
            self.scores.append(np.where(finite[:, None], outputs, -np.inf).astype(np.float32))


@dataclass
class Tally:
    """Running counts over the batches."""

    head: Head
    samples: int = 0
    agreeing: int = 0
    only_keras_right: int = 0
    only_file_right: int = 0
    max_abs_difference: float | None = None
    of_class: Labels = field(init=False)
    """The number of images of each class, or with each label."""
    has_several: bool = False
    """Whether an image has several labels."""
    held: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    """(batch, labels) of every batch; only for labels."""

    def __post_init__(self) -> None:
        self.of_class = np.zeros(self.head.num_classes, np.int64)
        self.keras, self.file = Side(self.head.num_classes), Side(self.head.num_classes)

    def add(self, expected: Floats | None, found: Floats, labels: Labels) -> None:
        """Adds both outputs (batch, outputs) and the labels; `expected` is None without a model.

        An output with NaN or infinity counts as wrong and as no agreement, and is not compared.
        """
        held = held_labels(labels, self.head.num_classes)
        self.samples += len(labels)
        self.has_several |= labels.ndim == 2
        self.of_class += held.sum(axis=0)
        if has_labels(self.head, labels):
            self.held.append(held)
        self.file.add(self.head, found, labels)
        if expected is None:
            return
        self.keras.add(self.head, expected, labels)
        both = is_finite(expected) & is_finite(found)
        same = (self.head.decisions(expected) == self.head.decisions(found)).all(axis=1)
        self.agreeing += int((both & same).sum())
        keras_right = is_finite(expected) & self.head.are_right(expected, labels)
        file_right = is_finite(found) & self.head.are_right(found, labels)
        self.only_keras_right += int((keras_right & ~file_right).sum())
        self.only_file_right += int((file_right & ~keras_right).sum())
        if both.any():
            largest = float(np.abs(expected[both] - found[both]).max())
            self.max_abs_difference = max(self.max_abs_difference or 0.0, largest)

    def measured(self) -> dict[str, Any]:
        """The fields of a Verification that are measured here."""
        precisions = [self._average_precision(side) for side in (self.keras, self.file)]
        keras, file = (100 * side.right / self.samples for side in (self.keras, self.file))
        scores = (keras, file) if None in precisions else precisions
        pairs = (None, None) if self.held else (self.only_keras_right, self.only_file_right)
        return {
            "num_only_keras_right": pairs[0],
            "num_only_tflite_right": pairs[1],
            "num_samples": self.samples,
            "keras_top1": keras,
            "tflite_top1": file,
            "drop_points": points_lost(*scores),
            "agreement": 100 * self.agreeing / self.samples,
            "max_abs_difference": self.max_abs_difference,
            "num_keras_not_finite": self.keras.not_finite,
            "num_tflite_not_finite": self.file.not_finite,
            "head": self.head.kind,
            "majority_share": 100 * int(self.of_class.max()) / self.samples,
            "keras_balanced": self._balanced(self.keras),
            "tflite_balanced": self._balanced(self.file),
            "keras_average_precision": precisions[0],
            "tflite_average_precision": precisions[1],
            "keras_all_labels": 100 * self.keras.all_right / self.samples if self.held else None,
            "tflite_all_labels": 100 * self.file.all_right / self.samples if self.held else None,
        }

    def _balanced(self, side: Side) -> float | None:
        """The mean over the classes that occur of the percent right; None for several labels an image."""
        if self.has_several:
            return None
        occur = self.of_class > 0
        return 100 * float(np.mean(side.right_of_class[occur] / self.of_class[occur]))

    def _average_precision(self, side: Side) -> float | None:
        if not self.held or not side.scores:
            return None
        return mean_average_precision(np.concatenate(side.scores), np.concatenate(self.held))


def has_labels(head: Head, labels: Labels) -> bool:
    """Whether the outputs are judged label by label: as sigmoids, or on images of several labels."""
    return head.kind is HeadKind.LABELS or (labels.ndim == 2 and head.kind is HeadKind.CLASSES)


def held_labels(labels: Labels, num_classes: int) -> npt.NDArray[np.bool_]:
    """(n,) numbers of classes, or (n, classes) of 0 and 1 -> (n, classes): which hold."""
    if labels.ndim == 2:
        return labels.astype(np.bool_)
    held: npt.NDArray[np.bool_] = labels[:, None] == np.arange(num_classes)
    return held


def mean_average_precision(scores: Floats, held: npt.NDArray[np.bool_]) -> float | None:
    """Percent: the mean over the labels of the sum of precision times gain in recall, image by image.

    Images of one score count together. (n, labels) both; labels that hold on no image are left out, and
    without any the result is None.
    """
    found = [_average_precision(*each) for each in zip(scores.T, held.T, strict=True) if each[1].any()]
    return 100 * float(np.mean(found)) if found else None


def _average_precision(scores: Floats, held: npt.NDArray[np.bool_]) -> float:
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(held[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last image of each score
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))

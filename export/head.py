"""What a classifier's outputs mean, and which class they name. Standard library only at import.

The one definition for the host, the phone, compression and the Kotlin.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Decisions = npt.NDArray[np.bool_]

HALF = 0.5
"""The threshold of a sigmoid; that of its logit is 0. As Keras's BinaryAccuracy, a value must be above it."""


SIGMOIDS_ON_CLASSES = (
    "the images have one class each, and the outputs are several sigmoids: the class counts as the one label "
    "that holds. If the classes exclude each other, end the model in a softmax"
)


class HeadKind(StrEnum):
    """How outputs become classes."""

    CLASSES = "classes"
    """An output a class; the largest names it."""
    BINARY = "binary"
    """One output for two classes: above the threshold the second, otherwise the first."""
    LABELS = "labels"
    """An output a label, each with its own yes or no: several may hold, or none."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The meaning of a model's or a file's outputs (n, outputs)."""

    kind: HeadKind
    num_outputs: int
    threshold: float = 0.0
    """Of BINARY and LABELS: 0.5 after a sigmoid, 0 for logits."""

    @property
    def num_classes(self) -> int:
        """The number of classes, or labels, that the outputs stand for."""
        return 2 if self.kind is HeadKind.BINARY else self.num_outputs

    def answers(self, outputs: Floats) -> Integers:
        """(n, outputs) -> (n,) numbers of classes; of labels the likeliest."""
        if self.kind is HeadKind.BINARY:
            return (outputs[:, 0] > self.threshold).astype("int64")
        found: Integers = outputs.argmax(axis=1)
        return found

    def are_right(self, outputs: Floats, labels: Integers) -> Decisions:
        """(n,): whether each answer is the image's class, or one of its labels (n, classes) of 0 and 1."""
        answers = self.answers(outputs)
        if labels.ndim == 2:
            held: Decisions = labels[range(len(labels)), answers] > 0
            return held
        same: Decisions = answers == labels
        return same

    def decisions(self, outputs: Floats) -> Decisions:
        """(n, outputs) -> (n, classes): whether each class or label holds."""
        if self.kind is HeadKind.LABELS:
            held: Decisions = outputs > self.threshold
            return held
        import numpy as np

        chosen: Decisions = self.answers(outputs)[:, None] == np.arange(self.num_classes)
        return chosen

    @property
    def in_words(self) -> str:
        """What an app must know, such as 'one score: above 0.5 the second class, else the first'."""
        if self.kind is HeadKind.BINARY:
            return f"one score: above {self.threshold:g} the second class, else the first"
        if self.kind is HeadKind.LABELS:
            return f"a score a label, each on its own: it holds above {self.threshold:g}"
        return "a score a class: the largest names it"


def head_of(num_outputs: int, *, has_sigmoid: bool) -> Head:
    """The head of a model or file with so many outputs, which end in a sigmoid or not.

    Several outputs without a sigmoid are classes, since logits of labels look the same.
    """
    threshold = HALF if has_sigmoid else 0.0
    if num_outputs == 1:
        return Head(kind=HeadKind.BINARY, num_outputs=1, threshold=threshold)
    if has_sigmoid:
        return Head(kind=HeadKind.LABELS, num_outputs=num_outputs, threshold=threshold)
    return Head(kind=HeadKind.CLASSES, num_outputs=num_outputs)

"""Knowledge distillation: a net learns a larger one's class scores beside the true labels.

Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

Loss = Callable[[Any, Any], Any]
"""(b,) losses of targets and scores (b, classes)."""
Teach = Callable[[Any], Any]
"""(b, height, width, channels) raw 0-255 pixels -> a teacher's scores (b, classes)."""


class Taught(keras.Model):
    """A model of class scores whose training targets hold a teacher's scores of the same images."""

    teach: Teach | None = None
    """Set after construction, to a function: a model would become a part of this one."""

    def compute_loss(
        self,
        x: Any = None,  # noqa: ANN401
        y: Any = None,  # noqa: ANN401
        y_pred: Any = None,  # noqa: ANN401
        sample_weight: Any = None,  # noqa: ANN401
        training: bool = True,
    ) -> Any:  # noqa: ANN401
        """The compiled loss; of labels alone in evaluation."""
        targets = with_scores(y, self.teach(x)) if training and self.teach else y
        return super().compute_loss(x, targets, y_pred, sample_weight, training)


def with_scores(labels: Any, scores: Any) -> Any:  # noqa: ANN401
    """Targets (b, 1 + classes): the label (b,) and the teacher's scores (b, classes) of each image."""
    numbers = keras.ops.reshape(keras.ops.cast(labels, "float32"), (-1, 1))
    return keras.ops.concatenate([numbers, keras.ops.cast(scores, "float32")], axis=1)


def distilled(hard: Loss, *, temperature: float, weight: float, class_weights: Sequence[float]) -> Loss:
    """A loss of targets and scores: (1 - weight) * hard + weight * the distance from the teacher's scores.

    Takes with_scores() as targets, or labels alone (b,), of which it gives `hard`. An image's distance counts
    as its class does.
    """
    is_weighted = any(each != 1.0 for each in class_weights)

    def loss(targets: Any, scores: Any) -> Any:  # noqa: ANN401
        if len(targets.shape) < 2 or targets.shape[-1] != 1 + scores.shape[-1]:
            return hard(targets, scores)
        labels = keras.ops.cast(targets[:, 0], "int32")
        distance = soft_loss(targets[:, 1:], scores, temperature=temperature)
        if is_weighted:
            each = keras.ops.convert_to_tensor(class_weights, "float32")
            distance = distance * keras.ops.take(each, labels)
        return (1.0 - weight) * hard(labels, scores) + weight * distance

    return loss


def soft_loss(teacher: Any, student: Any, *, temperature: float) -> Any:  # noqa: ANN401
    """(b,) Kullback-Leibler divergences of softmax(scores / T) from the teacher's, times T**2.

    The factor keeps the size of the gradients when T changes.
    """
    theirs = keras.ops.log_softmax(teacher / temperature, axis=-1)
    ours = keras.ops.log_softmax(keras.ops.cast(student, "float32") / temperature, axis=-1)
    divergence = keras.ops.sum(keras.ops.exp(theirs) * (theirs - ours), axis=-1)
    return temperature**2 * divergence

"""A teacher: any image classifier as a function from the student's pixels to scores of the student's classes.

Its file may hold a run's model, a Keras model of the user's, or published weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.files import sha256_of
from export.graph.probabilities import ends_in, head_of_model, without_probabilities
from export.graph.rescaling import add_rescaling
from export.head import HeadKind
from export.source.keras_file import load
from models.build import build
from models.weights.fill import load_weights
from pipeline.data.spec import ImageShape, image_shape_of
from pipeline.errors import PipelineError, UsageError
from pipeline.records.training import TeacherConfig
from pipeline.training.fast_layers import fast_layers

TINY = 1e-7
"""Added to probabilities before their logarithm, as Keras's own cross-entropy does."""
_NUM_TRIED = 4


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A model of class scores, and its class for each of the student's."""

    scores: keras.Model
    """(b, height, width, channels) raw 0-255 pixels -> class scores."""
    outputs: tuple[int, ...]

    def __call__(self, images: Any) -> Any:  # noqa: ANN401
        """(b, h, w, 3) raw 0-255 RGB of any size -> scores (b, the student's classes); BatchNorm infers."""
        fitted = fitted_pixels(images, image_shape_of(self.scores))
        with fast_layers(self.scores):
            scores = tf.cast(self.scores(fitted, training=False), tf.float32)
        return tf.stop_gradient(tf.gather(scores, list(self.outputs), axis=1))


def load_teacher(config: TeacherConfig) -> Teacher:
    """The teacher of a run's settings. PipelineError if its file has changed or is gone."""
    path = Path(config.path)
    if not path.exists() or sha256_of(path) != config.sha256:
        raise PipelineError(
            f"the teacher that the run learns from is not at {path} any more (sha256 {config.sha256[:12]}). "
            "Put it back, or start a new training."
        )
    whole = load_model(path, family=config.family, knobs=config.knobs)
    return Teacher(scores=scores_of(whole, config.name), outputs=config.outputs)


def load_model(path: Path, *, family: str | None, knobs: dict[str, Any]) -> keras.Model:
    """The whole model, of a model's file or of weights of a family; it takes raw 0-255 pixels."""
    if family is not None:
        model = build(family, **knobs)
        load_weights(model, path)
        return model
    model = load(path).model
    return add_rescaling(model, **knobs) if knobs else model


def scores_of(model: keras.Model, name: str) -> keras.Model:
    """The model up to its class scores; of one sigmoid the scores of both classes.

    Probabilities of a kind that has no scores are turned into their logarithms, which have the same softmax.
    Raises UsageError for several sigmoids and for a batch of a fixed size.
    """
    if (size := model.inputs[0].shape[0]) is not None:
        raise UsageError(
            f"the teacher {name} was built for batches of {size}; expected batches of any size. Build it "
            "without batch_size and save it again."
        )
    kind = head_of_model(model).kind
    if kind is HeadKind.LABELS:
        raise UsageError(
            f"the teacher {name} gives each label its own sigmoid, and a teacher says which one class it is. "
            "Give one that ends in a softmax."
        )
    scores = without_probabilities(model) if ends_in(model) else model
    if kind is HeadKind.BINARY:
        one = scores.outputs[0]
        return keras.Model(scores.inputs[0], keras.ops.concatenate([keras.ops.zeros_like(one), one], axis=1))
    if _gives_probabilities(scores):
        return keras.Model(scores.inputs[0], keras.ops.log(scores.outputs[0] + TINY))
    return scores


def fitted_pixels(images: Any, shape: ImageShape) -> Any:  # noqa: ANN401
    """(b, h, w, 3) raw pixels as a model of this shape takes them: as pipeline/data/pixels.py fits an image.

    The largest central part of its aspect ratio, resized bilinearly with antialiasing; grey for one channel.
    """
    height, width = int(images.shape[1]), int(images.shape[2])
    part_width = min(width, height * shape.width // shape.height) or 1
    part_height = min(height, width * shape.height // shape.width) or 1
    top, left = (height - part_height) // 2, (width - part_width) // 2
    fitted = images[:, top : top + part_height, left : left + part_width]
    if (part_height, part_width) != (shape.height, shape.width):
        fitted = tf.image.resize(fitted, (shape.height, shape.width), antialias=True)
    return tf.image.rgb_to_grayscale(fitted) if shape.channels == 1 else fitted


def _gives_probabilities(model: keras.Model) -> bool:
    """Whether the outputs are no less than 0 and sum to 1, tried on noise: a softmax that no layer names."""
    noise = np.random.default_rng(0).uniform(0, 255, (_NUM_TRIED, *model.input_shape[1:]))
    outputs = np.asarray(model(noise.astype(np.float32), training=False))
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1.0, atol=1e-3))

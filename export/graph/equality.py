"""Whether a rewritten model computes the same as the original, on images, within float32's rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export.errors import ExportError
from export.graph.probabilities import class_scores, ends_in
from spelling import counted

TOLERANCE = 1e-3
"""Share of the largest class score. Float32 rounding in another order gave up to 3e-5 (MobileNetV2, 53
layers), float16 weights 5e-4; a wrong weight or epsilon changes scores by percents."""

ROUNDINGS = 8
"""The allowed difference, as a multiple of what one bit of the input changes, since layers round too.
EfficientNetB0 with random statistics, on noise: one bit 0.0013 to 0.0018, rewritten 0.0012 to 0.0056."""
MAX_TOLERANCE = 0.05
"""The largest allowed difference, however much a model magnifies."""

_BATCH_IMAGES = 32
_PATCH = 6
"""Pixels from one random level to the next in random_images()."""
_TINY = 1e-30


def check_equal(
    original: keras.Model,
    rewritten: keras.Model,
    pixels: npt.NDArray[Any],
    *,
    tolerance: float = TOLERANCE,
    instead: str = "without rewrites (--no-rewrite)",
) -> float:
    """The largest difference of both models on these images. Raises ExportError if it is above the tolerance.

    A model that magnifies rounding is allowed as much as rounding can make in it. `instead` says in the error
    how the model can still be exported.
    """
    difference = largest_difference(original, rewritten, pixels)
    if difference <= tolerance:
        return difference
    allowed = max(tolerance, min(ROUNDINGS * effect_of_rounding(original, pixels), MAX_TOLERANCE))
    if not difference <= allowed:
        raise ExportError(
            f"the rewritten '{original.name}' differs by {difference:.2g} of the largest output from the "
            f"original on {counted(len(pixels), 'image')}; at most {allowed:.2g} was expected. Export it "
            f"{instead}, "
            "and report the model's summary."
        )
    return difference


def random_images(number: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """(number, height, width, channels) images of 0-255 as smooth as photos, to compare models on.

    A net that was trained on photos can magnify rounding without bound on noise, of which it knows nothing:
    EfficientNetB1's scores changed by a fifth with the last bit of the pixels, and by 5e-5 on these.
    """
    height, width, channels = shape
    patches = (number, max(2, height // _PATCH), max(2, width // _PATCH), channels)
    levels = np.random.default_rng(0).uniform(0, 255, patches)
    smooth: npt.NDArray[np.float64] = tf.image.resize(levels, (height, width)).numpy()
    return np.rint(smooth).astype(np.uint8)


def effect_of_rounding(model: keras.Model, pixels: npt.NDArray[Any]) -> float:
    """The largest change of the outputs, over the largest output, when the last bit of each pixel changes."""
    signs = np.random.default_rng(0).choice(np.asarray([-1, 1], np.float32), pixels.shape)
    images = pixels.astype(np.float32)
    scores = class_scores(model)
    changed = images * (1 + signs * np.finfo(np.float32).eps)
    expected, found = (np.asarray(scores(each), np.float64) for each in (images, changed))
    return float(np.abs(expected - found).max() / max(np.abs(expected).max(), _TINY))


def largest_difference(model: keras.Model, rewritten: keras.Model, pixels: npt.NDArray[Any]) -> float:
    """The largest difference of the outputs for (n, height, width, channels), over the largest output.

    If both models end in a softmax or sigmoid, class scores are compared, since these hide differences.
    """
    shape = tuple(model.inputs[0].shape[1:])
    if pixels.shape[1:] != shape or not len(pixels):
        raise ExportError(
            f"images of shape {pixels.shape} to compare '{model.name}' with. "
            f"Expected (n, {', '.join(map(str, shape))}), raw 0-255, at least one."
        )
    both = (model, rewritten)
    pair = (
        [class_scores(each) for each in both]
        if all(map(ends_in, both))
        else [_outputs(each) for each in both]
    )
    difference, largest = 0.0, 0.0
    for start in range(0, len(pixels), _BATCH_IMAGES):
        batch = pixels[start : start + _BATCH_IMAGES].astype(np.float32)
        expected, found = (np.asarray(each(batch), np.float64) for each in pair)
        # np.maximum keeps a NaN, which max() may pass over
        difference = float(np.maximum(difference, np.abs(expected - found).max()))
        largest = float(np.maximum(largest, np.abs(expected).max()))
    return difference / max(largest, _TINY)


def _outputs(model: keras.Model) -> Callable[[npt.NDArray[np.float32]], Any]:
    return lambda images: model(images, training=False)

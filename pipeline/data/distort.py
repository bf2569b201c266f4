"""Does to training pixels what Augment says. All randomness is drawn beforehand, from (seed, epoch) alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.augment import Augment

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

_ORDER, _SHIFT, _MIRROR, _CROP, _COLOUR = range(5)
"""Each has its own stream, so that switching one on leaves the others' draws as they were."""
_ASPECT = (3 / 4, 4 / 3)


def shuffled(num: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation of 0..num-1."""
    return _random(seed, epoch, _ORDER).permutation(num)


def draw(augment: Augment, *, num: int, seed: int, epoch: int) -> dict[str, npt.NDArray[np.generic]]:
    """What happens to the n-th image of an epoch, for each n: only what `augment` switches on.

    shift (num, 2) int32 pixels down and right; mirror (num,) bool; crop (num, 4) float32 top, left, bottom,
    right as shares of the side; colour (num, 3) float32 factors of brightness, contrast, saturation.
    """
    drawn: dict[str, npt.NDArray[np.generic]] = {}
    if augment.shift_pixels:
        most = augment.shift_pixels
        shift = _random(seed, epoch, _SHIFT).integers(-most, most, size=(num, 2), endpoint=True)
        drawn["shift"] = shift.astype(np.int32)
    if augment.mirror:
        drawn["mirror"] = _random(seed, epoch, _MIRROR).random(num) < 0.5
    if augment.min_crop_area < 1:
        drawn["crop"] = _crops(_random(seed, epoch, _CROP), num, augment.min_crop_area)
    if augment.colour_jitter:
        jitter = augment.colour_jitter
        factors = _random(seed, epoch, _COLOUR).uniform(1 - jitter, 1 + jitter, size=(num, 3))
        drawn["colour"] = factors.astype(np.float32)
    return drawn


def apply(rows: tf.Tensor, drawn: dict[str, tf.Tensor], augment: Augment) -> tf.Tensor:
    """(b, h, w, 3) uint8 and draw()'s rows for them -> (b, h, w, 3) float32, 0-255.

    Mirror, then shift (both exact), then crop (bilinear), then colour.
    """
    import tensorflow as tf

    if "mirror" in drawn:
        rows = tf.where(drawn["mirror"][:, None, None, None], tf.reverse(rows, axis=[2]), rows)
    if "shift" in drawn:
        rows = _shift(rows, drawn["shift"], augment)
    pixels = tf.cast(rows, tf.float32)
    if "crop" in drawn:
        pixels = _crop(pixels, drawn["crop"])
    if "colour" in drawn:
        pixels = _colour(pixels, drawn["colour"])
    return pixels


def _random(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([abs(seed), epoch, stream])


def _crops(random: np.random.Generator, num: int, min_area: float) -> npt.NDArray[np.float32]:
    area = random.uniform(min_area, 1, num)
    aspect = np.exp(random.uniform(*np.log(_ASPECT), num))
    height, width = np.minimum(np.sqrt(area / aspect), 1), np.minimum(np.sqrt(area * aspect), 1)
    top, left = random.random(num) * (1 - height), random.random(num) * (1 - width)
    return np.stack([top, left, top + height, left + width], axis=1).astype(np.float32)


def _shift(rows: tf.Tensor, shift: tf.Tensor, augment: Augment) -> tf.Tensor:
    import tensorflow as tf

    most, side = augment.shift_pixels, rows.shape[1]
    border = [most, most]
    padded = tf.pad(rows, [[0, 0], border, border, [0, 0]], constant_values=augment.fill)
    start = most - shift
    padded = tf.gather(padded, start[:, :1] + tf.range(side), axis=1, batch_dims=1)
    return tf.gather(padded, start[:, 1:] + tf.range(side), axis=2, batch_dims=1)


def _crop(pixels: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    side = pixels.shape[1]
    # the operator's 0 and 1 are the centres of the first and the last pixel
    number = tf.range(tf.shape(pixels)[0])
    return tf.image.crop_and_resize(pixels, boxes, number, (side, side))


def _colour(pixels: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    brightness, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))
    pixels = pixels * brightness
    grey = tf.image.rgb_to_grayscale(pixels)
    mean = tf.reduce_mean(grey, axis=[1, 2, 3], keepdims=True)
    pixels = mean + (grey + (pixels - grey) * saturation - mean) * contrast
    return tf.clip_by_value(pixels, 0.0, 255.0)

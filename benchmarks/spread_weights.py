"""Random weights, as spread out as trained ones, for the nets of keras.applications."""

from __future__ import annotations

import keras
import numpy as np
from rewrites import with_random_statistics

NUM_STATISTICS = 64
"""Images from which the random weights get their statistics."""


def spread_out(
    net: str, pixels: np.ndarray, *, image_size: int, num_classes: int, true_norms: bool
) -> keras.Model:
    """The net with random weights whose class scores differ from image to image.

    `true_norms` gives every BatchNormalization the statistics that its input has on the pixels, which are as
    the net takes them; else they are random.
    """
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, net)(
        input_shape=(image_size, image_size, 3), weights=None, classes=num_classes
    )
    with_random_statistics(model, np.random.default_rng(0))
    images = pixels[:: max(1, len(pixels) // NUM_STATISTICS)].astype(np.float32)
    if true_norms:
        _with_true_statistics(model, images)
    return whitened(model, images)


def _with_true_statistics(model: keras.Model, images: np.ndarray) -> None:
    """Sets the moving statistics to those of the images, as a training would."""
    norms = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    dropouts = [each for each in model.layers if isinstance(each, keras.layers.Dropout)]
    for dropout in dropouts:
        dropout.rate = 0.0
    model(images, training=True)


def whitened(model: keras.Model, images: np.ndarray) -> keras.Model:
    """The model with a last layer that gives its classes uncorrelated scores of mean 0 on the images."""
    last = next(each for each in reversed(model.layers) if each.get_weights())
    features = keras.Model(model.input, last.input).predict(images, verbose=0)
    rows = features.reshape(-1, features.shape[-1]) if features.ndim == 2 else features.mean(axis=(1, 2))
    mean = rows.mean(axis=0)
    _, deviations, directions = np.linalg.svd(rows - mean, full_matrices=False)
    kernel, bias = last.get_weights()
    num_classes = kernel.shape[-1]
    strongest = directions[:num_classes].T / (deviations[:num_classes] / np.sqrt(len(rows)))
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(num_classes, num_classes)))
    drawn = 3.0 * strongest @ rotation
    last.set_weights([drawn.reshape(kernel.shape), -(mean @ drawn).reshape(bias.shape)])
    return model

"""Layers that two or more families share."""

from __future__ import annotations

import keras

MOMENTUM = 0.9
"""Momentum of BatchNormalization, as in Torch; Keras's 0.99 is too slow for trainings of few steps."""


def conv(
    x: keras.KerasTensor, filters: int, kernel: int, *, name: str, **settings: object
) -> keras.KerasTensor:
    """A padded convolution without bias: (b, h, w, c) -> (b, h / strides, w / strides, filters)."""
    settings = {"padding": "same", "use_bias": False} | settings
    return keras.layers.Conv2D(filters, kernel, name=name, **settings)(x)


def batch_norm_relu(
    x: keras.KerasTensor, *, name: str, epsilon: float, max_value: float | None = None
) -> keras.KerasTensor:
    """BatchNormalization `<name>_bn`, then ReLU `<name>_relu`; keeps the shape."""
    x = keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon, name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value=max_value, name=f"{name}_relu")(x)


def max_pool(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """3x3 max pooling with stride 2 as in Caffe: (b, n, n, c) -> (b, m, m, c), m = ceil((n - 3) / 2) + 1.

    A window that extends beyond the edge counts, as in Caffe and the published nets. For even n that is
    Keras's "same" padding, for odd n none does; below 3 pixels one window covers the image.
    """
    size = x.shape[1]
    padding = "same" if size % 2 == 0 or size < 3 else "valid"
    return keras.layers.MaxPooling2D(3, strides=2, padding=padding, name=name)(x)


def dropout(x: keras.KerasTensor, rate: float, *, name: str) -> keras.KerasTensor:
    """Dropout, or no layer if the rate is 0; keeps the shape."""
    return keras.layers.Dropout(rate, name=name)(x) if rate else x

"""The tf_keras layers that compute what one Keras 3 layer does, each of them one operator in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tf_keras

from export.trained_names import PART
from pipeline.compression.carried import carried

Tensor = Any
"""tf_keras carries no types."""

_CONV = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias")
_DEPTHWISE = ("kernel_size", "strides", "padding", "depth_multiplier", "dilation_rate")
_POOL = ("pool_size", "strides", "padding")
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "Add": (),
    "Average": (),
    "AveragePooling2D": _POOL,
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Conv2D": _CONV,
    "Cropping2D": ("cropping", "data_format"),
    "Dense": ("units", "use_bias"),
    "DepthwiseConv2D": (*_DEPTHWISE, "use_bias"),
    "Dropout": ("rate",),
    "ELU": (),
    "Flatten": (),
    "GlobalAveragePooling2D": ("keepdims",),
    "GlobalMaxPooling2D": ("keepdims",),
    "LayerNormalization": ("axis", "epsilon", "center", "scale"),
    "LeakyReLU": (),
    "Maximum": (),
    "MaxPooling2D": _POOL,
    "Minimum": (),
    "Multiply": (),
    "Permute": ("dims",),
    "PReLU": ("shared_axes",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Reshape": ("target_shape",),
    "Softmax": ("axis",),
    "SpatialDropout2D": ("rate",),
    "Subtract": (),
    "UpSampling2D": ("size", "interpolation"),
    "ZeroPadding2D": ("padding", "data_format"),
}
"""The layers that have one of the same name in tf_keras, with the settings that determine their result."""
_IN_PARTS = ("Activation", "Rescaling", "SeparableConv2D")

_FUSED = ("linear", "relu", "relu6")
"""Activations that a convolution takes in."""
_ALONE = (*_FUSED, "sigmoid", "softmax", "tanh")
"""Activations that are one operator."""


class Part(Protocol):
    """Makes a layer of the twin, or returns the one that an earlier call of its Keras 3 layer made.

    `suffix` follows the Keras 3 layer's name; `weights` are those of its weights that the new one has.
    """

    def __call__(
        self, suffix: str, make: Callable[[str], tf_keras.layers.Layer], weights: slice = ...
    ) -> Callable[..., Tensor]: ...


def has_layers(operation: keras.Operation) -> bool:
    """Whether tf_keras has the layers for an operation; others run as they are, and are not trained."""
    kind = type(operation).__name__
    if type(operation) is not getattr(keras.layers, kind, None):
        return False
    if kind in _IN_PARTS:
        return not _is_channels_first(operation)
    return kind in _SETTINGS and ("data_format" in _SETTINGS[kind] or not _is_channels_first(operation))


def called(layer: Any, inputs: Tensor, part: Part, *, frozen: bool) -> Tensor:  # noqa: ANN401
    """The output of a layer that has_layers(), for inputs (a tensor or a list of them).

    A `frozen` BatchNormalization keeps its statistics.
    """
    kind = type(layer).__name__
    if kind == "Activation":
        return _activated(layer.activation, inputs, part, suffix="")
    if kind == "Rescaling":
        return _rescaled(layer, inputs, part)
    if kind == "SeparableConv2D":
        inputs = part(f"{PART}depthwise", lambda name: _depthwise_of(layer, name), slice(0, 1))(inputs)
        x = part("", lambda name: _pointwise_of(layer, name), slice(1, None))(inputs)
    else:
        x = part("", lambda name: _alike(layer, name, frozen=frozen), slice(0, None))(inputs)
    activation = getattr(layer, "activation", None)
    if activation is None or _name(activation) in _FUSED:
        return x
    return _activated(activation, x, part, suffix=f"{PART}activation")


def _alike(layer: Any, name: str, *, frozen: bool) -> tf_keras.layers.Layer:  # noqa: ANN401
    """The tf_keras layer of the same type and settings."""
    kind, config = type(layer).__name__, layer.get_config()
    settings = {key: config[key] for key in _SETTINGS[kind] if key in config}
    if kind == "ELU":
        settings["alpha"] = float(layer.alpha)
    elif kind == "LeakyReLU":
        settings["alpha"] = float(layer.negative_slope)
    elif kind == "BatchNormalization":
        settings["trainable"] = layer.trainable and not frozen
    elif "Dropout" in kind:
        settings["rng_type"] = "stateful"  # a generator that an epoch can seed
    if "activation" in config:
        settings["activation"] = _fused(layer)
    return getattr(tf_keras.layers, kind)(name=name, **settings)


def _depthwise_of(layer: Any, name: str) -> tf_keras.layers.Layer:  # noqa: ANN401
    config = layer.get_config()
    settings = {key: config[key] for key in _DEPTHWISE}
    return tf_keras.layers.DepthwiseConv2D(name=name, use_bias=False, **settings)


def _pointwise_of(layer: Any, name: str) -> tf_keras.layers.Layer:  # noqa: ANN401
    return tf_keras.layers.Conv2D(
        layer.filters, 1, use_bias=layer.use_bias, activation=_fused(layer), name=name
    )


def _fused(layer: Any) -> str:  # noqa: ANN401
    name = _name(layer.activation)
    return name if name in _FUSED else "linear"


def _activated(function: Any, x: Tensor, part: Part, *, suffix: str) -> Tensor:  # noqa: ANN401
    """The activation of a tensor, in layers of one operator where these are known."""
    name = _name(function)
    if name in _ALONE:
        return part(suffix, lambda own: tf_keras.layers.Activation(name, name=own))(x)
    if name == "silu":
        share = part(f"{suffix}{PART}sigmoid", lambda own: tf_keras.layers.Activation("sigmoid", name=own))(x)
        return part(suffix, lambda own: tf_keras.layers.Multiply(name=own))([x, share])
    if name == "hard_sigmoid":
        x = part(f"{suffix}{PART}shift", lambda own: carried(lambda x: x + 3.0, kind="Add", name=own))(x)
        x = part(f"{suffix}{PART}clip", lambda own: tf_keras.layers.Activation("relu6", name=own))(x)
        return part(suffix, lambda own: carried(lambda x: x / 6.0, kind="Multiply", name=own))(x)
    return part(suffix, lambda own: carried(function, kind=name, name=own))(x)


def _rescaled(layer: Any, x: Tensor, part: Part) -> Tensor:  # noqa: ANN401
    scale, offset = np.asarray(layer.scale, np.float32), np.asarray(layer.offset, np.float32)
    if not offset.any():
        return part("", lambda own: carried(lambda x: x * scale, kind="Multiply", name=own))(x)
    x = part(f"{PART}scale", lambda own: carried(lambda x: x * scale, kind="Multiply", name=own))(x)
    return part("", lambda own: carried(lambda x: x + offset, kind="Add", name=own))(x)


def _name(function: Any) -> str:  # noqa: ANN401
    """The name of one of Keras's activations; of another, 'custom'."""
    name = getattr(function, "__name__", "")
    return name if function is getattr(keras.activations, name, None) else "custom"


def _is_channels_first(layer: keras.Operation) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_first"

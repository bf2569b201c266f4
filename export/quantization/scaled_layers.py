"""A layer that writes channels and one that reads them, and how a factor goes in and comes out again."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from export.graph.changes import Affine, folded_weights

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
"""For each channel of a tensor, its number among all channels that the graph's layers write."""

WEIGHT_STEPS = 127
"""The int8 value of a kernel's largest weight."""
_CHANNELWISE = (keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization)
"""Layers that can undo a channel's factor in weights that have a separate scale for that channel."""


@dataclass(kw_only=True)
class Writer:
    """A layer whose output channels can be scaled. Names are as in LayerOutputs."""

    layer: keras.Layer
    name: str
    channels: Numbers
    activation: str
    """The layer whose output the file stores: this one, or a ReLU fused with it."""

    def scale(self, factor: Floats) -> None:
        """Multiplies the layer's output."""
        layer = self.layer
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in [layer.gamma, *([layer.beta] if layer.center else [])]:
                variable.assign(np.asarray(variable) * factor)
            return
        scaled = folded_weights(layer, Affine(factor=factor, shift=np.zeros_like(factor)))
        layer.set_weights(scaled if layer.use_bias else scaled[:-1])


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A layer that undoes the factors of the channels that it reads."""

    layer: keras.Layer
    name: str
    channels: Numbers
    read: str
    """The layer that writes the input of this one."""

    @property
    def is_channelwise(self) -> bool:
        return isinstance(self.layer, _CHANNELWISE)

    def scale(self, factor: Floats) -> None:
        """Undoes the factors in the layer's weights, so that its output is unchanged."""
        layer = self.layer
        if isinstance(layer, keras.layers.BatchNormalization):
            variance = np.asarray(layer.moving_variance, np.float64) + layer.epsilon
            layer.moving_mean.assign(np.asarray(layer.moving_mean) * factor)
            layer.moving_variance.assign(variance * factor**2 - layer.epsilon)
            return
        kernel, *bias = layer.get_weights()
        layer.set_weights([(kernel / factor[:, np.newaxis]).astype(np.float32), *bias])


def squared_steps(reader: Reader, factor: Floats) -> Floats:
    """For each input channel, the mean square of its weights in int8 steps."""
    if reader.is_channelwise:
        return np.full(len(reader.channels), float(WEIGHT_STEPS) ** 2)
    kernel = np.abs(np.asarray(reader.layer.kernel, np.float64))
    own = factor[reader.channels]
    step = (kernel / own[:, np.newaxis]).max(axis=tuple(range(kernel.ndim - 1))) / WEIGHT_STEPS
    step[step == 0] = 1
    mean: Floats = np.square(kernel / step).mean(axis=(*range(kernel.ndim - 2), kernel.ndim - 1))
    return mean


def clip_of(layer: keras.Operation) -> float | None:
    """The value at which a layer's activation clips; None if it does not commute with a positive factor."""
    if type(layer) is keras.layers.BatchNormalization:
        return np.inf
    if type(layer) is keras.layers.ReLU:
        plain = not layer.threshold and not layer.negative_slope
        return (np.inf if layer.max_value is None else float(layer.max_value)) if plain else None
    clips = {keras.activations.linear: np.inf, keras.activations.relu: np.inf, keras.activations.relu6: 6.0}
    return clips.get(getattr(layer, "activation", None))


def has_kernel(layer: keras.Layer) -> bool:
    """Whether a layer has a kernel that is quantized per channel."""
    return type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def can_be_scaled(layer: keras.Layer) -> bool:
    """Whether a layer has weights that a factor of its output can go into."""
    return has_kernel(layer) or bool(layer.scale)


def reads_channels(layer: keras.Layer) -> bool:
    """Whether the second last axis of a layer's kernel is its input channels."""
    return getattr(layer, "groups", 1) == 1

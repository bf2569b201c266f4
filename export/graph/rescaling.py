"""How a model turns raw 0-255 pixels into the values it computes with, and how that is cut off or put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.errors import ExportError

PIXELS_LAYER = "pixels"


@dataclass(frozen=True, kw_only=True)
class Rescaling:
    """value = pixel * scale + offset; one number for all channels, or one a channel."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def is_scalar(self) -> bool:
        """Whether all channels are treated alike."""
        return len(set(self.scale)) == 1 and len(set(self.offset)) == 1

    def __call__(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(..., channels) raw 0-255 -> what the model computes with."""
        rescaled: npt.NDArray[np.float32] = pixels * _floats(self.scale) + _floats(self.offset)
        return rescaled


RAW = Rescaling(scale=(1.0,), offset=(0.0,))
"""The model computes with raw pixels."""


@dataclass(frozen=True, kw_only=True)
class SplitModel:
    """A model in two: the rescaling that it begins with, and the rest, which takes the rescaled values."""

    rescaling: Rescaling
    layers: tuple[str, ...]
    """The names of the layers that were cut off."""
    rest: keras.Model


def add_rescaling(
    model: keras.Model, scale: float | Sequence[float], offset: float | Sequence[float]
) -> keras.Model:
    """The model behind a Rescaling, so that one that was trained on 0..1 or -1..1 takes raw 0-255 pixels.

    0..1 is scale 1/255, offset 0; -1..1 is scale 1/127.5, offset -1. The layers and weights are shared
    with the given model. Takes (batch, height, width, channels), as the model does.
    """
    shape = tuple(model.inputs[0].shape[1:])
    for name, value in (("scale", scale), ("offset", offset)):
        if np.size(value) not in (1, shape[-1]):
            raise ExportError(
                f"{np.size(value)} values as {name}, but images of {shape[-1]} channels. "
                f"Expected one {name} for all channels, or one for each."
            )
    pixels = keras.Input(shape, name="image")
    rescaled = keras.layers.Rescaling(_plain(scale), _plain(offset), name=PIXELS_LAYER)(pixels)
    return keras.Model(pixels, model(rescaled), name=model.name)


def split_rescaling(model: keras.Model) -> SplitModel:
    """Cuts off the Rescaling and Normalization layers, and the plain arithmetic, that a model begins with.

    Several in a row become one rescaling. A model that begins otherwise, or uses its raw input twice,
    comes back whole with RAW.
    """
    tensor = model.inputs[0]
    channels = int(tensor.shape[-1])
    scale, offset = np.ones(channels), np.zeros(channels)
    cut: list[str] = []
    while (step := _rescaling_behind(model, tensor, channels)) is not None:
        layer, tensor, factor, addend = step
        scale, offset = scale * factor, offset * factor + addend
        cut.append(layer)
    if not cut:
        return SplitModel(rescaling=RAW, layers=(), rest=model)
    rescaling = Rescaling(scale=tuple(map(float, scale)), offset=tuple(map(float, offset)))
    rest = keras.Model(tensor, model.outputs[0], name=model.name)
    return SplitModel(rescaling=rescaling, layers=tuple(cut), rest=rest)


def in_one_operator(split: SplitModel) -> keras.Model:
    """The model on raw pixels, with its rescaling as a 1x1 depthwise convolution with bias.

    One integer operator, exact at padded borders too, where a scale and an offset folded into the first
    convolution would see zeros that are not the padding's.
    """
    shape = tuple(split.rest.inputs[0].shape[1:])
    layer = keras.layers.DepthwiseConv2D(1, name=split.layers[-1], trainable=False)
    pixels = keras.Input(shape, name="image")
    model = keras.Model(pixels, split.rest(layer(pixels)), name=split.rest.name)
    kernel = np.broadcast_to(_floats(split.rescaling.scale), shape[-1:]).reshape(1, 1, shape[-1], 1)
    layer.set_weights([kernel, np.broadcast_to(_floats(split.rescaling.offset), shape[-1:])])
    return model


def _rescaling_behind(
    model: keras.Model, tensor: keras.KerasTensor, channels: int
) -> tuple[str, keras.KerasTensor, npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """The only consumer of a tensor, where it rescales: its name, its output, its scale and its offset."""
    consumers = [
        (layer, node)
        for layer in _operations(model)
        for node in layer._inbound_nodes
        if any(each is tensor for each in node.input_tensors)
    ]
    if len(consumers) != 1:
        return None
    layer, node = consumers[0]
    if isinstance(layer, keras.layers.Rescaling):
        scale, offset = np.asarray(layer.scale, float), np.asarray(layer.offset, float)
    elif isinstance(layer, keras.layers.Normalization) and not layer.invert:
        deviation = np.maximum(np.sqrt(np.asarray(layer.variance)), keras.config.epsilon())
        scale, offset = 1 / deviation, -np.asarray(layer.mean) / deviation
    elif (found := _arithmetic(layer, node, tensor)) is not None:
        scale, offset = found
    else:
        return None
    if scale.size not in (1, channels) or offset.size not in (1, channels):
        return None
    return (
        layer.name,
        node.output_tensors[0],
        np.broadcast_to(scale.ravel(), channels),
        np.broadcast_to(offset.ravel(), channels),
    )


def _arithmetic(
    operation: keras.Operation,
    node: Any,  # noqa: ANN401 - Keras carries no types
    tensor: keras.KerasTensor,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Scale and offset of `tensor / number` and the like, as preprocess_input of keras.applications does."""
    arguments = node.arguments.args
    if len(arguments) != 2 or arguments[0] is not tensor or not isinstance(arguments[1], int | float):
        return None
    number = float(arguments[1])
    if not number:
        return None
    scales = {"Multiply": number, "Divide": 1 / number, "TrueDivide": 1 / number}
    offsets = {"Add": number, "Subtract": -number}
    kind = type(operation).__name__
    if kind not in scales and kind not in offsets:
        return None
    return np.asarray(scales.get(kind, 1.0)), np.asarray(offsets.get(kind, 0.0))


def _operations(model: keras.Model) -> list[keras.Operation]:
    """The layers of a model and the bare operations between them."""
    if isinstance(model, keras.Sequential):
        return list(model.layers)
    return list(model.operations)


def _floats(values: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _plain(value: float | Sequence[float]) -> float | list[float]:
    """What a Rescaling's config can hold."""
    return [float(each) for each in value] if isinstance(value, Sequence) else float(value)

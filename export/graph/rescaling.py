"""A model's rescaling of raw 0-255 pixels: how to find it, cut it off, or add one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from export.artifact import ZERO_PIXEL, TensorInfo
from export.errors import ExportError
from export.graph.changes import Affine, Changes, Depthwise
from export.graph.channel_order import with_channels_reversed
from export.graph.first_convolution import chain, first_convolution
from export.graph.identities import is_identity
from export.pixel_conventions import BGR, RGB
from keras_graph.nodes import Node, Tensor

Floats = npt.NDArray[np.float64]

PIXELS_LAYER = "pixels"
_HALF_LEVEL = 0.5
"""By how much the zeros around an image may be off, in grey levels, as without a scale per channel."""


@dataclass(frozen=True, kw_only=True)
class Rescaling:
    """value = pixel * scale + offset; one number for all channels, or one per channel."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def is_scalar(self) -> bool:
        """Whether all channels have the same scale and offset."""
        return len(set(self.scale)) == 1 and len(set(self.offset)) == 1

    @property
    def with_one_zero(self) -> Rescaling:
        """The nearest one for all channels whose zero is a whole grey level, as an int8 input stores it."""
        scale, offset = np.asarray(self.scale), np.asarray(self.offset)
        seen = scale != 0
        if not seen.any():
            return RAW
        one = float(np.abs(scale).mean())
        zero = float(np.clip(np.rint(np.mean(-offset[seen] / scale[seen])), 0, 255))
        return Rescaling(scale=(one,), offset=(-zero * one,))

    def __call__(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(..., channels) raw 0-255 -> the rescaled values."""
        rescaled: npt.NDArray[np.float32] = pixels * _floats(self.scale) + _floats(self.offset)
        return rescaled


RAW = Rescaling(scale=(1.0,), offset=(0.0,))
"""No rescaling: the model computes with raw pixels."""


@dataclass(frozen=True, kw_only=True)
class SplitModel:
    """A model split into its first rescaling and the rest, which takes the rescaled values."""

    rescaling: Rescaling
    layers: tuple[str, ...]
    """The names of the layers that were cut off."""
    rest: keras.Model
    """A copy, or the given model itself if nothing was cut off."""


@dataclass(frozen=True, kw_only=True)
class _Beginning:
    rescaling: Rescaling
    operations: tuple[keras.Operation, ...]


def add_rescaling(
    model: keras.Model,
    scale: float | Sequence[float],
    offset: float | Sequence[float],
    *,
    channels: str = RGB,
) -> keras.Model:
    """The model with a Rescaling in front: one trained on 0..1 or -1..1 then takes raw 0-255 pixels.

    0..1 is scale 1/255, offset 0; -1..1 is scale 1/127.5, offset -1. The weights of a model that takes
    BGR are reversed where they read the image, so that it takes RGB. Layers and weights are copies, with
    unchanged names. The input shape is unchanged.
    """
    shape = tuple(model.inputs[0].shape[1:])
    for name, value in (("scale", scale), ("offset", offset)):
        if np.size(value) not in (1, shape[-1]):
            raise ExportError(
                f"{np.size(value)} values as {name}, but images of {shape[-1]} channels. "
                f"Expected one {name} for all channels, or one for each."
            )
    if channels == BGR:
        scale, offset, model = _reversed(scale), _reversed(offset), with_channels_reversed(model)
    pixels = keras.Input(shape, name=model.inputs[0].name)
    taken = {layer.name for layer in model.layers}
    rescaling = keras.layers.Rescaling(_plain(scale), _plain(offset), name=_free(PIXELS_LAYER, taken))
    rescaled = rescaling(pixels)
    return keras.Model(pixels, Changes().called_on(model, rescaled), name=model.name)


def rescaling_of(model: keras.Model) -> Rescaling:
    """The rescaling that split_rescaling() would cut off; RAW if there is none."""
    return _beginning(model).rescaling


def input_error_levels(stored: TensorInfo, rescaling: Rescaling) -> float:
    """The largest difference of an integer input from 'int8 = pixel - 128', in grey levels, over 256 pixels.

    `rescaling` turns raw pixels into the network's input values. Infinite for a float input.
    """
    if stored.dtype not in ZERO_PIXEL or not stored.scale:
        return float("inf")
    pixel = np.arange(256, dtype=np.float64)
    fed = pixel + ZERO_PIXEL[stored.dtype]
    seen = stored.scale * (fed - stored.zero_point)
    meant = pixel * rescaling.scale[0] + rescaling.offset[0]
    return float(np.max(np.abs(seen - meant)) / rescaling.scale[0])


def split_rescaling(model: keras.Model) -> SplitModel:
    """Cuts off the Rescaling and Normalization layers, and plain arithmetic, at the model's start.

    Several in a row become one rescaling, also behind layers that resize the image or act in training only,
    and in nested models. A model that starts otherwise, or uses its raw input twice, is returned whole with
    RAW.
    """
    begins = _beginning(model)
    if not begins.operations:
        return SplitModel(rescaling=RAW, layers=(), rest=model)
    changes = Changes(removed={id(each) for each in begins.operations})
    return SplitModel(
        rescaling=begins.rescaling,
        layers=tuple(each.name for each in begins.operations),
        rest=changes.carried_out(model),
    )


def without_rescaling(model: keras.Model, instead: Rescaling) -> keras.Model:
    """A copy of the model without its rescaling, for an input rescaled by `instead`.

    What it lacks goes into the weights and bias of the first convolution, which is exact but for padded
    borders. Where the input is not read by one Conv2D or DepthwiseConv2D alone, the difference remains.
    """
    begins = _beginning(model)
    changes = Changes(removed={id(each) for each in begins.operations})
    first = first_convolution(model, begins.operations)
    if first is not None:
        factor = np.asarray(begins.rescaling.scale) / instead.scale[0]
        shift = np.asarray(begins.rescaling.offset) - factor * instead.offset[0]
        affine = Affine(factor=np.tile(factor, first.columns), shift=np.tile(shift, first.columns))
        changes.read_through[id(first.layer)] = affine
    return changes.carried_out(model)


def folded_rescaling(model: keras.Model) -> Rescaling | None:
    """What without_rescaling() can put in place of a rescaling per channel; None if it cannot."""
    begins = _beginning(model)
    if not begins.operations or why_not_folded(model):
        return None
    return begins.rescaling.with_one_zero


def why_not_folded(model: keras.Model) -> str:
    """Why a rescaling per channel cannot go into the first convolution; empty if it can."""
    begins = _beginning(model)
    first = first_convolution(model, begins.operations)
    if first is None:
        return "no convolution alone reads the image"
    if not all(begins.rescaling.scale):
        return "its scale is 0 in a channel"
    instead = begins.rescaling.with_one_zero
    levels = -np.asarray(begins.rescaling.offset) / np.asarray(begins.rescaling.scale)
    off = np.abs(levels + instead.offset[0] / instead.scale[0])
    if not first.is_padded or off.max() <= _HALF_LEVEL:
        return ""
    meant = ", ".join(f"{level:.4g}" for level in levels)
    return f"the zeros around what '{first.layer.name}' reads stand for the grey levels {meant}"


def in_one_operator(model: keras.Model) -> keras.Model:
    """A copy of the model, on raw pixels, with its rescaling as a 1x1 depthwise convolution with bias.

    It is one integer operator and exact at padded borders too; folded into the first convolution it would not
    be, since padding adds zeros after the rescaling. It has the name of the last layer that it replaces.
    """
    begins = _beginning(model)
    channels = int(model.inputs[0].shape[-1])
    kernel = np.broadcast_to(begins.rescaling.scale, channels).reshape(1, 1, channels, 1)
    bias = np.broadcast_to(begins.rescaling.offset, channels)
    *others, last = begins.operations
    changes = Changes(removed={id(each) for each in others})
    changes.depthwise[id(last)] = Depthwise(kernel=kernel, bias=bias, trainable=False)
    return changes.carried_out(model)


def _beginning(model: keras.Model) -> _Beginning:
    """The operations that rescale the input, in order, and their combined rescaling."""
    channels = int(model.inputs[0].shape[-1])
    scale, offset = np.ones(channels), np.zeros(channels)
    found: list[keras.Operation] = []
    for node in chain(model):
        if is_identity(node.operation) or _only_resizes(node.operation):
            continue  # the same before it as behind it
        step = _rescaling(node, node.input_tensors[0], channels)
        if step is None:
            break
        scale, offset = scale * step[0], offset * step[0] + step[1]
        found.append(node.operation)
    if not found:
        return _Beginning(rescaling=RAW, operations=())
    rescaling = Rescaling(scale=tuple(map(float, scale)), offset=tuple(map(float, offset)))
    return _Beginning(rescaling=rescaling, operations=tuple(found))


def _only_resizes(operation: keras.Operation) -> bool:
    """Whether each value is a weighted mean of values, with weights that add up to 1."""
    return (
        type(operation) is keras.layers.Resizing
        and operation.interpolation in ("bilinear", "nearest")
        and not operation.pad_to_aspect_ratio
    )


def _rescaling(node: Node, tensor: Tensor, channels: int) -> tuple[Floats, Floats] | None:
    """Scale and offset per channel of a call that rescales; None for another."""
    layer = node.operation
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
    return np.broadcast_to(scale.ravel(), channels), np.broadcast_to(offset.ravel(), channels)


def _arithmetic(
    operation: keras.Operation,
    node: Node,
    tensor: Tensor,
) -> tuple[Floats, Floats] | None:
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


def _free(name: str, taken: set[str]) -> str:
    """The name, with underscores behind it if a layer of the model has it."""
    return _free(f"{name}_", taken) if name in taken else name


def _reversed(value: float | Sequence[float]) -> float | Sequence[float]:
    return tuple(value)[::-1] if isinstance(value, Sequence) else value


def _floats(values: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _plain(value: float | Sequence[float]) -> float | list[float]:
    """The value in a form that a Rescaling's config can hold."""
    return [float(each) for each in value] if isinstance(value, Sequence) else float(value)

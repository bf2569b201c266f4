"""Where an int8 or int16x8 file departs from its Keras model: every activation beside the layer's output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.check.runner import Runner
from export.graph.layer_outputs import LayerOutputs, Step, is_graph, network_nodes, network_steps
from export.tflite.inspect import FileContents
from export.verification import LayerError

Floats = npt.NDArray[np.float32]

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
"""What stands between int8 and a float operator; not an operator of any layer."""
_QUANTIZED_TYPES = ("int8", "int16")
_AT_ONCE = 8
"""Images whose activations are held in memory together."""
_SILENT = 0.01
"""A channel whose root mean square is below this share of the median channel's is not counted."""


@dataclass(frozen=True, kw_only=True)
class ComparedLayers:
    """What was compared, in the order of the network."""

    all: tuple[LayerError, ...]
    of_the_network: tuple[LayerError, ...]
    """Without the final softmax, whose quantization every file has and nobody can choose."""


def compare_layers(model: keras.Model, path: Path, contents: FileContents, images: Floats) -> ComparedLayers:
    """The error of each layer that can be found in the file; nothing for a file with float activations.

    `images` (n, height, width, channels) are raw 0-255 pixels. Tensors are matched to layers by the names
    that the converter gives them: a fused operator carries those of all its layers, of which the last counts.
    """
    steps = {step.name: step for step in network_steps(model)}
    places = _places(contents, model, steps)
    if not places:
        return ComparedLayers(all=(), of_the_network=())
    sums = {name: _ChannelSums() for name in places}
    keras_side, file_side = LayerOutputs(model, places), Runner(path, contents, keeps_activations=True)
    for start in range(0, len(images), _AT_ONCE):
        some = images[start : start + _AT_ONCE]
        expected = keras_side(some)
        for index in range(len(some)):
            file_side.outputs(some[index : index + 1])
            for name, tensor in places.items():
                sums[name].add(expected[name][index], file_side.activation(tensor))
    errors = {name: sums[name].relative_error() for name in steps if name in places}
    every = tuple(
        LayerError(layer=name, relative_error=error, growth=error - _inherited(name, steps, errors))
        for name, error in errors.items()
    )
    softmaxes = {name for name, tensor in places.items() if _made_by(contents, tensor) == "SOFTMAX"}
    return ComparedLayers(
        all=every, of_the_network=tuple(each for each in every if each.layer not in softmaxes)
    )


class _ChannelSums:
    """Sums of squares by channel, over samples and positions."""

    def __init__(self) -> None:
        self.expected: Any = 0.0
        self.difference: Any = 0.0

    def add(self, expected: Floats, found: Floats) -> None:
        """Takes the layer's output in Keras and in the file, the channel last."""
        channels = expected.shape[-1]
        ours = found.reshape(-1, channels).astype(np.float64)
        keras_output = expected.reshape(-1, channels).astype(np.float64)
        self.expected = self.expected + (keras_output**2).sum(axis=0)
        self.difference = self.difference + ((ours - keras_output) ** 2).sum(axis=0)

    def relative_error(self) -> float:
        """Mean over the channels of rms(difference) / rms(Keras), where 1 a channel is all lost.

        A channel counts like any other, whatever its size: one that is a thousand times larger than the
        rest takes the quantization range from them, which the rms over all of them would not show. Channels
        that are (nearly) silent in Keras are left out.
        """
        size = np.sqrt(self.expected)
        counted = size > _SILENT * np.median(size)
        if not counted.any():
            return 0.0 if not np.any(self.difference) else 1.0
        ratio = np.sqrt(self.difference[counted]) / size[counted]
        return float(np.minimum(ratio, 1.0).mean())


def _inherited(name: str, steps: Mapping[str, Step], errors: Mapping[str, float]) -> float:
    """The largest relative error of the nearest compared layers that feed this one."""
    largest, seen, ahead = 0.0, {name}, list(steps[name].feeds_on)
    while ahead:
        feeding = ahead.pop()
        if feeding in seen:
            continue
        seen.add(feeding)
        if feeding in errors:
            largest = max(largest, errors[feeding])
        else:
            ahead += steps[feeding].feeds_on
    return largest


def _places(contents: FileContents, model: keras.Model, steps: Mapping[str, Step]) -> dict[str, int]:
    """Layer -> the index of the tensor that holds its output."""
    order = list(steps)
    places: dict[str, int] = {}
    last_tensor = network_output(contents)
    for operator in contents.graph:
        tensor = operator.outputs[0]
        described = contents.tensors[tensor]
        if described.dtype not in _QUANTIZED_TYPES:
            continue
        names = {name for part in described.name.split(";") if (name := layer_of(part, model, steps))}
        for name in names:
            places.pop(name, None)  # what an earlier tensor held was a step towards this one
        name = order[-1] if tensor == last_tensor else max(names, key=order.index, default=None)
        if name is not None and steps[name].shape[1:] == described.shape[1:]:
            places[name] = tensor
    return places


def network_output(contents: FileContents) -> int:
    """The tensor with the network's output, before conversions of its type: float to int8, int8 to uint8."""
    tensor = contents.graph[-1].outputs[0]
    for operator in reversed(contents.graph):
        if tensor in operator.outputs and operator.name in CONVERSIONS:
            tensor = operator.inputs[0]
    return tensor


def last_operator(contents: FileContents) -> str:
    """The name of the operator that makes the file's output, before conversions of its type."""
    return _made_by(contents, network_output(contents))


def _made_by(contents: FileContents, tensor: int) -> str:
    return next(operator.name for operator in contents.graph if tensor in operator.outputs)


def layer_of(tensor_name: str, model: keras.Model, steps: Mapping[str, Step]) -> str | None:
    """The layer that a tensor such as 'mobilenet_1/conv1_1/convolution' belongs to.

    Keras adds _1 to a scope that it enters a second time, here while the graph is traced.
    """
    scope, found, prefix = _named_layers(model), None, ""
    first, *parts = tensor_name.split("/")
    if re.sub(r"_\d+$", "", first) != model.name:
        parts = [first, *parts]
    for part in parts:
        part = part.removeprefix("quant_")  # of a layer that was trained quantized
        name = next((each for each in (re.sub(r"_\d+$", "", part), part) if each in scope), None)
        if name is None:
            continue
        found = prefix + name
        if not is_graph(scope[name]):
            break  # behind it stand operations, such as 'batchnorm/add_1', whose names layers may have too
        scope, prefix = _named_layers(scope[name]), f"{found}/"
    return found if found in steps else None


def _named_layers(model: keras.Model) -> dict[str, Any]:
    return {operation.name: operation for operation, _ in network_nodes(model)}

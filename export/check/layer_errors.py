"""Compares the activations of an int8 or int16x8 file with its Keras model's layer outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.check.runner import Runner
from export.graph.layer_names import FUSED, LayerNames, layer_named
from export.graph.layer_outputs import LayerOutputs, Step, network_steps
from export.tflite.content import FileContents
from export.tflite.output import PROBABILITIES, made_by, network_output
from export.verification import LayerError

Floats = npt.NDArray[np.float32]

_QUANTIZED_TYPES = ("int8", "int16")
_AT_ONCE = 8
"""Images per batch: their activations are in memory together."""
_SILENT = 0.01
"""A channel with a root mean square below this share of the median channel's is not counted."""


@dataclass(frozen=True, kw_only=True)
class ComparedLayers:
    """The compared layers, in network order."""

    all: tuple[LayerError, ...]
    of_the_network: tuple[LayerError, ...]
    """Without the final softmax or sigmoid, whose quantization is the same in every file."""


@dataclass(frozen=True)
class _Place:
    """A tensor of the file with the output of one layer."""

    tensor: int
    named: str
    """The layer that the tensor is named after: the last one in its name."""
    compared: str
    """The layer whose output it holds: `named`, or one after it that is fused into it without a name."""


def compare_layers(model: keras.Model, path: Path, contents: FileContents, images: Floats) -> ComparedLayers:
    """The error of each layer that can be found in the file; nothing for a file with float activations.

    `model` is what the file was converted from (export.plan.converted_model); `images` (n, height, width,
    channels) are raw 0-255 pixels. Tensors are matched to layers by the names that the converter gives them:
    a fused operator carries those of several layers, of which the last counts.
    """
    steps = {step.name: step for step in network_steps(model)}
    places = _places(contents, model, steps)
    if not places:
        return ComparedLayers(all=(), of_the_network=())
    sums = {place.compared: _ChannelSums() for place in places}
    keras_side, file_side = LayerOutputs(model, sums), Runner(path, contents, keeps_activations=True)
    for start in range(0, len(images), _AT_ONCE):
        some = images[start : start + _AT_ONCE]
        expected = keras_side(some)
        for index in range(len(some)):
            file_side.outputs(some[index : index + 1])
            for place in places:
                sums[place.compared].add(expected[place.compared][index], file_side.activation(place.tensor))
    errors = {name: each.relative_error() for name, each in sums.items()}
    last = network_output(contents)
    found = {
        place: LayerError(
            layer=place.named,
            relative_error=errors[place.compared],
            growth=errors[place.compared] - _inherited(place.compared, steps, errors),
        )
        for place in places
    }
    return ComparedLayers(
        all=tuple(found.values()),
        of_the_network=tuple(
            error
            for place, error in found.items()
            if place.tensor != last or made_by(contents, last) not in PROBABILITIES
        ),
    )


class _ChannelSums:
    """Sums of squares by channel, over samples and positions."""

    def __init__(self) -> None:
        self.expected: Any = 0.0
        self.difference: Any = 0.0

    def add(self, expected: Floats, found: Floats) -> None:
        """Adds the layer's output in Keras and in the file, channels last."""
        channels = expected.shape[-1]
        ours = found.reshape(-1, channels).astype(np.float64)
        keras_output = expected.reshape(-1, channels).astype(np.float64)
        self.expected = self.expected + (keras_output**2).sum(axis=0)
        self.difference = self.difference + ((ours - keras_output) ** 2).sum(axis=0)

    def relative_error(self) -> float:
        """Mean over the channels of rms(difference) / rms(Keras); at 1 a channel is lost completely.

        All channels have equal weight, regardless of their size: a channel a thousand times larger than the
        rest takes the quantization range from them, which an rms over all of them would not show. Channels
        that are (nearly) zero in Keras are left out.
        """
        size = np.sqrt(self.expected)
        counted = size > _SILENT * np.median(size)
        if not counted.any():
            return 0.0 if not np.any(self.difference) else 1.0
        ratio = np.sqrt(self.difference[counted]) / size[counted]
        return float(np.minimum(ratio, 1.0).mean())


def _inherited(name: str, steps: Mapping[str, Step], errors: Mapping[str, float]) -> float:
    """The largest relative error of the nearest compared layers feeding this one."""
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


def _places(contents: FileContents, model: keras.Model, steps: Mapping[str, Step]) -> list[_Place]:
    """The tensors of the file with layer outputs, in network order."""
    order = list(steps)
    names = LayerNames(model)
    named: dict[str, int] = {}
    seen: set[str] = set()
    last_tensor = network_output(contents)
    for tensor in (next(iter(operator.outputs), -1) for operator in contents.graph):
        if tensor < 0:
            continue
        layers = names.layers(contents.tensors[tensor].name)
        if tensor == last_tensor:
            layers = {*layers, order[-1]}
        seen |= layers
        if contents.tensors[tensor].dtype not in _QUANTIZED_TYPES:
            continue
        for name in layers:
            named.pop(name, None)  # what an earlier tensor held was a step towards this one
        if layers:
            named[max(layers, key=order.index)] = tensor
    places = [
        _Place(tensor=tensor, named=name, compared=_last_fused(name, model, steps, seen))
        for name, tensor in named.items()
    ]
    fitting = [each for each in places if _fits(steps[each.compared], contents.tensors[each.tensor].shape)]
    return sorted(fitting, key=lambda each: order.index(each.compared))


def _fits(step: Step, shape: tuple[int, ...]) -> bool:
    return step.shape[1:] == shape[1:]


def _last_fused(name: str, model: keras.Model, steps: Mapping[str, Step], seen: Collection[str]) -> str:
    """The last layer that is fused into a layer's operator without a tensor of its name in the file.

    The converter folds a BatchNormalization and fuses a ReLU into the operator before them, and often keeps
    that one's name alone.
    """
    while True:
        readers = [step.name for step in steps.values() if name in step.feeds_on]
        if len(readers) != 1 or readers[0] in seen or not isinstance(layer_named(model, readers[0]), FUSED):
            return name
        name = readers[0]

"""The parameters, multiply-accumulates (MACs) and activation memory of a model.

MACs are counted as in the papers: convolutions, dense layers and other matrix products, without biases,
normalisation, pooling and activations. Works for any functional or sequential Keras model with a fixed input
size.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import keras

from models.graph import Call, Graph
from models.macs import macs_of

FLOAT32_BYTES = 4
IN_PLACE = (
    "Activation",
    "AlphaDropout",
    "BatchNormalization",
    "Dropout",
    "ELU",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "LeakyReLU",
    "Normalization",
    "PReLU",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Softmax",
    "SpatialDropout2D",
)
"""Layers that need no extra memory if nothing else reads their input: a converter fuses them into the layer
before, or overwrites its output."""


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """Cost of one call of a layer, for one image."""

    name: str
    """Layer name with those of the models that contain it, such as 'base/conv1'."""
    kind: str
    """The Keras class, such as Conv2D."""
    output_shape: tuple[int, ...]
    """Without the batch."""
    parameters: int
    """Trainable parameters; 0 at the second call of a shared layer."""
    macs: int
    activation_bytes: int
    """Of the output, at float32."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a model, for one image."""

    parameters: int
    """Trainable parameters, as papers count them: without BatchNormalization's moving statistics."""
    total_parameters: int
    """All weights, as in Keras's count_params(), moving statistics included."""
    macs: int
    activation_values: int
    """Peak number of live activation values, with layers run in order, each tensor kept until its last reader
    has run, and IN_PLACE layers overwriting their input. The number of bytes at int8."""
    layers: tuple[LayerCost, ...]
    """In the order they run."""
    uncounted: tuple[str, ...]
    """Layers and operations whose multiplications are not, or may not be, counted: `macs` is then too low."""

    @property
    def activation_bytes(self) -> int:
        """Peak activation memory at float32; int8 takes a quarter."""
        return self.activation_values * FLOAT32_BYTES


def cost(model: keras.Model) -> Cost:
    """The model's cost, in total and by layer.

    A frozen layer's weights count in total_parameters only. Raises ModelError for an input of open size, such
    as Input((None, None, 3)).
    """
    graph = Graph(model)
    seen: set[int] = set()
    layers = []
    uncounted = []
    for call in graph.calls:
        values = [graph.values(number) for number in call.outputs]
        macs = macs_of(call, graph)
        if macs is None:
            uncounted.append(call.name)
        layers.append(
            LayerCost(
                name=call.name,
                kind=type(call.layer).__name__,
                output_shape=graph.shapes[call.outputs[0]],
                parameters=0 if id(call.layer) in seen else _parameters(call.layer),
                macs=macs or 0,
                activation_bytes=sum(values) * FLOAT32_BYTES,
            )
        )
        seen.add(id(call.layer))
    return Cost(
        parameters=_parameters(model),
        total_parameters=model.count_params(),
        macs=sum(layer.macs for layer in layers),
        activation_values=_peak_values(graph),
        layers=tuple(layers),
        uncounted=tuple(uncounted),
    )


def _parameters(layer: keras.Operation) -> int:
    return sum(math.prod(variable.shape) for variable in getattr(layer, "trainable_variables", ()))


def _peak_values(graph: Graph) -> int:
    """Peak number of live values over all layers."""
    buffers = {number: number for number in range(len(graph.shapes))}
    sizes: dict[int, int] = {number: graph.values(number) for number in graph.inputs}
    readers = Counter(number for call in graph.calls for number in set(call.inputs))
    readers.update(graph.outputs)
    pending: Counter[int] = Counter({number: readers[number] for number in graph.inputs})
    peak = sum(sizes.values())
    for call in graph.calls:
        read = {buffers[number] for number in call.inputs}
        for number in set(call.inputs):
            pending[buffers[number]] -= 1
        if _in_place(call, graph) and not pending[buffers[call.inputs[0]]]:
            buffers[call.outputs[0]] = buffers[call.inputs[0]]
        else:
            sizes.update({number: graph.values(number) for number in call.outputs})
        for number in call.outputs:
            pending[buffers[number]] += readers[number]
        peak = max(peak, sum(sizes.values()))
        for buffer in read | {buffers[number] for number in call.outputs}:
            if not pending[buffer]:
                sizes.pop(buffer, None)
    return peak


def _in_place(call: Call, graph: Graph) -> bool:
    if type(call.layer).__name__ not in IN_PLACE or len(call.inputs) != 1 or len(call.outputs) != 1:
        return False
    return graph.values(call.inputs[0]) == graph.values(call.outputs[0])

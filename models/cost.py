"""What a model costs before it is trained: parameters, multiply-accumulates (MACs), memory for activations.

MACs are those of convolutions, dense layers and other products of matrices, as the papers count them: the
additions of biases, normalisation, poolings and activations are not in. Works on any functional or sequential
Keras model whose input size is fixed.
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
"""Layers that need no memory of their own where nothing else reads their input: a converter fuses them into
the layer before, or writes over it."""


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one call of one layer costs, for one image."""

    name: str
    """With the names of the models it is nested in, such as 'base/conv1'."""
    kind: str
    """The Keras class, such as Conv2D."""
    output_shape: tuple[int, ...]
    """Without the batch."""
    parameters: int
    """Trainable ones; 0 at the second call of a shared layer."""
    macs: int
    activation_bytes: int
    """Of the output, at float32."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model costs, for one image."""

    parameters: int
    """Trainable ones: what papers count. BatchNormalization's moving statistics are not in."""
    total_parameters: int
    """As Keras's count_params() has it, the moving statistics with the rest."""
    macs: int
    activation_values: int
    """The most numbers that are alive at once, when layers run one after the other and each tensor is kept
    until its last reader has run, and IN_PLACE layers write over their input. As many bytes at int8."""
    layers: tuple[LayerCost, ...]
    """In the order they run."""
    uncounted: tuple[str, ...]
    """Layers and operations that multiply in a way that is not counted, or may: macs is then too low."""

    @property
    def activation_bytes(self) -> int:
        """activation_values at float32; int8 takes a quarter."""
        return self.activation_values * FLOAT32_BYTES


def cost(model: keras.Model) -> Cost:
    """The model's cost, in all and by layer. ModelError where a size is open, as in Input((None, None, 3)).

    A frozen layer's weights are in total_parameters alone.
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
    """The most values that are alive while any one layer runs."""
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

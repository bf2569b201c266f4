"""The layer calls of a Keras model in execution order, nested models expanded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_graph.nodes import Tensor
from keras_graph.walk import calls_by_branch, functional
from models.errors import ModelError


@dataclass(frozen=True)
class Call:
    """One call of a layer, with the numbers of the tensors that it reads and writes."""

    name: str
    layer: keras.Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: tuple[object, ...]
    """The arguments of the call; weights and constants are among the tensors."""


class Graph:
    """The calls of a model in execution order, nested models expanded; tensors are numbered."""

    def __init__(self, model: keras.Model) -> None:
        self.calls: list[Call] = []
        self.shapes: list[tuple[int, ...]] = []
        graph = _functional(model)
        self.inputs = [self._number(tensor, model.name) for tensor in graph.inputs]
        self.outputs = self._walk(graph, self.inputs, prefix="")

    def values(self, number: int) -> int:
        """The number of values in the tensor, for one image."""
        return math.prod(self.shapes[number])

    def readers(self, call: Call) -> list[Call]:
        """The calls that read this call's outputs."""
        return [other for other in self.calls if set(other.inputs) & set(call.outputs)]

    def writer(self, number: int) -> Call | None:
        """The call that writes the tensor; None for an input."""
        return next((call for call in self.calls if number in call.outputs), None)

    def _walk(self, model: keras.Model, inputs: Sequence[int], *, prefix: str) -> list[int]:
        """Appends the model's calls and returns the numbers of its outputs."""
        numbers = dict(zip(map(id, model.inputs), inputs, strict=True))
        for node in calls_by_branch(model):
            layer = node.operation
            read = tuple(numbers[id(tensor)] for tensor in node.input_tensors)
            name = prefix + layer.name
            if isinstance(layer, keras.Model):
                written = self._walk(_functional(layer), read, prefix=f"{name}/")
            else:
                written = [self._number(tensor, name) for tensor in node.outputs]
                given = (*node.arguments.args, *node.arguments.kwargs.values())
                self.calls.append(Call(name, layer, read, tuple(written), given))
            numbers.update(zip(map(id, node.outputs), written, strict=True))
        return [numbers[id(tensor)] for tensor in model.outputs]

    def _number(self, tensor: Tensor, name: str) -> int:
        shape = tuple(size for size in tensor.shape[1:] if size is not None)
        if len(shape) < len(tensor.shape) - 1:
            raise ModelError(
                f"{name} has an open size, {tuple(tensor.shape[1:])}. Build the model for one image size, "
                "such as (224, 224, 3)."
            )
        self.shapes.append(shape)
        return len(self.shapes) - 1


def _functional(model: keras.Model) -> keras.Model:
    """The model itself, or the functional model inside a Sequential."""
    graph: keras.Model = functional(model)
    if not hasattr(graph, "operations"):
        raise ModelError(
            f"{model.name} is a {type(model).__name__} without a graph of layers. "
            "Give a functional or a built sequential model."
        )
    return graph

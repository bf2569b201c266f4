"""The calls of a Keras model's graph in topological order; a nested model is one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

from keras_graph.nodes import Node, Operation, Tensor


def calls(model: keras.Model) -> list[Node]:
    """The calls of a functional or built Sequential model in Keras's execution order."""
    by_depth: dict[int, list[Node]] = functional(model)._nodes_by_depth
    return [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input and node.operation is not None
    ]


def calls_once(model: keras.Model) -> list[Node]:
    """The calls of the operations that the graph calls once."""
    nodes = calls(model)
    number = Counter(id(node.operation) for node in nodes)
    return [node for node in nodes if number[id(node.operation)] == 1]


def calls_by_branch(model: keras.Model) -> list[Node]:
    """The calls in topological order, each branch completed before the next. A stack, as nets are deep."""
    writers = {id(tensor): node for node in calls(model) for tensor in node.outputs}
    found: dict[int, Node] = {}
    stack = [writers[id(tensor)] for tensor in reversed(model.outputs) if id(tensor) in writers]
    while stack:
        node = stack[-1]
        read = [writers[id(tensor)] for tensor in node.input_tensors if id(tensor) in writers]
        waiting = [each for each in read if id(each) not in found]
        if waiting:
            stack += reversed(waiting)
            continue
        found[id(stack.pop())] = node
    return list(found.values())


def last_call(model: keras.Model) -> Node:
    """The call that writes the model's first output."""
    return next(node for node in calls(model) if any(each is model.outputs[0] for each in node.outputs))


def functional(model: keras.Model) -> Any:  # noqa: ANN401 - Keras carries no types
    """The model itself, or the functional model inside a Sequential."""
    return getattr(model, "_functional", None) or model


def is_graph(operation: Operation) -> bool:
    """Whether an operation is a nested model."""
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def named_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers with their names, 'outer/inner' in nested models, without the nested models themselves."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from named_layers(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def structure(model: keras.Model, which: str) -> Any:  # noqa: ANN401
    """A model's "inputs" or "outputs" in their nested structure."""
    return getattr(functional(model), f"_{which}_struct")


def num_channels(tensor: Tensor) -> int:
    """The size of a tensor's last axis, which must be known."""
    size = tensor.shape[-1]
    assert size is not None
    return size

"""The calls of a Keras model's own graph, each after those it reads; a nested model is one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

from keras_graph.nodes import Node, Operation, Tensor


def calls(model: keras.Model) -> list[Node]:
    """The calls of a functional or built Sequential model in the order in which Keras runs them."""
    by_depth: dict[int, list[Node]] = functional(model)._nodes_by_depth
    return [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input and node.operation is not None
    ]


def calls_once(model: keras.Model) -> list[Node]:
    """Those of operations that the graph calls at one place."""
    nodes = calls(model)
    number = Counter(id(node.operation) for node in nodes)
    return [node for node in nodes if number[id(node.operation)] == 1]


def calls_by_branch(model: keras.Model) -> list[Node]:
    """The calls in an order in which each branch ends before the next begins. A stack, as nets are deep."""
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
    """The graph itself: a functional model, or the one that a Sequential keeps."""
    return getattr(model, "_functional", None) or model


def is_graph(operation: Operation) -> bool:
    """Whether an operation is a model of layers itself."""
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def named_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers and their names, 'outer/inner' in nested models; a nested model itself is not among them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from named_layers(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def structure(model: keras.Model, which: str) -> Any:  # noqa: ANN401
    """A model's "inputs" or "outputs", as it takes and gives them."""
    return getattr(functional(model), f"_{which}_struct")


def num_channels(tensor: Tensor) -> int:
    """The size of a tensor's last axis, which is known where it is an image's or a layer's channels."""
    size = tensor.shape[-1]
    assert size is not None
    return size

"""What a model asks for beside its weights, checked before it is built and before it first runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from export.errors import BadModelFileError
from export.limits import KERAS_CALLS, KERAS_MULTIPLICATIONS, KERAS_OUTPUT_VALUES

_KEYS = ("layers", "inbound_nodes")
_FIX = "Expected an image classifier for a phone: copy it again from where it came, or save the model again."


def check_calls(path: Path, config: Any) -> None:
    """Raises BadModelFileError if a configuration's models call more layers than they may.

    Thirty models, each of which calls the next one twice, are a billion calls in a few kilobytes.
    """
    found = _num_calls(config)
    if found > KERAS_CALLS:
        raise BadModelFileError(f"{path} calls {found:,} layers, more than {KERAS_CALLS:,}. {_FIX}")


def _num_calls(config: Any) -> int:
    """The calls of layers, those within a nested model as often as it is called."""
    ordered, ahead = [], [config]
    while ahead:
        value = ahead.pop()
        ordered.append(value)
        ahead += _inner(value)
    within: dict[int, int] = {}
    for value in reversed(ordered):
        found = sum(within[id(each)] for each in _inner(value))
        layers, nodes = (value.get(key) if isinstance(value, dict) else None for key in _KEYS)
        found += len(layers) if isinstance(layers, list) else 0
        again = len(nodes) - 1 if isinstance(nodes, list) and nodes else 0
        within[id(value)] = found + again * (1 + found)
    return within[id(config)]


def _inner(value: Any) -> list[Any]:
    """The JSON objects and lists that one holds."""
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [each for each in held if isinstance(each, dict | list | tuple)]


def check_sizes(path: Path, model: Any) -> None:
    """Raises BadModelFileError if one image would need more memory or time than it may.

    Takes a built model of either Keras. A size that is unknown, as the batch is, counts as 1.
    """
    for layer in _layers(model):
        for node in layer._inbound_nodes:
            given = _shapes(node.outputs)
            taken = getattr(node, "keras_inputs", None) or getattr(
                node, "input_tensors", ()
            )  # Keras 2's, 3's
            shapes = [*_shapes(taken), *given]
            values = max([_largest_inside(layer, shapes), *map(math.prod, given)])
            if values > KERAS_OUTPUT_VALUES:
                raise BadModelFileError(
                    f"{path}: the layer '{layer.name}' computes {values:,} values at once for one image, "
                    f"more than {KERAS_OUTPUT_VALUES:,}. {_FIX}"
                )
            products = _multiplications(layer, shapes)
            if products > KERAS_MULTIPLICATIONS:
                raise BadModelFileError(
                    f"{path}: the layer '{layer.name}' multiplies {products:,} times for one image, "
                    f"more than {KERAS_MULTIPLICATIONS:,}. {_FIX}"
                )


def _layers(model: Any) -> Iterator[Any]:
    """The layers of a model, a nested one's instead of itself."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from _layers(layer)
        else:
            yield layer


def _shapes(tensors: Any) -> list[tuple[int, ...]]:
    """The shapes of tensors whose rank is known."""
    shapes = (getattr(each, "shape", None) for each in tf.nest.flatten(tensors))
    known = (each for each in shapes if each is not None and getattr(each, "rank", 0) is not None)
    return [tuple(size or 1 for size in each) for each in known]


def _largest_inside(layer: Any, shapes: list[tuple[int, ...]]) -> int:
    """The values of an attention's scores, which no layer gives: heads times tokens times tokens."""
    heads = getattr(layer, "num_heads", None) or getattr(layer, "_num_heads", None) or 0
    return int(heads) * max(map(_positions, shapes), default=0) ** 2


def _multiplications(layer: Any, shapes: list[tuple[int, ...]]) -> int:
    """At most: each weight at each position, or each window of a pooling."""
    weights: int = sum(math.prod(each.shape) for each in layer.weights)
    window = getattr(layer, "pool_size", 0)
    pooled = math.prod(window) if isinstance(window, tuple | list) else int(window)
    positions, values = (max(map(count, shapes), default=0) for count in (_positions, math.prod))
    return positions * weights + values * pooled


def _positions(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:-1])

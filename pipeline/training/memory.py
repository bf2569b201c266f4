"""Which batch fits into memory, before the system ends the process without a word."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from pipeline.data.memory import room_bytes

_FLOAT_BYTES = 4
_TIMES = 2
"""What is taken beside the least that is sure: gradients, copies, and what else is alive."""
_RUN_TIMES = 4
"""The same without training: activations' own outputs, the kernels' workspace, and what is not given back."""


class LargeBatchError(MemoryError):
    """A batch that cannot fit; `fits` is the size of one that should."""

    def __init__(self, fits: int) -> None:
        super().__init__(f"at most {fits} images fit")
        self.fits = fits


def check_fits(model: Any, batch_size: int) -> None:  # noqa: ANN401 - of either Keras
    """Raises LargeBatchError if a batch surely needs more memory than this process can get."""
    each, room = kept_bytes(model), room_bytes()
    if each * batch_size > room:
        raise LargeBatchError(max(1, room // (_TIMES * each)))


def fitting_batch(model: Any, at_most: int) -> int:  # noqa: ANN401
    """The largest batch up to `at_most` that the model should run on without training; 1 at least."""
    return max(1, min(at_most, room_bytes() // (_RUN_TIMES * alive_bytes(model))))


def alive_bytes(model: Any) -> int:  # noqa: ANN401
    """The least that running the model takes for an image: its input, and the largest layer's values."""
    ends = ("input", "output")
    sizes = [
        sum(_bytes(layer, each) for end in ends for each in _ends(layer, end)) for layer in _layers(model)
    ]
    return _FLOAT_BYTES * sum(map(_size, model.inputs)) + max(sizes, default=0)


def kept_bytes(model: Any) -> int:  # noqa: ANN401
    """The least that training keeps for an image: the inputs of the layers that have weights to train."""
    trained = (layer for layer in _layers(model) if layer.trainable_weights)
    sizes = {id(each): _bytes(layer, each) for layer in trained for each in _ends(layer, "input")}
    return sum(sizes.values())


def _layers(model: Any) -> Iterator[Any]:  # noqa: ANN401
    """The layers, with those of a nested model in its place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def _ends(layer: Any, end: str) -> list[Any]:  # noqa: ANN401
    """The layer's input or output tensors; none of one that was called more than once."""
    try:
        tensors = getattr(layer, end)
    except (AttributeError, ValueError):
        return []
    if isinstance(tensors, dict):
        return list(tensors.values())
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _bytes(layer: Any, tensor: Any) -> int:  # noqa: ANN401
    """What a tensor takes for one image in the type that the layer computes in."""
    return int(tf.as_dtype(layer.compute_dtype).size) * _size(tensor)


def _size(tensor: Any) -> int:  # noqa: ANN401
    return math.prod(size or 1 for size in tensor.shape[1:])

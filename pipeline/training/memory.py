"""Whether a batch fits into memory, before the system ends the process without a word."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from pipeline.data.memory import room_bytes

_TIMES = 2
"""What a training takes beside what layers keep for their gradients: the gradients and what else is alive."""


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


def kept_bytes(model: Any) -> int:  # noqa: ANN401
    """The least that training keeps for an image: the inputs of the layers that have weights to train."""
    sizes: dict[int, int] = {
        id(tensor): num_bytes * math.prod(size or 1 for size in tensor.shape[1:])
        for tensor, num_bytes in _inputs(model)
    }
    return sum(sizes.values())


def _inputs(model: Any) -> Iterator[tuple[Any, int]]:  # noqa: ANN401
    """The tensors, and the bytes of a value in the type that the layer computes in."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _inputs(layer)
        elif layer.trainable_weights:
            try:
                tensors = layer.input
            except (AttributeError, ValueError):  # called more than once
                continue
            for tensor in tensors if isinstance(tensors, list | tuple) else [tensors]:
                yield tensor, tf.as_dtype(layer.compute_dtype).size

"""Stops the building of a model whose layers ask for more weights than its file holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from export.errors import BadModelFileError
from export.limits import MIB
from export.reading import size_in_words

_TIMES = 4
"""float16 weights become float32; no layer has twice as much again that is not stored."""
_ALWAYS_BYTES = 64 * MIB


@contextmanager
def bounded_variables(path: Path, weights_bytes: int | None) -> Iterator[None]:
    """While a model is built: BadModelFileError as soon as its layers ask for far more than the file holds.

    A layer of a billion units would take its memory before its weights are found missing.
    """
    if weights_bytes is None:
        yield
        return
    left = _TIMES * weights_bytes + _ALWAYS_BYTES

    def counted(create: Callable[..., Any], **settings: Any) -> Any:
        nonlocal left
        left -= _variable_bytes(settings)
        if left < 0:
            raise BadModelFileError(
                f"{path} holds {size_in_words(weights_bytes)} of weights, and its layers ask for more than "
                f"{size_in_words(_TIMES * weights_bytes + _ALWAYS_BYTES)}. Expected the weights of all "
                "layers: copy it again from where it came, or save the model again."
            )
        return create(**settings)

    with tf.variable_creator_scope(counted):
        yield


def _variable_bytes(settings: dict[str, Any]) -> int:
    """The bytes of a variable that is about to be created; 0 if its shape is unknown.

    Keras gives no shape but a function of the first values, whose shape a graph tells without running it.
    """
    value = settings.get("initial_value")
    if callable(value):
        with tf.Graph().as_default():
            value = value()
    shape = tf.TensorShape(getattr(value, "shape", settings.get("shape")))
    dtype = tf.as_dtype(settings.get("dtype") or getattr(value, "dtype", tf.float32))
    return int(shape.num_elements() or 0) * int(dtype.size)

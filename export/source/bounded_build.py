"""Stops the building of a model that asks for more weights, or more passes over its layers, than it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import tensorflow as tf

from export.errors import BadModelFileError
from export.limits import KERAS_LAYER_VISITS, MIB
from export.reading import size_in_words
from export.source.container import Container

_TIMES = 4
"""float16 weights become float32; no layer has twice as much again that is not stored."""
_ALWAYS_BYTES = 64 * MIB
_REBUILDS = {
    2: ("tf_keras.src.engine.functional", "reconstruct_from_config"),
    3: ("keras.src.models.functional", "functional_from_config"),
}
"""By Keras's version, the function that goes over a model's layers until each is called."""


@contextmanager
def bounded_build(container: Container) -> Iterator[None]:
    """While a model is built: BadModelFileError as soon as it asks for more than its file justifies.

    A layer of a billion units would take its memory before its weights are found missing, and tf_keras tries
    for ever to call a layer whose input no other layer gives.
    """
    with ExitStack() as bounds:
        bounds.enter_context(_bounded_passes(container))
        if container.weights_bytes is not None:
            bounds.enter_context(_bounded_variables(container.path, container.weights_bytes))
        yield


@contextmanager
def _bounded_passes(container: Container) -> Iterator[None]:
    """Keras has no limit of its own, so that its function is exchanged meanwhile for one that counts."""
    module_name, name = _REBUILDS[container.keras_version or 2]
    module = import_module(module_name)
    rebuild = getattr(module, name)

    def counted(*args: Any, **settings: Any) -> Any:
        for config in args:
            if isinstance(config, dict) and isinstance(config.get("layers"), list):
                config["layers"] = _Visited(config["layers"], container.path)
        return rebuild(*args, **settings)

    setattr(module, name, counted)
    try:
        yield
    finally:
        setattr(module, name, rebuild)


class _Visited(list[Any]):
    """A configuration's layers; BadModelFileError when a pass over them cannot have called any more."""

    def __init__(self, layers: list[Any], path: Path) -> None:
        super().__init__(layers)
        self._path = path
        self._passes = 0
        self._most_passes = 2 + sum(len(each.get("inbound_nodes") or ()) for each in layers)

    def __iter__(self) -> Iterator[Any]:
        self._passes += 1
        if self._passes > self._most_passes or self._passes * len(self) > KERAS_LAYER_VISITS:
            raise BadModelFileError(
                f"{self._path} describes layers of which some get their input from no other, or stand in a "
                "circle. Expected each layer behind those that it reads: copy it again from where it came, "
                "or save the model again."
            )
        return super().__iter__()


@contextmanager
def _bounded_variables(path: Path, weights_bytes: int) -> Iterator[None]:
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

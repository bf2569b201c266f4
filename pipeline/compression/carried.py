"""A tf_keras layer that runs a call of a Keras 3 model unchanged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import tensorflow as tf
import tf_keras

from keras_graph.nodes import Node

Function = Callable[..., Any]
"""Tensors in, a tensor out."""

_numbers = itertools.count()
_functions: WeakValueDictionary[int, Function] = WeakValueDictionary()
"""Those of the layers that exist, by the number in a layer's config, from which tf_keras makes its copies."""


@tf_keras.saving.register_keras_serializable(package="pipeline")
class Carried(tf_keras.layers.Layer):
    """Runs a function of Keras 3, whose weights are not trained."""

    def __init__(self, kind: str, number: int, **settings: Any) -> None:  # noqa: ANN401 - tf_keras's own
        super().__init__(**settings)
        self.kind, self.number = kind, number
        self._function = _functions[number]  # so that it lives as long as the layer
        self._run = tf.autograph.experimental.do_not_convert(self._function)

    def call(self, inputs: Any) -> Any:  # noqa: ANN401
        """The function's output."""
        return self._run(*inputs) if isinstance(inputs, list | tuple) else self._run(inputs)

    def get_config(self) -> dict[str, Any]:
        """What a copy is made from."""
        return {**super().get_config(), "kind": self.kind, "number": self.number}


def carried(function: Function, *, kind: str, name: str) -> Carried:
    """A layer that runs a function; `kind` names it as a Keras layer is named by its type."""
    number = next(_numbers)
    _functions[number] = function
    return Carried(kind, number, name=name)


def function_of(node: Node) -> Function:
    """What a call of a Keras 3 graph computes from its input tensors, in inference."""
    operation: Any = node.operation
    inference = {"training": False} if getattr(operation, "_call_has_training_arg", False) else {}

    def run(*tensors: Any) -> Any:  # noqa: ANN401
        given = {id(theirs): ours for theirs, ours in zip(node.input_tensors, tensors, strict=True)}
        args, kwargs = node.arguments.fill_in(given)
        return operation(*args, **{**kwargs, **inference})

    return run

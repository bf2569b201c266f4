"""Finds the layers of a Keras model by their names, and by the tensor names of a converted file."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import keras

from export.graph.layer_outputs import network_steps
from export.trained_names import PART, QUANTIZED_PREFIX
from keras_graph.walk import calls_once

FUSED = (keras.layers.BatchNormalization, keras.layers.ReLU, keras.layers.Activation)
"""Layers that can be fused into the operator before them and leave no trace in the file."""


def layer_named(model: keras.Model, name: str) -> keras.Operation:
    """The layer with a name from network_steps(), such as 'outer/inner'."""
    *outer, inner = name.split("/")
    graph = functools.reduce(lambda found, part: found.get_layer(part), outer, model)
    return next(node.operation for node in calls_once(graph) if node.operation.name == inner)


class LayerNames:
    """Finds the layers of a model in the tensor names of a file."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._steps = {step.name for step in network_steps(model)}
        parts = [name.split("/") for name in self._steps]
        self._nested = {"/".join(each[:depth]) for each in parts for depth in range(1, len(each))}

    def layers(self, tensor_name: str) -> set[str]:
        """The layers in a name such as 'net_1/conv1_relu_1/Relu;net_1/conv1_1/convolution'."""
        return {name for part in tensor_name.split(";") if (name := self._layer(part))}

    def _layer(self, part: str) -> str | None:
        first, *scopes = part.split("/")[:-1] or [""]
        if self._model.name not in (first, _without_number(first)):
            scopes = [first, *scopes]
        trained = [each.startswith(QUANTIZED_PREFIX) for each in scopes]
        if any(trained):
            return self._trained(scopes[trained.index(True) :])
        found = self._by_scopes(scopes)
        return found if found in self._steps else None

    def _trained(self, scopes: Sequence[str]) -> str | None:
        """The layer in the scopes of a twin's layer, which begin with its path."""
        path = "/".join(scopes).removeprefix(QUANTIZED_PREFIX).split(PART)[0].split("/")
        names = ("/".join(path[:depth]) for depth in range(len(path), 0, -1))
        return next((name for name in names if name in self._steps), None)

    def _by_scopes(self, scopes: Sequence[str]) -> str | None:
        prefix = ""
        for scope in (each for each in scopes if _without_number(each) != each):
            name = prefix + _without_number(scope)
            if name in self._steps:
                return name  # behind it come operations, such as 'batchnorm/add_1'
            if name in self._nested:
                prefix = f"{name}/"
        return None


def _without_number(scope: str) -> str:
    """The layer's name in a scope.

    Keras enters a layer's scope to build it and again to run it; TensorFlow numbers the second one.
    """
    return re.sub(r"_\d+$", "", scope)

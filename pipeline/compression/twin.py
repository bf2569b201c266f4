"""Copies a Keras 3 model to tf_keras, for TensorFlow Model Optimization, and its weights back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tf_keras

from export.graph.identities import acts_in_training, is_identity
from export.trained_names import PART
from keras_graph.nodes import Node
from keras_graph.walk import calls, functional, is_graph
from pipeline.compression.carried import carried, function_of
from pipeline.compression.twin_layers import Part, called, has_layers
from pipeline.errors import PipelineError

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-5
"""Share of the largest output, for a net of few layers: both versions of Keras run the same TensorFlow
operators, mostly bit-equal."""
TOLERANCE_PER_LAYER = 1e-6
"""For each layer with weights, 16 times float32's rounding of 6e-8. Nets of keras.applications with random
weights took up to 2e-8 a layer (EfficientNet-B0, 131 layers); trained weights amplify more."""

_NONE = slice(0, 0)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The Keras 3 layer that a layer of the twin stands for, and which of its weights it has."""

    layer: keras.Layer
    weights: slice


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A tf_keras model with the same outputs as a Keras 3 model.

    Its layers have the names of network_steps(), 'outer/inner' in a nested model. A layer in several parts
    gives its name to the one with the kernel, or the last; the others are called 'name>part'.
    """

    model: tf_keras.Model
    layers: Mapping[str, Origin]
    """By the twin layer's name; those with weights."""
    left_out: tuple[str, ...] = ()
    """Layers that change images in training only, which the twin does without."""
    untrained: tuple[str, ...] = ()
    """Layers with weights that tf_keras lacks: they compute as they are."""


def make_twin(model: keras.Model) -> Twin:
    """The twin of a functional or Sequential model, with its weights and with nested models flattened."""
    builder = _Builder()
    graph = functional(model)
    inputs = [
        tf_keras.Input(tuple(each.shape[1:]), dtype=each.dtype, name=_plain(each.name))
        for each in graph.inputs
    ]
    outputs = builder.outputs(graph, inputs)
    twin = tf_keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs[0], name=model.name)
    for name, origin in builder.origins.items():
        twin.get_layer(name).set_weights(origin.layer.get_weights()[origin.weights])
    return Twin(
        model=twin,
        layers=builder.origins,
        left_out=tuple(dict.fromkeys(builder.left_out)),
        untrained=tuple(dict.fromkeys(builder.untrained)),
    )


def check_equal(model: keras.Model, twin: Twin, images: Floats) -> float:
    """The largest difference of the outputs on images (n, height, width, channels), over the largest output.

    Raises PipelineError if it is above tolerance_of(twin).
    """
    expected = np.asarray(model(images, training=False), np.float32)
    found = np.asarray(twin.model(images, training=False))
    difference = float(np.abs(expected - found).max() / max(float(np.abs(expected).max()), 1e-12))
    if not difference <= tolerance_of(twin):
        raise PipelineError(
            f"the tf_keras twin of '{model.name}' gives outputs {difference:.2g} of the largest away from "
            f"the model's own; at most {tolerance_of(twin):.2g} was expected. The model cannot be "
            "compressed: please report it with the model's summary."
        )
    return difference


def tolerance_of(twin: Twin) -> float:
    """The largest difference of outputs, over the largest output, that rounding explains."""
    return TOLERANCE + TOLERANCE_PER_LAYER * len(twin.layers)


def take_weights(twin: Twin, trained: tf_keras.Model) -> None:
    """Copies the weights of `trained`, which has the twin's layer names, to the Keras 3 layers."""
    for name, origin in twin.layers.items():
        weights = origin.layer.get_weights()
        weights[origin.weights] = trained.get_layer(name).get_weights()
        origin.layer.set_weights(weights)


class _Builder:
    """Builds the twin's layers, one for each part of a layer even if that is called several times."""

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}
        self.left_out: list[str] = []
        self.untrained: list[str] = []
        self._made: dict[tuple[int, str], tf_keras.layers.Layer] = {}
        self._names: set[str] = set()

    def outputs(self, graph: Any, inputs: list[Any], prefix: str = "", *, frozen: bool = False) -> list[Any]:  # noqa: ANN401
        """The twin's output tensors of a graph for `inputs`; `frozen` BatchNorms keep their statistics."""
        tensors = {id(theirs): ours for theirs, ours in zip(graph.inputs, inputs, strict=True)}
        for node in calls(graph):
            fed = [tensors[id(tensor)] for tensor in node.input_tensors]
            made = self._called(node, fed, prefix, frozen=frozen)
            tensors |= {id(theirs): ours for theirs, ours in zip(node.outputs, made, strict=True)}
        return [tensors[id(tensor)] for tensor in graph.outputs]

    def _called(self, node: Node, fed: list[Any], prefix: str, *, frozen: bool) -> list[Any]:
        operation: Any = node.operation
        name = f"{prefix}{operation.name}"
        frozen = frozen or node.arguments.kwargs.get("training") is False
        inputs = fed[0] if len(fed) == 1 else fed
        if is_graph(operation):
            return self.outputs(functional(operation), fed, f"{name}/", frozen=frozen)
        if has_layers(operation):
            return [called(operation, inputs, self._part(operation, name), frozen=frozen)]
        if is_identity(operation):
            self.left_out += [name] if acts_in_training(operation) else []
            return fed
        self.untrained += [name] if getattr(operation, "trainable_weights", None) else []
        found = carried(function_of(node), kind=type(operation).__name__, name=self._unused(name))(inputs)
        return list(found) if isinstance(found, list | tuple) else [found]

    def _part(self, layer: keras.Layer, name: str) -> Part:
        def part(
            suffix: str, make: Callable[[str], tf_keras.layers.Layer], weights: slice = _NONE
        ) -> tf_keras.layers.Layer:
            if (id(layer), suffix) not in self._made:
                made = self._made[id(layer), suffix] = make(self._unused(name + suffix))
                if layer.weights[weights]:
                    self.origins[made.name] = Origin(layer=layer, weights=weights)
            return self._made[id(layer), suffix]

        return part

    def _unused(self, name: str) -> str:
        """The name; with a number if a call before has it."""
        number, first = 1, name
        while name in self._names:
            number += 1
            name = f"{first}{PART}{number}"
        self._names.add(name)
        return name


def _plain(name: str) -> str:
    return name.replace(":", "_").replace("/", "_")

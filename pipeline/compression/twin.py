"""Copies a Keras 3 model to tf_keras, for TensorFlow Model Optimization, and its weights back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from keras_graph.walk import calls, functional, is_graph
from pipeline.errors import PipelineError

Floats = npt.NDArray[np.float32]

_CONV = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "activation", "use_bias")
_DEPTHWISE = (
    "kernel_size",
    "strides",
    "padding",
    "depth_multiplier",
    "dilation_rate",
    "activation",
    "use_bias",
)
_POOL = ("pool_size", "strides", "padding")
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "Add": (),
    "AveragePooling2D": _POOL,
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Conv2D": _CONV,
    "Dense": ("units", "activation", "use_bias"),
    "DepthwiseConv2D": _DEPTHWISE,
    "Dropout": ("rate",),
    "ELU": ("alpha",),
    "Flatten": (),
    "GlobalAveragePooling2D": ("keepdims",),
    "GlobalMaxPooling2D": ("keepdims",),
    "LayerNormalization": ("axis", "epsilon", "center", "scale"),
    "MaxPooling2D": _POOL,
    "Multiply": (),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Rescaling": ("scale", "offset"),
    "Reshape": ("target_shape",),
    "SeparableConv2D": (*_DEPTHWISE, "filters"),
    "Softmax": ("axis",),
    "SpatialDropout2D": ("rate",),
    "Subtract": (),
    "UpSampling2D": ("size", "interpolation"),
    "ZeroPadding2D": ("padding", "data_format"),
}
"""The layers that have a twin, with the settings that determine their result."""

TOLERANCE = 1e-5
"""Share of the largest output: both versions of Keras run the same TensorFlow operators, mostly bit-equal."""


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A tf_keras model with the same outputs as a Keras 3 model."""

    model: tf_keras.Model
    layers: Mapping[str, keras.Layer]
    """Twin layer's name -> its Keras 3 layer. A nested model's layers keep their names, unless another layer
    has the same."""


def make_twin(model: keras.Model) -> Twin:
    """The twin of a functional or Sequential model, with its weights and with nested models flattened.

    Raises PipelineError with every layer that has no twin.
    """
    builder = _Builder()
    graph = functional(model)
    builder.refuse_strangers(graph)
    inputs = [
        tf_keras.Input(tuple(each.shape[1:]), dtype=each.dtype, name=_plain(each.name))
        for each in graph.inputs
    ]
    outputs = builder.outputs(graph, inputs, prefix="")
    twin = tf_keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs[0], name=model.name)
    for name, layer in builder.originals.items():
        twin.get_layer(name).set_weights(layer.get_weights())
    return Twin(model=twin, layers=builder.originals)


def check_equal(model: keras.Model, twin: Twin, images: Floats) -> float:
    """The largest difference of the outputs on images (n, height, width, channels), over the largest output.

    Raises PipelineError if it is above TOLERANCE.
    """
    expected = np.asarray(model(images, training=False))
    found = np.asarray(twin.model(images, training=False))
    difference = float(np.abs(expected - found).max() / max(float(np.abs(expected).max()), 1e-12))
    if not difference <= TOLERANCE:
        raise PipelineError(
            f"the tf_keras twin of '{model.name}' gives outputs {difference:.2g} of the largest away from "
            f"the model's own; at most {TOLERANCE:g} was expected. The model cannot be compressed: please "
            "report it with the model's summary."
        )
    return difference


def take_weights(twin: Twin, trained: tf_keras.Model) -> None:
    """Copies the weights of `trained`, which has the twin's layer names, to the Keras 3 layers."""
    for name, layer in twin.layers.items():
        layer.set_weights(trained.get_layer(name).get_weights())


class _Builder:
    """Builds the twin's layers, one for each layer of the model even if that is called several times."""

    def __init__(self) -> None:
        self.originals: dict[str, keras.Layer] = {}
        self._made: dict[int, tf_keras.layers.Layer] = {}

    def refuse_strangers(self, graph: Any, prefix: str = "") -> None:  # noqa: ANN401 - Keras carries no types
        """Raises PipelineError with the layers that have no twin."""
        found = list(dict.fromkeys(_strangers(graph, prefix)))
        if found:
            raise PipelineError(
                f"{', '.join(found)}: not among the layers that can be pruned, clustered or trained "
                f"quantized, which are {', '.join(_SETTINGS)}. Build the model from these and train it "
                "again, or export it uncompressed: pipeline export --int8"
            )

    def outputs(self, graph: Any, inputs: list[Any], *, prefix: str) -> list[Any]:  # noqa: ANN401
        """The twin's output tensors of a graph for `inputs`."""
        tensors = {id(theirs): ours for theirs, ours in zip(graph.inputs, inputs, strict=True)}
        for node in calls(graph):
            operation = node.operation
            fed = [tensors[id(tensor)] for tensor in node.input_tensors]
            if is_graph(operation):
                made = self.outputs(functional(operation), fed, prefix=f"{prefix}{operation.name}_")
            else:
                made = [self._layer(operation, prefix)(fed[0] if len(fed) == 1 else fed)]
            tensors |= {id(theirs): ours for theirs, ours in zip(node.outputs, made, strict=True)}
        return [tensors[id(tensor)] for tensor in graph.outputs]

    def _layer(self, layer: keras.Layer, prefix: str) -> tf_keras.layers.Layer:
        if id(layer) not in self._made:
            name = layer.name if layer.name not in self.originals else prefix + layer.name
            self._made[id(layer)] = _twin_layer(layer, name)
            self.originals[name] = layer
        return self._made[id(layer)]


def _twin_layer(layer: keras.Layer, name: str) -> tf_keras.layers.Layer:
    config = layer.get_config()
    settings = {key: config[key] for key in _SETTINGS[type(layer).__name__] if key in config}
    if type(layer).__name__ == "ELU":
        settings = {"alpha": float(layer.alpha)}
    if "Dropout" in type(layer).__name__:
        settings["rng_type"] = "stateful"  # a generator that an epoch can seed
    return getattr(tf_keras.layers, type(layer).__name__)(name=name, trainable=layer.trainable, **settings)


def _strangers(graph: Any, prefix: str) -> list[str]:  # noqa: ANN401
    found = []
    for node in calls(graph):
        operation = node.operation
        name = f"{prefix}{operation.name}"
        if is_graph(operation):
            found += _strangers(functional(operation), f"{name}/")
        elif not isinstance(operation, keras.Layer):
            found.append(f"'{name}' is a bare {type(operation).__name__}, not a layer")
        elif type(operation).__name__ not in _SETTINGS:
            found.append(f"layer '{name}' is a {type(operation).__name__}")
        elif said := _strange_activation(operation):
            found.append(f"layer '{name}' has {said}")
        elif "data_format" not in _SETTINGS[type(operation).__name__] and _is_channels_first(operation):
            found.append(f"layer '{name}' has its channels first")
    return found


def _is_channels_first(layer: keras.Layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_first"


def _strange_activation(layer: keras.Layer) -> str:
    """The activation of a layer that tf_keras lacks or computes differently; empty if there is none."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return ""
    name = getattr(activation, "__name__", "")
    known: Any = getattr(keras.activations, name, None)
    if known is None or activation is not known:
        return "a custom activation"
    values = np.linspace(-8, 8, 64, dtype=np.float32).reshape(4, 16)
    try:
        theirs: Any = tf_keras.activations.get(name)
    except ValueError:
        return f"the activation {name}, which tf_keras lacks"
    if np.allclose(theirs(tf.constant(values)), known(values), atol=TOLERANCE):
        return ""
    return f"the activation {name}, which tf_keras computes differently"


def _plain(name: str) -> str:
    return name.replace(":", "_").replace("/", "_")

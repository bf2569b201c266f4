"""A tf_keras layer as the Keras 3 layer of the same name that computes the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tf_keras

from export.errors import BadModelFileError

_RENAMED_CLASSES = {"SyncBatchNormalization": "BatchNormalization", "ThresholdedReLU": "ReLU"}
_RENAMED_SETTINGS = {"LeakyReLU": {"alpha": "negative_slope"}, "ThresholdedReLU": {"theta": "threshold"}}
_FOR_TRAINING = ("_initializer", "_regularizer", "_constraint")
_WITHOUT_MEANING = {
    "batch_input_shape",
    "dtype",
    "dynamic",
    "fused",
    "implementation",
    "key_shape",
    "name",
    "query_shape",
    "rng_type",
    "trainable",
    "value_shape",
    "virtual_batch_size",
}
"""Settings of Keras 2 that do not change what a layer computes, or are given otherwise."""
_RENAMED_ACTIVATIONS = {"hard_swish": "hard_silu", "swish": "silu"}
_HARD_SIGMOID = "hard_sigmoid"
"""Keras 2 means clip(0.2 x + 0.5, 0, 1), Keras 3 relu6(x + 3) / 6."""


def carried_layers(layer: Any, name: str) -> list[keras.Layer]:
    """The Keras 3 layers to call one after another; the first one takes the layer's weights.

    Mostly one. Raises BadModelFileError with the layer's name if Keras 3 has none that computes the same.
    """
    kind = type(layer).__name__
    if type(layer) is not getattr(tf_keras.layers, kind, None):
        raise cannot_carry(layer, f"a {kind}, which is no layer of Keras's own")
    if kind in _SPECIAL:
        return _SPECIAL[kind](layer, name)
    made = getattr(keras.layers, _RENAMED_CLASSES.get(kind, kind), None)
    if made is None:
        raise cannot_carry(layer, f"a {kind}, which Keras 3 lacks")
    settings = _settings(layer, made)
    activation = settings.get("activation")
    if activation == _HARD_SIGMOID:
        if kind == "Activation":
            return _hard_sigmoid(name)
        linear = _built(layer, made, name, settings | {"activation": "linear"})
        return [linear, *_hard_sigmoid(f"{name}_hard_sigmoid")]
    if activation is not None:
        settings["activation"] = _activation(layer, activation)
    return [_built(layer, made, name, settings)]


def take_weights(made: keras.Layer, layer: Any) -> None:
    """Copies the weights of a tf_keras layer."""
    if not made.weights:
        return
    try:
        made.set_weights(layer.get_weights())
    except ValueError as error:
        raise cannot_carry(layer, f"a {type(layer).__name__} with other weights than Keras 3's") from error


def cannot_carry(layer: Any, what: str) -> BadModelFileError:
    """The error for a layer of Keras 2 without a counterpart; `what` says what it is."""
    return BadModelFileError(
        f"the layer '{layer.name}' is {what}. Expected layers of Keras 2 that Keras 3 has too: "
        "replace it and save the model again."
    )


def _built(layer: Any, made: Any, name: str, settings: Mapping[str, Any]) -> keras.Layer:
    try:
        return made(name=name, trainable=layer.trainable, **settings)
    except (TypeError, ValueError) as error:
        raise cannot_carry(layer, f"a {type(layer).__name__} that Keras 3 refuses ({error})") from error


def _settings(layer: Any, made: Any) -> dict[str, Any]:
    """The layer's settings as Keras 3's class takes them."""
    kind = type(layer).__name__
    renamed = _RENAMED_SETTINGS.get(kind, {})
    known = _parameters(made)
    settings = {}
    for key, value in layer.get_config().items():
        if key in _WITHOUT_MEANING or key.endswith(_FOR_TRAINING):
            continue
        word = renamed.get(key, key)
        if word in known:
            settings[word] = _plain(value)
        elif value not in (None, False, 1):  # Keras 2's defaults, such as a depthwise convolution's groups
            raise cannot_carry(layer, f"a {kind} with {key}={value}, which Keras 3 lacks")
    if kind.endswith("BatchNormalization") and isinstance(settings["axis"], list | tuple):
        (settings["axis"],) = settings["axis"]
    return settings


def _parameters(made: Any) -> set[str]:
    """The names of the arguments that a layer's class and its bases take."""
    bases = [base for base in made.__mro__ if "__init__" in vars(base)]
    return {name for base in bases for name in inspect.signature(base.__init__).parameters}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else list(map(_plain, value))
    return value


def _activation(layer: Any, name: Any) -> str:
    """Keras 3's name of an activation."""
    word = _RENAMED_ACTIVATIONS.get(name, name) if isinstance(name, str) else None
    if word is None or not hasattr(keras.activations, word):
        raise cannot_carry(layer, f"a {type(layer).__name__} with an activation of its own ({name})")
    return word


def _hard_sigmoid(name: str) -> list[keras.Layer]:
    return [keras.layers.Rescaling(0.2, 0.5, name=f"{name}_line"), keras.layers.ReLU(1.0, name=name)]


def _normalization(layer: Any, name: str) -> list[keras.Layer]:
    """Keras 2 keeps its statistics as weights, or as settings."""
    config = layer.get_config()
    mean, variance = (layer.get_weights() or [layer.mean, layer.variance])[:2]
    return [
        keras.layers.Normalization(
            axis=config["axis"],
            mean=np.asarray(mean).ravel().tolist(),
            variance=np.asarray(variance).ravel().tolist(),
            invert=config.get("invert", False),
            name=name,
        )
    ]


def _time_distributed(layer: Any, name: str) -> list[keras.Layer]:
    inner = carried_layers(layer.layer, layer.layer.name)
    if len(inner) > 1 or not hasattr(layer.layer, "get_config"):
        raise cannot_carry(layer, "a TimeDistributed layer around several")
    return [keras.layers.TimeDistributed(inner[0], name=name)]


_SPECIAL: Mapping[str, Callable[[Any, str], list[keras.Layer]]] = {
    "Normalization": _normalization,
    "TimeDistributed": _time_distributed,
}

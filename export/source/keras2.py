"""Reads models of Keras 2 (tf.keras of TensorFlow 2.0 to 2.15) through tf_keras, and carries them over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tf_keras
from tf_keras.src.saving.legacy.saved_model import json_utils
from tf_keras.src.saving.serialization_lib import SafeModeScope

from export import native_output
from export.errors import BadModelFileError
from export.limits import MODEL_CONFIG_BYTES
from export.model_format import ModelFormat
from export.reading import read_bytes
from export.source.bounded_build import bounded_build
from export.source.carried_ops import OP_LAYERS
from export.source.carry_over import carry_over
from export.source.container import (
    Container,
    layers_described,
    refuse_lambdas,
    under_its_suffix,
    why_not,
)
from export.source.demands import check_calls, check_sizes
from export.source.half_precision import half_policy, in_float32
from spelling import some

_KNOWN = {*dir(tf_keras.layers), *OP_LAYERS, "Functional", "Model", "Sequential"}
_MOST_NAMED = 3
_METADATA_FILE = "keras_metadata.pb"
_TENSORFLOW_FUNCTIONS = {"relu6": tf.nn.relu6}
"""Activations that Keras's first MobileNets were saved with, under TensorFlow's names."""


def load_keras2(container: Container) -> tuple[keras.Model, str | None]:
    """The Keras 3 model of a Keras 2 file or SavedModel, in float32, and its half or mixed precision's name.

    Raises BadModelFileError with the layer that cannot be carried over, and for a damaged file.
    """
    path = container.path
    config = container.config if container.config is not None else _layers_of(container)
    refuse_lambdas(path, config)
    check_calls(path, config)
    if container.format is not ModelFormat.SAVED_MODEL:
        _refuse_strangers(path, config)
    try:
        with (
            native_output.captured(),
            SafeModeScope(True),
            under_its_suffix(container) as file,
            bounded_build(container),
        ):
            theirs = tf_keras.models.load_model(file, custom_objects=_TENSORFLOW_FUNCTIONS, compile=False)
    except BadModelFileError:
        raise
    except Exception as error:  # a damaged file makes Keras raise nearly anything
        raise BadModelFileError(why_not(path, config, error)) from error
    if not getattr(theirs, "_is_graph_network", False):
        raise BadModelFileError(
            f"{path} holds a model of its own class, whose layers are not written down in it. Expected a "
            "functional or Sequential model: build it with keras.Model(inputs, outputs) and save it again."
        )
    check_sizes(path, theirs)
    try:
        with native_output.captured():
            policy = half_policy(theirs)
            return carry_over(theirs if policy is None else in_float32(theirs)), policy
    except BadModelFileError as error:
        raise BadModelFileError(f"{path}: {error}") from error
    except MemoryError as error:
        raise BadModelFileError(
            f"{path} asks for more memory than there is ({error}). Expected images of a few hundred pixels: "
            "copy it again from where it came, or save the model again."
        ) from error


def _refuse_strangers(path: Path, config: Any) -> None:
    """Raises BadModelFileError with the layers whose classes Keras 2 did not bring."""
    found = {name: kind for name, kind in layers_described(config) if kind not in _KNOWN}
    if found:
        named = some((f"'{name}' is a {kind}" for name, kind in found.items()), most=_MOST_NAMED)
        raise BadModelFileError(
            f"{path}: the layer {named}, which is no layer of Keras's own. "
            "Expected Keras's layers only: build the model from these and save it again."
        )


def has_layers(container: Container) -> bool:
    """Whether a SavedModel says which Keras layers it was made of."""
    return (container.path / _METADATA_FILE).is_file()


def _layers_of(container: Container) -> list[Any]:
    """The configurations of a SavedModel's layers."""
    from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

    metadata = SavedMetadata()
    try:
        content = read_bytes(container.path / _METADATA_FILE, at_most=MODEL_CONFIG_BYTES)
        metadata.ParseFromString(content)
        return [json_utils.decode(node.metadata) for node in metadata.nodes]
    except Exception as error:  # protobuf's own classes of errors differ by version
        raise BadModelFileError(
            f"{container.path / _METADATA_FILE} is damaged ({error}). Copy the folder again."
        ) from error

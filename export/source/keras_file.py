"""Reads a model file as an image classifier: Keras 3, Keras 2, or a SavedModel; none of its own code runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import keras

from export import native_output
from export.errors import BadModelFileError, ExportError
from export.model_format import ModelFormat
from export.source.bare_tensors import with_bare_tensors
from export.source.bounded_build import bounded_build
from export.source.container import Container, open_container, refuse_lambdas, under_its_suffix, why_not
from export.source.demands import check_calls, check_sizes
from export.source.half_precision import half_policy, in_float32
from export.source.operations import operation_classes
from export.source.saved_model import check_saved_model
from export.source.zipped import unpacked_model
from spelling import counted


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model as it was read."""

    model: keras.Model
    """In float32."""
    dtype_policy: str | None = None
    """The half or mixed precision that it was trained under, such as mixed_float16; None for float32."""
    notes: tuple[str, ...] = ()
    """What the user should know of how it was read."""


def load_model(path: Path) -> keras.Model:
    """The model of load()."""
    return load(path).model


def load(path: Path) -> LoadedModel:
    """The image classifier in the file: (batch, height, width, 3 or 1) -> (batch, classes).

    The format is told by the content; a zip archive may hold the file or folder. A model of Keras 2 becomes
    one of Keras 3 with the same layers and outputs; a SavedModel without Keras layers becomes a model of one
    layer, its serving function.

    Raises BadModelFileError if the file is missing, truncated, empty, not a model, cannot be carried over to
    Keras 3, or would run its own code when loaded, and ExportError for another kind of model.
    """
    container = open_container(Path(path))
    if container.format is ModelFormat.ZIPPED:
        with unpacked_model(container.path) as inside:
            return load(inside)
    if container.format is ModelFormat.SAVED_MODEL:
        check_saved_model(container.path)
        loaded = _saved_model(container)
    elif container.keras_version == 2:
        from export.source.keras2 import load_keras2  # with tf_keras, which few files need

        model, policy = load_keras2(container)
        loaded = LoadedModel(model=model, dtype_policy=policy)
    else:
        loaded = _keras3(container)
    check_image_classifier(loaded.model, str(path))
    loaded = dataclasses.replace(loaded, model=with_bare_tensors(loaded.model))
    if loaded.dtype_policy is None:
        return loaded
    half = f"{path} was trained under {loaded.dtype_policy}: its float32 variables are computed in float32."
    return dataclasses.replace(loaded, notes=(*loaded.notes, half))


def _keras3(container: Container) -> LoadedModel:
    path = container.path
    refuse_lambdas(path, container.config)
    check_calls(path, container.config)
    try:
        with (
            native_output.captured(),
            under_its_suffix(container) as file,
            bounded_build(container),
        ):
            known = operation_classes() if container.format is ModelFormat.HDF5 else None
            model = keras.saving.load_model(file, known, compile=False, safe_mode=True)
    except BadModelFileError:
        raise
    except Exception as error:  # a damaged file makes Keras raise nearly anything
        raise BadModelFileError(why_not(path, container.config, error)) from error
    check_sizes(path, model)
    policy = half_policy(model)
    return LoadedModel(model=model if policy is None else in_float32(model), dtype_policy=policy)


def _saved_model(container: Container) -> LoadedModel:
    """The Keras layers that the folder describes, or else its serving function."""
    from export.source.keras2 import has_layers, load_keras2
    from export.source.serving import load_serving_function

    notes: tuple[str, ...] = ()
    if has_layers(container):
        try:
            model, policy = load_keras2(container)
        except BadModelFileError as error:
            why = str(error).split(". ")[0]
            notes = (f"{why}. Its serving function is exported instead, as it is, without layers.",)
        else:
            return LoadedModel(model=model, dtype_policy=policy)
    return LoadedModel(model=load_serving_function(container.path), notes=notes)


def check_image_classifier(model: keras.Model, name: str) -> None:
    """Raises ExportError unless the model takes one image tensor and returns one row of class scores."""
    inputs, outputs = _shapes(model, "inputs"), _shapes(model, "outputs")
    expected = (
        "Expected an image classifier: one input (batch, height, width, 3 or 1) "
        "and one output (batch, classes)."
    )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ExportError(
            f"{name} has {counted(len(inputs), 'input')} and {counted(len(outputs), 'output')}. {expected} "
            "Give a keras.Model with one of each."
        )
    if len(inputs[0]) != 4 or inputs[0][3] not in (1, 3):
        raise ExportError(f"{name} takes {inputs[0]}. {expected} Export such a model.")
    if None in inputs[0][1:3]:
        raise ExportError(
            f"{name} takes images of any size, {inputs[0]}. A phone's file needs one size: "
            "build the model with a fixed input_shape and save it again."
        )
    if len(outputs[0]) != 2 or not outputs[0][1]:
        raise ExportError(
            f"{name} gives {outputs[0]}. {expected} Add a pooling and a Dense layer, then save it again."
        )


def _shapes(model: keras.Model, attribute: str) -> list[tuple[int | None, ...]]:
    """The shapes of a model's inputs or outputs; empty if it was never built."""
    return [tuple(tensor.shape) for tensor in getattr(model, attribute, None) or []]

"""Reads a .keras or .h5 file as an image classifier, in Keras's safe mode."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import keras

from export import native_output
from export.errors import BadModelFileError, ExportError

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def load_model(path: Path) -> keras.Model:
    """The image classifier in the file: (batch, height, width, 3 or 1) -> (batch, classes).

    Raises BadModelFileError if the file is missing, truncated, empty, not a model, or would run its own code
    when loaded (Keras's safe mode), and ExportError for another kind of model.
    """
    path = Path(path)
    _check_container(path)
    try:
        with native_output.captured():
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file makes Keras raise nearly anything
        raise BadModelFileError(_why_not(path, error)) from error
    check_image_classifier(model, str(path))
    return model


def check_image_classifier(model: keras.Model, name: str) -> None:
    """Raises ExportError unless the model takes one image tensor and returns one row of class scores."""
    inputs, outputs = _shapes(model, "inputs"), _shapes(model, "outputs")
    expected = (
        "Expected an image classifier: one input (batch, height, width, 3 or 1) "
        "and one output (batch, classes)."
    )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ExportError(
            f"{name} has {len(inputs)} inputs and {len(outputs)} outputs. {expected} "
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


def _check_container(path: Path) -> None:
    """Raises BadModelFileError unless the file is intact and of the type that its suffix says."""
    fix = "Copy it again from where it came, or train again."
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise BadModelFileError(
            f"cannot read {path} ({error.strerror}). Expected a .keras or .h5 file; check the path."
        ) from error
    if not start:
        raise BadModelFileError(f"{path} is empty. Expected a Keras model. {fix}")
    if path.suffix == ".keras":
        if not zipfile.is_zipfile(path):
            raise BadModelFileError(f"{path} is truncated or no .keras file, which is a zip archive. {fix}")
        _check_archive(path, fix)
    elif path.suffix in (".h5", ".hdf5"):
        if start != _HDF5_SIGNATURE:
            raise BadModelFileError(f"{path} is not an HDF5 file, which .h5 files are. {fix}")
    else:
        raise BadModelFileError(
            f"{path} ends in '{path.suffix}'. "
            "Expected a .keras or .h5 file, as model.save('model.keras') writes."
        )


def _check_archive(path: Path, fix: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            missing = {"config.json", "model.weights.h5"} - set(archive.namelist())
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise BadModelFileError(f"{path} is damaged ({error}). {fix}") from error
    if missing:
        raise BadModelFileError(
            f"{path} is a zip archive without {' and '.join(sorted(missing))}, so no Keras model. "
            "Expected what model.save('model.keras') writes."
        )
    if damaged:
        raise BadModelFileError(f"{path} is damaged (checksum of '{damaged}' is wrong). {fix}")


def _why_not(path: Path, error: Exception) -> str:
    said = str(error)
    first_line = next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)
    if "lambda" in said.lower() and "safe" in said.lower():
        return (
            f"{path} holds a Lambda layer, which would run code from the file on this machine. "
            "Replace it by layers or keras.ops and save the model again."
        )
    if "No model config found" in said or "No model found in config" in said:
        return (
            f"{path} holds weights without a model. Expected a whole model: "
            "build the model, load these weights into it, then model.save('model.keras')."
        )
    if stranger := re.search(
        r"(?:Could not locate class|Could not deserialize class|Unknown layer:?) '(\w+)'", said
    ):
        return (
            f"{path} uses the layer '{stranger[1]}', which Keras does not know. "
            "Expected Keras's own layers only: build the model from these and save it again."
        )
    return (
        f"{path} is not a Keras model that this version can load "
        f"({type(error).__name__}: {first_line[:200]}). "
        "Expected what model.save('model.keras') of Keras 3 writes."
    )

"""A model file's container: whether it is intact, which Keras wrote it, and the layers that it describes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import h5py

from export.errors import BadModelFileError
from export.limits import MODEL_BYTES, MODEL_CONFIG_BYTES, UNPACKED_ALWAYS_BYTES
from export.model_format import SAVED_MODEL_FILE, ModelFormat, format_of
from export.reading import ARCHIVE_ERRORS, check_unpacked, read_member, size_in_words
from export.signals import signal_words
from export.source.stored_weights import stored_bytes

_FIX = "Copy it again from where it came, or train again."
_SUFFIXES = {ModelFormat.KERAS_ZIP: ".keras", ModelFormat.HDF5: ".h5"}
_WEIGHTS = "model.weights.h5"
_HDF5_CPU_SECS = 5
"""CPU time for the description of a model; its weights are not read in it."""
_TRY_HDF5 = """
import contextlib, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import h5py
with contextlib.suppress(Exception), h5py.File(sys.argv[2], "r") as file:
    dict(file.attrs)
    file.visititems(lambda name, item: list(item.attrs.items()) and None)
"""
_EXPECTED = "Expected a .keras or .h5 file, as model.save('model.keras') writes, or a SavedModel folder."


@dataclass(frozen=True, kw_only=True)
class Container:
    """An intact model file, as it describes itself."""

    path: Path
    format: ModelFormat
    keras_version: int | None
    """The major version that wrote it; None for a SavedModel, and for what an archive holds."""
    config: Any
    """The model's configuration: layers with their class names and settings; None for a SavedModel."""
    weights_bytes: int | None = None
    """What its arrays take unpacked; None for a SavedModel."""


def open_container(path: Path) -> Container:
    """The container at `path`, told by its content.

    Raises BadModelFileError if it is missing, empty, truncated, damaged, or holds no model.
    """
    _check_readable(path)
    found = format_of(path)
    match found:
        case ModelFormat.KERAS_ZIP:
            return _archive(path)
        case ModelFormat.HDF5:
            return _hdf5(path)
        case ModelFormat.SAVED_MODEL | ModelFormat.ZIPPED:
            return Container(path=path, format=found, keras_version=None, config=None)
    raise BadModelFileError(_what_else(path))


def layers_of_class(config: Any, class_name: str) -> Iterator[str]:
    """The names of a configuration's layers of one class, nested ones and wrapped ones included."""
    for each in _objects(config):
        if each.get("class_name") == class_name and isinstance(each.get("config"), dict):
            yield _name_of(each)


def layers_described(config: Any) -> Iterator[tuple[str, str]]:
    """(name, class name) of a configuration's layers, nested models and their layers included."""
    for each in _objects(config):
        layers = each.get("layers")
        for layer in layers if isinstance(layers, list) else ():
            if isinstance(layer, dict) and "class_name" in layer:
                yield _name_of(layer), str(layer["class_name"])


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """The JSON objects of a configuration, outer ones before inner ones, however deep."""
    ahead = [config]
    while ahead:
        value = ahead.pop()
        if isinstance(value, dict):
            yield value
            ahead += reversed(value.values())
        elif isinstance(value, list | tuple):
            ahead += reversed(value)


def refuse_lambdas(path: Path, config: Any) -> None:
    """Raises BadModelFileError if a layer holds Python code, which only running it would reveal."""
    names = list(dict.fromkeys(layers_of_class(config, "Lambda")))
    if names:
        raise BadModelFileError(
            f"{path}: {' and '.join(map(repr, names))} is a Lambda layer, which would run code from the file "
            "on this machine. Replace it by layers (x / 127.5 - 1 is Rescaling(1 / 127.5, -1)) and save the "
            "model again."
        )


@contextmanager
def under_its_suffix(container: Container) -> Iterator[Path]:
    """Yields a path of the file with the suffix of its content, by which Keras tells formats."""
    path = container.path
    suffix = _SUFFIXES.get(container.format, path.suffix)
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(path.absolute())
        yield link


def why_not(path: Path, config: Any, error: Exception) -> str:
    """Why Keras could not load a file, in words."""
    if found := re.search(
        r"(?:Could not locate class|Could not deserialize class|Unknown layer:?|object of type) ['`]?(\w+)",
        str(error),
    ):
        names = [f"'{name}'" for name in dict.fromkeys(layers_of_class(config, found[1]))]
        of = f" ({', '.join(names[:3])}{' and others' if len(names) > 3 else ''})" if names else ""
        return (
            f"{path} uses the layer '{found[1]}'{of}, which Keras does not know. "
            "Expected Keras's own layers only. Save its computation instead: model.export('folder') in the "
            "program that has the class, then: pipeline export folder"
        )
    return (
        f"{path} is not a Keras model that this version can load "
        f"({type(error).__name__}: {in_one_line(error)}). "
        "Expected what model.save('model.keras') writes."
    )


def _check_readable(path: Path) -> None:
    if path.is_dir():
        if not (path / SAVED_MODEL_FILE).is_file():
            raise BadModelFileError(f"{path} is a folder without {SAVED_MODEL_FILE}. {_EXPECTED}")
        return
    try:
        with path.open("rb") as file:
            start = file.read(1)
            size_bytes = path.stat().st_size
    except OSError as error:
        raise BadModelFileError(
            f"cannot read {path} ({error.strerror}). {_EXPECTED} Check the path."
        ) from error
    if size_bytes > MODEL_BYTES:
        raise BadModelFileError(f"{path} is larger than {size_in_words(MODEL_BYTES)}. {_EXPECTED}")
    if not start:
        raise BadModelFileError(f"{path} is empty. {_EXPECTED} {_FIX}")


def _what_else(path: Path) -> str:
    """Why a file of another content is refused."""
    if path.name == SAVED_MODEL_FILE:
        return f"{path} is a part of a SavedModel. Expected its folder: give {path.parent}."
    if path.suffix == ".keras":
        return f"{path} is truncated or no .keras file, which is a zip archive. {_FIX}"
    if path.suffix in (".h5", ".hdf5"):
        return f"{path} is truncated or not an HDF5 file, which .h5 files are. {_FIX}"
    return f"{path} holds no Keras model. {_EXPECTED}"


def _archive(path: Path) -> Container:
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, path.stat().st_size)
            names = set(archive.namelist())
            missing = {"config.json", _WEIGHTS} - names
            damaged = archive.testzip()
            content = about = b"{}"
            weights_bytes = 0
            if not missing and not damaged:
                content = read_member(archive, "config.json", at_most=MODEL_CONFIG_BYTES)
                weights_bytes = _stored_in(archive, path)
            if "metadata.json" in names and not damaged:
                about = read_member(archive, "metadata.json", at_most=MODEL_CONFIG_BYTES)
    except ARCHIVE_ERRORS as error:
        raise BadModelFileError(f"{path} is damaged ({in_one_line(error)}). {_FIX}") from error
    if missing:
        raise BadModelFileError(
            f"{path} is a zip archive without {' and '.join(sorted(missing))}, so no Keras model. {_EXPECTED}"
        )
    if damaged:
        raise BadModelFileError(f"{path} is damaged (checksum of '{damaged}' is wrong). {_FIX}")
    try:
        config, version = json.loads(content), json.loads(about).get("keras_version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadModelFileError(f"{path} is damaged ({error}). {_FIX}") from error
    return Container(
        path=path,
        format=ModelFormat.KERAS_ZIP,
        keras_version=_major(version, unknown=3),
        config=config,
        weights_bytes=weights_bytes,
    )


def _stored_in(archive: zipfile.ZipFile, path: Path) -> int:
    """What the arrays in the archive's file of weights take."""
    # in memory, as a full disk says nothing about the file
    with tempfile.SpooledTemporaryFile(max_size=UNPACKED_ALWAYS_BYTES) as weights:
        with archive.open(_WEIGHTS) as packed:
            shutil.copyfileobj(packed, weights)
        weights.seek(0)
        return stored_bytes(cast("BinaryIO", weights), path.stat().st_size)


def _hdf5(path: Path) -> Container:
    _try_hdf5(path)
    try:
        weights_bytes = stored_bytes(path, path.stat().st_size)
        with h5py.File(path) as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version")
        described = json.loads(config) if config is not None else None
    except (*ARCHIVE_ERRORS, TypeError) as error:
        raise BadModelFileError(f"{path} is truncated or damaged ({in_one_line(error)}). {_FIX}") from error
    if described is None:
        raise BadModelFileError(
            f"{path} holds weights without a model. Expected a whole model: "
            "build the model, load these weights into it, then model.save('model.keras')."
        )
    return Container(
        path=path,
        format=ModelFormat.HDF5,
        keras_version=_major(version, unknown=2),
        config=described,
        weights_bytes=weights_bytes,
    )


def _try_hdf5(path: Path) -> None:
    """Reads the file's description in a child process: HDF5 itself crashes or loops for ever on damage."""
    words = [sys.executable, "-P", "-c", _TRY_HDF5, str(_HDF5_CPU_SECS), str(path)]
    status = subprocess.run(words, capture_output=True, check=False).returncode
    if status < 0:
        raise BadModelFileError(
            f"{path} is damaged (HDF5 ended with {signal_words(-status)} while it read the file). {_FIX}"
        )


def _major(version: Any, *, unknown: int) -> int:
    """The major version in '2.15.0'; `unknown` for others: Keras 1, Keras Core 0.1, tfjs-layers."""
    text = version.decode() if isinstance(version, bytes) else str(version or "")
    first = text.split(".")[0]
    return int(first) if first in ("2", "3") else unknown


def _name_of(described: dict[str, Any]) -> str:
    """The name of a layer in a configuration."""
    settings = described.get("config")
    inner = settings.get("name") if isinstance(settings, dict) else None
    return str(inner or described.get("name") or described["class_name"])


def in_one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__

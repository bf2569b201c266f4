"""Which kind of model file a path holds, by its content. Standard library only."""

from __future__ import annotations

import zipfile
from enum import StrEnum
from pathlib import Path

SAVED_MODEL_FILE = "saved_model.pb"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class ModelFormat(StrEnum):
    """The containers of Keras models."""

    KERAS_ZIP = "zip archive"
    HDF5 = "HDF5 file"
    SAVED_MODEL = "SavedModel folder"


def format_of(path: Path) -> ModelFormat | None:
    """The format of a file or folder, whatever its name; None for another content or what cannot be read."""
    if path.is_dir():
        return ModelFormat.SAVED_MODEL if (path / SAVED_MODEL_FILE).is_file() else None
    if not path.is_file():  # reading a pipe may never end
        return None
    try:
        with path.open("rb") as file:
            if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
                return ModelFormat.HDF5
        return ModelFormat.KERAS_ZIP if _is_keras_archive(path) else None
    except (OSError, zipfile.BadZipFile):
        return None


def _is_keras_archive(path: Path) -> bool:
    """Whether a file is a zip archive with a model in it, or was named as one."""
    if not zipfile.is_zipfile(path):
        return False
    if path.suffix == ".keras":
        return True
    with zipfile.ZipFile(path) as archive:
        return "config.json" in archive.namelist()

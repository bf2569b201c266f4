"""Which kind of model file a path holds, by its content. Standard library only."""

from __future__ import annotations

import zipfile
from enum import StrEnum
from pathlib import Path, PurePosixPath

from export.reading import ARCHIVE_ERRORS

SAVED_MODEL_FILE = "saved_model.pb"
_MODEL_ENDINGS = (".keras", ".h5", ".hdf5")
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class ModelFormat(StrEnum):
    """The containers of Keras models."""

    KERAS_ZIP = "zip archive"
    HDF5 = "HDF5 file"
    SAVED_MODEL = "SavedModel folder"
    ZIPPED = "zip archive with a model in it"


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
        if not zipfile.is_zipfile(path):
            return None
        if path.suffix == ".keras":
            return ModelFormat.KERAS_ZIP
        with zipfile.ZipFile(path) as archive:
            if "config.json" in archive.namelist():
                return ModelFormat.KERAS_ZIP
            return ModelFormat.ZIPPED if models_in(archive) else None
    except ARCHIVE_ERRORS:
        return None


def models_in(archive: zipfile.ZipFile) -> list[PurePosixPath]:
    """The .keras and .h5 files and the SavedModels' folders in an archive of others, by their paths in it."""
    paths = [PurePosixPath(name) for name in archive.namelist()]
    own = [path for path in paths if "__MACOSX" not in path.parts and not path.name.startswith("._")]
    folders = [path.parent for path in own if path.name == SAVED_MODEL_FILE]
    files = [path for path in own if path.suffix.lower() in _MODEL_ENDINGS]
    return [*folders, *(file for file in files if not any(folder in file.parents for folder in folders))]

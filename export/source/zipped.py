"""A zip archive with one model in it, such as Teachable Machine's downloads."""

from __future__ import annotations

import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from export.errors import BadModelFileError, ExportError
from export.model_format import ModelFormat, format_of, models_in
from export.reading import ARCHIVE_ERRORS, check_unpacked
from export.source.container import in_one_line
from spelling import some

MOST_FILES = 10_000
"""Files of the model. A SavedModel has four, and its assets."""


@contextmanager
def unpacked_model(path: Path) -> Iterator[Path]:
    """Yields the model in the archive, unpacked into a folder that is removed afterwards.

    Messages about that folder name the archive instead. Raises BadModelFileError for an archive that is
    damaged, encrypted or too large, or that holds several models.
    """
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        place = _unpacked(path, Path(folder))
        try:
            yield place
        except (BadModelFileError, ExportError) as error:
            raise type(error)(str(error).replace(str(place), f"{path} ({place.name})")) from error


def _unpacked(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, path.stat().st_size)
            found = models_in(archive)
            if len(found) > 1:
                raise BadModelFileError(
                    f"{path} holds {len(found)} models: {some(sorted(map(str, found)))}. Expected one. "
                    "Unpack it, and give one of them."
                )
            members = [each for each in archive.infolist() if _is_of(each, found[0])]
            if len(members) > MOST_FILES:
                raise BadModelFileError(
                    f"{path} holds a model of {len(members):,} files; at most {MOST_FILES:,} are read. "
                    "Unpack it, and give the model's folder."
                )
            for member in members:
                archive.extract(member, folder)  # which drops '..' and what would lead out of the folder
            place = folder / found[0]
            if format_of(place) is ModelFormat.ZIPPED:
                raise BadModelFileError(
                    f"{path} holds {found[0]}, which is a zip archive of a model again. Expected the model. "
                    "Unpack both, and give what is inside."
                )
            return place
    except ARCHIVE_ERRORS as error:
        raise BadModelFileError(
            f"{path} cannot be unpacked ({in_one_line(error)}). Copy it again from where it came, or unpack "
            "it, and give the model in it."
        ) from error


def _is_of(member: zipfile.ZipInfo, model: PurePosixPath) -> bool:
    """Whether it is a file of the model: the model's own, or one in its folder."""
    mode = member.external_attr >> 16
    if member.is_dir() or (mode and stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
        return False
    path = PurePosixPath(member.filename)
    return path == model or model in path.parents

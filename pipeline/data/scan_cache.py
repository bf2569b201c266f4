"""The results of a folder's last scan, in a file in the user's cache folder which may be deleted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.files import replacing
from export.npz import opened_npz
from export.reading import ARCHIVE_ERRORS
from pipeline.home import cache_folder

if TYPE_CHECKING:
    import numpy.typing as npt

VERSION = 4
"""Version of scan.examine()'s results; another version's cache is not used."""
MAX_CACHE_BYTES = 2**30
"""What the cached scans of all folders may take; beyond it the oldest are deleted."""
ROW = np.dtype(
    [
        ("stamp", np.uint64, 4),
        ("sha256", np.uint8, 32),
        ("width", np.uint32),
        ("height", np.uint32),
        ("converted", np.uint16),
        ("peak", np.int32),
        ("look", np.uint64),
        ("has_look", np.bool_),
        ("is_known", np.bool_),
    ]
)
"""A file: its size, times and inode; its content's SHA-256; its upright size; a bit for each of pixels.KINDS;
its brightest level of 16 bits, or -1; its look (`looks.py`); whether it is an image."""


class ScanCache:
    """The cached scan of one folder, or of what one table lists."""

    def __init__(self, root: Path, source: Path | None = None) -> None:
        """`root`: the folder that the files are in; `source`: the table or archive that lists them."""
        self.num_stored = 0
        self.num_recalled = 0
        self._start = str(root / "x")[:-1]
        name = hashlib.sha256(os.fsencode((source or root).resolve())).hexdigest()[:32]
        self._path = cache_folder() / "scans" / f"{name}.npz"

    def recall(self, files: Sequence[str], rows: npt.NDArray[np.void]) -> None:
        """Fills in the rows whose file and stamp are those of the last scan."""
        stored = self._load()
        if stored is None:
            return
        names, before = stored
        self.num_stored = len(before)
        if names == self._names(files):
            places = np.arange(len(before))
        else:
            number = {name: place for place, name in enumerate(names.split(b"\0"))}
            found = (number.get(name, -1) for name in self._names(files).split(b"\0"))
            places = np.fromiter(found, np.int64, len(files))
        same = (places >= 0) & (before["stamp"][places] == rows["stamp"]).all(axis=1)
        rows[same] = before[places[same]]
        self.num_recalled = int(same.sum())

    def save(self, files: Sequence[str], rows: npt.NDArray[np.void]) -> None:
        """Writes the rows that are known; if that fails, the next scan only takes longer."""
        known = rows["is_known"]
        names = self._names(path for path, is_known in zip(files, known.tolist(), strict=True) if is_known)
        with suppress(OSError):
            with replacing(self._path) as partial, partial.open("wb") as file:
                np.savez(
                    file,
                    version=VERSION,
                    names=np.frombuffer(names, np.uint8),
                    rows=np.ascontiguousarray(rows[known]).view(np.uint8),
                )
            _bound(self._path)

    def _load(self) -> tuple[bytes, npt.NDArray[np.void]] | None:
        """The names, each ended by a zero but the last, and the rows; None if there are none that fit."""
        with suppress(TypeError, *ARCHIVE_ERRORS), opened_npz(self._path) as stored:
            if int(stored["version"]) != VERSION:
                return None
            names, rows = stored["names"].tobytes(), stored["rows"].view(ROW)
            if len(rows) and names.count(b"\0") == len(rows) - 1:
                return names, rows
        return None

    def _names(self, files: Iterable[str]) -> bytes:
        """The paths below the folder, others whole, joined by zeros."""
        skip = len(self._start)
        return b"\0".join(
            os.fsencode(path[skip:] if path.startswith(self._start) else Path(path).absolute())
            for path in files
        )


def _bound(newest: Path) -> None:
    """Deletes the oldest scans beyond MAX_CACHE_BYTES, but never the newest."""
    total = 0
    found = [(path.stat(), path) for path in newest.parent.iterdir()]
    for status, path in sorted(found, key=lambda each: each[0].st_mtime, reverse=True):
        total += status.st_size
        if total > MAX_CACHE_BYTES and path != newest:
            path.unlink(missing_ok=True)

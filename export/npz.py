"""Reads the arrays of a .npz file, each only after its size is known; nothing is unpickled."""

from __future__ import annotations

import math
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.reading import OutOfBoundsError, check_unpacked, size_in_words

_SUFFIX = ".npy"


class NpzFile(Mapping[str, npt.NDArray[Any]]):
    """The arrays by name; each is read when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members = {
            each.filename.removesuffix(_SUFFIX): each
            for each in archive.infolist()
            if each.filename.endswith(_SUFFIX)
        }

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """One array. OutOfBoundsError if its header promises more than the file holds."""
        info = self._members[name]
        with self._archive.open(info) as member:
            shape, _, dtype = _header(member)
            if dtype.hasobject:
                raise ValueError(f"'{name}' holds Python objects, which are not read")
            told = math.prod(shape) * dtype.itemsize
            if told > info.file_size:
                raise OutOfBoundsError(
                    f"'{name}' claims {size_in_words(told)} as {dtype} {shape}, and holds "
                    f"{size_in_words(info.file_size)}"
                )
        with self._archive.open(info) as member:
            found: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def unpacked_bytes(self) -> int:
        """What all arrays take in memory."""
        return sum(each.file_size for each in self._members.values())


@contextmanager
def opened_npz(path: Path) -> Iterator[NpzFile]:
    """The arrays of the file at `path`, while it is open. Raises ARCHIVE_ERRORS for another file."""
    with zipfile.ZipFile(path) as archive:
        check_unpacked(archive, path.stat().st_size)
        yield NpzFile(archive)


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:  # noqa: ANN401 - a file
    formats = np.lib.format
    try:
        is_first = formats.read_magic(member) == (1, 0)
        read = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
        found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(member)
    except (SyntaxError, tokenize.TokenError, TypeError, RecursionError) as error:  # it is parsed as Python
        raise ValueError(f"a header is damaged: {' '.join(str(error).split())}") from error
    return found

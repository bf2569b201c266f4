"""What the arrays of a file of weights take, told before any is read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import h5py

from export.limits import HDF5_OBJECTS
from export.reading import OutOfBoundsError, size_in_words, unpacked_limit


def stored_bytes(weights: Path | BinaryIO, packed_bytes: int) -> int:
    """What the arrays of an HDF5 file take unpacked. `packed_bytes` is the size of the model file.

    Raises OutOfBoundsError for more than such a file may unpack to, too many objects, and arrays that are
    read from other files; OSError and its like for a damaged file.
    """
    told, seen = 0, set()
    with h5py.File(weights, "r") as file:
        ahead = [file]
        while ahead:
            group = ahead.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise OutOfBoundsError(f"'{name}' is read from another file, {link.filename!r}")
                if not isinstance(link, h5py.HardLink):
                    continue
                item = group[name]
                place = h5py.h5o.get_info(item.id).addr
                if place in seen:
                    continue
                seen.add(place)
                if len(seen) > HDF5_OBJECTS:
                    raise OutOfBoundsError(f"it holds more than {HDF5_OBJECTS:,} arrays and groups")
                if isinstance(item, h5py.Group):
                    ahead.append(item)
                elif isinstance(item, h5py.Dataset):
                    told += _bytes_of(item, name)
    if told > unpacked_limit(packed_bytes):
        raise OutOfBoundsError(
            f"its arrays unpack to {size_in_words(told)}, more than "
            f"{size_in_words(unpacked_limit(packed_bytes))}"
        )
    return told


def _bytes_of(array: h5py.Dataset, name: str) -> int:
    if array.external or array.is_virtual:
        raise OutOfBoundsError(f"'{name}' is read from another file")
    return int(array.size or 0) * int(array.dtype.itemsize)

"""Reads files and members of archives up to a bound. Standard library only."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from export.limits import MIB, UNPACKED_ALWAYS_BYTES, UNPACKED_TIMES

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    RecursionError,
    OverflowError,
)
"""What damaged archives, HDF5 files and JSON make their readers raise; RuntimeError also for a password."""


class OutOfBoundsError(ValueError):
    """Something is larger than it may be; the message is a short reason with the bound."""


def read_bytes(path: Path, *, at_most: int) -> bytes:
    """A file's content. OSError if it cannot be read, OutOfBoundsError if it holds more bytes."""
    with path.open("rb") as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise OutOfBoundsError(f"larger than {size_in_words(at_most)}")
    return content


def read_text(path: Path, *, at_most: int) -> str:
    """A UTF-8 file's text; errors as read_bytes(), and UnicodeDecodeError, which is a ValueError too."""
    return read_bytes(path, at_most=at_most).decode("utf-8")


def read_member(archive: zipfile.ZipFile, name: str, *, at_most: int) -> bytes:
    """A member of a zip archive, whatever size it claims. KeyError if it is missing."""
    with archive.open(name) as member:
        content = member.read(at_most + 1)
    if len(content) > at_most:
        raise OutOfBoundsError(f"'{name}' unpacks to more than {size_in_words(at_most)}")
    return content


def unpacked_limit(packed_bytes: int) -> int:
    """The bytes that a compressed file of this size may unpack to."""
    return max(UNPACKED_ALWAYS_BYTES, UNPACKED_TIMES * packed_bytes)


def check_unpacked(archive: zipfile.ZipFile, packed_bytes: int) -> None:
    """Raises OutOfBoundsError if an archive's members say that they unpack to more than they may.

    Or are compressed in a way that no writer of such files uses, and that takes gigabytes itself.
    """
    for member in archive.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise OutOfBoundsError(
                f"'{member.filename}' is compressed by method {member.compress_type}: expected deflated"
            )
    told = sum(member.file_size for member in archive.infolist())
    if told > unpacked_limit(packed_bytes):
        raise OutOfBoundsError(
            f"it unpacks to {size_in_words(told)}, more than {size_in_words(unpacked_limit(packed_bytes))}, "
            f"{UNPACKED_TIMES} times its own size"
        )


def size_in_words(num_bytes: int) -> str:
    """Such as '256 MiB'."""
    return f"{num_bytes / MIB:,.0f} MiB" if num_bytes >= MIB else f"{num_bytes:,} bytes"

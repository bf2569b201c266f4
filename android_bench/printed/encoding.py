"""The text of a log, as the programs write it that save logs."""

from __future__ import annotations

import codecs
import zlib
from pathlib import Path
from typing import BinaryIO

from android_bench.errors import LogError
from android_bench.printed.unwrapping import unwrapped

LARGEST_LOG_MB = 256
"""The largest log that is read, after decompression."""

_LARGEST_BYTES = LARGEST_LOG_MB * 1_000_000
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The longer marks first: one begins with another."""
_GZIP = b"\x1f\x8b\x08"
_NO_TEXT = (
    (0, b"PK\x03\x04", "a zip archive. Unpack it and give its folder"),
    (257, b"ustar", "a tar archive. Unpack it and give its folder"),
    (0, b"\xfd7zXZ\0", "compressed by xz. Unpack it first"),
    (0, b"BZh", "compressed by bzip2. Unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd. Unpack it first"),
    (0, b"%PDF", "a PDF. Give its text"),
    (0, b"\x89PNG", "a picture. Give the log's text"),
    (0, b"\xff\xd8\xff", "a picture. Give the log's text"),
    (4, b"TFL3", "a model. Give what benchmark_model printed"),
)
"""Where known files have their marks, and what to do with them."""


def log_text(content: bytes) -> str:
    """The tool's lines in the content. LogError with what to do if there are none to be read.

    The content may be UTF-8, UTF-16 (PowerShell's >) or UTF-32, compressed by gzip, and inside all that
    unwrapping.py takes off.
    """
    return unwrapped(_decoded(_unpacked(content)))


def read_log(file: BinaryIO) -> bytes:
    """The whole file. LogError for more than LARGEST_LOG_MB."""
    content = file.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise _too_large()
    return content


def read_log_text(path: Path) -> str:
    """The tool's lines in a file. OSError, or LogError as above."""
    with path.open("rb") as file:
        return log_text(read_log(file))


def _unpacked(content: bytes) -> bytes:
    if content.startswith(_GZIP):
        content = _gunzipped(content)
    for at, mark, what in _NO_TEXT:
        if content.startswith(mark, at):
            raise LogError(f"it is not text: it is {what}")
    return content


def _gunzipped(content: bytes) -> bytes:
    """All members of a gzip; of a cut one what is there."""
    whole = bytearray()
    while content.startswith(_GZIP):
        unpacking = zlib.decompressobj(wbits=31)
        try:
            whole += unpacking.decompress(content, _LARGEST_BYTES + 1 - len(whole))
        except zlib.error as error:
            raise LogError(f"its gzip is damaged ({error}). Copy it again") from error
        if len(whole) > _LARGEST_BYTES:
            raise _too_large()
        content = unpacking.unused_data
    if not whole:
        raise LogError("its gzip is cut. Copy it again")
    return bytes(whole)


def _too_large() -> LogError:
    return LogError(f"it is larger than {LARGEST_LOG_MB} MB. Give the part that benchmark_model printed")


def _decoded(content: bytes) -> str:
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    num_nul = content.count(0)
    if not num_nul:
        return content.decode("utf-8-sig", errors="replace")
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if content[first::2].count(0) == num_nul and num_nul * 4 > len(content):
            return content.decode(encoding, errors="replace")
    raise LogError(
        "it is not text: it holds NUL bytes. Give what benchmark_model printed, not a model or its result "
        "file"
    )

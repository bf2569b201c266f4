"""Checks every file of a folder for an image; files that did not change are not read again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data import pixels, scan_cache
from pipeline.data.looks import look_of
from pipeline.data.spec import Progress

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_BYTES = 256 * 2**20
"""A larger file is not read: it is probably a film, not a photograph."""
LOOK_SIDE = 96
"""A JPEG is not decoded smaller than this, from which its look is taken."""
FILES_A_TASK = 64
"""Files that a thread takes at a time: one by one, handing over costs more than a small image."""


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """An image file: its content's SHA-256, its upright size, its differences from 8-bit RGB."""

    sha256: str
    width: int
    height: int
    converted: tuple[str, ...]
    peak: int | None = None
    """The brightest level of an image stored in 16 bits."""
    look: int | None = None
    """Bits that nearly equal images share."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The files of a scan: `rows` as scan_cache.ROW, one a file, and why those in `refused` are no images."""

    rows: npt.NDArray[np.void]
    refused: dict[int, str]


def scan(
    root: Path,
    files: Sequence[str],
    *,
    source: Path | None = None,
    num_threads: int | None,
    progress: Progress | None,
) -> Scan:
    """What is known of each file. One with the size, times and inode of its last scan is not read again.

    The files are in `root`, and `source` is the table or archive that lists them, if there is one.

    An interrupted scan keeps what it has read.
    """
    pixels.quiet_pillow()
    rows = np.zeros(len(files), scan_cache.ROW)
    refused = _stamp(rows, files)
    cache = scan_cache.ScanCache(root, source)
    cache.recall(files, rows)
    waiting = [place for place in np.flatnonzero(~rows["is_known"]).tolist() if place not in refused]
    num_before = len(files) - len(waiting)
    if progress:
        progress("scanning images", num_before, len(files))
    try:
        for done, (place, found) in enumerate(_examined(files, waiting, num_threads), start=num_before + 1):
            if isinstance(found, Scanned):
                rows[place] = _row(rows["stamp"][place], found)
            else:
                refused[place] = found
            if progress:
                progress("scanning images", done, len(files))
    finally:
        if not cache.num_stored == cache.num_recalled == rows["is_known"].sum():
            cache.save(files, rows)
    return Scan(rows=rows, refused=refused)


def examine(path: Path) -> Scanned | str:
    """Reads and decodes the whole file, a JPEG at down to an eighth of its size, which checks every byte."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return f"larger than {MAX_BYTES // 2**20} MiB"
        content = path.read_bytes()
        if not content:
            return "empty"
        decoded = pixels.decode(content, at_least=LOOK_SIDE)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except pixels.UnreadableImageError as error:
        return str(error)
    return Scanned(
        sha256=hashlib.sha256(content).hexdigest(),
        width=decoded.width,
        height=decoded.height,
        converted=decoded.converted,
        peak=decoded.peak,
        look=look_of(decoded.image),
    )


def kinds_of(rows: npt.NDArray[np.void]) -> dict[str, int]:
    """How many images differ from plain 8-bit RGB, by kind, in the order of the names."""
    counts = {kind: int((rows["converted"] >> bit & 1).sum()) for bit, kind in enumerate(pixels.KINDS)}
    return {kind: count for kind, count in sorted(counts.items()) if count}


def _stamp(rows: npt.NDArray[np.void], files: Sequence[str]) -> dict[int, str]:
    """Fills in each file's size, times and inode; those that cannot be asked, and why."""
    refused: dict[int, str] = {}

    def stamps() -> Iterator[tuple[int, int, int, int]]:
        for place, path in enumerate(files):
            try:
                status = os.stat(path)  # noqa: PTH116 - a Path for each takes longer than the call
            except OSError as error:
                refused[place] = f"cannot be read ({error.strerror or error})"
                yield 0, 0, 0, 0
            else:
                yield status.st_size, status.st_mtime_ns & _MASK, status.st_ctime_ns & _MASK, status.st_ino

    rows["stamp"] = np.fromiter(stamps(), np.dtype((np.uint64, 4)), len(files))
    return refused


_MASK = 2**64 - 1


def _examined(
    files: Sequence[str], places: Sequence[int], num_threads: int | None
) -> Iterator[tuple[int, Scanned | str]]:
    """The place of each file and what it is, as they become known."""

    def some(start: int) -> list[tuple[int, Scanned | str]]:
        return [(place, examine(Path(files[place]))) for place in places[start : start + FILES_A_TASK]]

    num_threads = num_threads or os.cpu_count() or 1
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="scan-images")
    try:
        for results in pool.map(some, range(0, len(places), FILES_A_TASK)):
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)


def _row(stamp: npt.NDArray[np.uint64], found: Scanned) -> tuple[Any, ...]:
    """An image as scan_cache.ROW has it."""
    return (
        stamp,
        np.frombuffer(bytes.fromhex(found.sha256), np.uint8),
        found.width,
        found.height,
        sum(1 << pixels.KINDS.index(kind) for kind in found.converted),
        -1 if found.peak is None else found.peak,
        found.look or 0,
        found.look is not None,
        True,
    )

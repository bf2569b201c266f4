"""A .zip or .tar of folders of images, unpacked once into the user's cache folder.

Nothing is written outside of its own folder there, no link is made, and its size is bounded.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from export.partial import partial_folder
from pipeline.data.address import ARCHIVE_ENDINGS
from pipeline.data.spec import Progress
from pipeline.data.tree import shown
from pipeline.errors import UsageError
from pipeline.home import cache_folder

MAX_FILES = 5_000_000
MAX_RATIO = 200
"""Unpacked bytes to the archive's: images hardly shrink, so more is no folder of images."""
SPARE_BYTES = 2**30
"""Room that is left on the disk."""
_CHUNK = 2**20
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A file in an archive."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]


def unpacked(archive: Path, *, progress: Progress | None = None) -> Path:
    """The folder with the archive's files. One that has not changed since is not unpacked again.

    Raises UsageError for an archive that is damaged, encrypted or too large, or that holds links or names
    that lead out of it; nothing is kept of it then.
    """
    status = archive.stat()
    place = hashlib.sha256(os.fsencode(archive.resolve())).hexdigest()[:24]
    stamp = f"{status.st_size}-{status.st_mtime_ns}"
    parent = cache_folder() / "archives" / place
    folder = parent / stamp
    if folder.is_dir():
        return folder
    room = _room(archive, parent)
    with _scratch(archive, parent) as scratch:
        _write(archive, scratch / "whole", room, progress)
        try:
            (scratch / "whole").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker
                raise
    for before in parent.iterdir():
        if before != folder and not before.name.startswith("."):
            shutil.rmtree(before, ignore_errors=True)  # of the archive before it changed
    return folder


@contextmanager
def _scratch(archive: Path, parent: Path) -> Iterator[Path]:
    """A folder to unpack into, which is removed; UsageError for what goes wrong in it."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(parent / "unpacking") as scratch:
            yield scratch
    except _DAMAGED as error:
        raise UsageError(
            f"{shown(archive)} cannot be unpacked ({error}). It may be truncated: get it again."
        ) from error
    except OSError as error:
        raise UsageError(
            f"{shown(archive)} cannot be unpacked into {shown(parent)} ({error.strerror or error}). Unpack "
            "it yourself, and give the folder."
        ) from error


def _room(archive: Path, parent: Path) -> int:
    """The bytes that the archive may become."""
    there = parent
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free - SPARE_BYTES
    return max(min(free, MAX_RATIO * archive.stat().st_size), 0)


def _write(archive: Path, folder: Path, room: int, progress: Progress | None) -> None:
    folder.mkdir()
    is_zip = archive.suffix.lower() == ".zip"
    written = 0
    for number, (entry, total) in enumerate((_of_zip if is_zip else _of_tar)(archive), start=1):
        written += entry.size_bytes
        if written > room or number > MAX_FILES:
            raise UsageError(
                f"{shown(archive)} would become more than {room:,} bytes or {MAX_FILES:,} files. Expected a "
                f"folder of images that fits on the disk, at most {MAX_RATIO} times the archive. Unpack it "
                "yourself if it is one, and give the folder."
            )
        target = folder / _safe(entry.name, archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        with entry.open() as source, target.open("wb") as opened:
            left = entry.size_bytes
            while left and (chunk := source.read(min(left, _CHUNK))):
                opened.write(chunk)
                left -= len(chunk)
        if progress:
            progress(f"unpacking {shown(archive.name)}", number, max(total, number))


def _of_zip(archive: Path) -> Iterator[tuple[_Entry, int]]:
    """(file, number of files)."""
    with zipfile.ZipFile(archive) as opened:
        files = [each for each in opened.infolist() if not each.is_dir()]
        for each in files:
            mode = each.external_attr >> 16
            if each.flag_bits & 1:
                raise UsageError(f"{shown(archive)} is encrypted. Unpack it yourself, and give the folder.")
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise _no_file(archive, each.filename)
            entry = _Entry(
                name=each.filename,
                size_bytes=each.file_size,
                open=lambda each=each: opened.open(each),  # type: ignore[misc]
            )
            yield entry, len(files)


def _of_tar(archive: Path) -> Iterator[tuple[_Entry, int]]:
    """(file, 0), since the number of files is not known before the end."""
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                continue
            if not member.isreg():
                raise _no_file(archive, member.name)
            source = opened.extractfile(member)
            assert source is not None
            yield _Entry(name=member.name, size_bytes=member.size, open=lambda source=source: source), 0  # type: ignore[misc]
            opened.members = []  # type: ignore[attr-defined]  # which it would keep, of millions


def _no_file(archive: Path, name: str) -> UsageError:
    return UsageError(
        f"{shown(archive)} holds {shown(name)}, a link or a device. Expected files and folders alone: unpack "
        "it yourself, and give the folder."
    )


def _safe(name: str, archive: Path) -> Path:
    """The name as a path below a folder. UsageError for one that leads out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = path.parts
    if path.is_absolute() or not parts or ".." in parts or ":" in parts[0] or "\0" in name:
        raise UsageError(
            f"{shown(archive)} holds the name {shown(name)}, which leads out of its folder. Do not trust it: "
            "get it from where it was published."
        )
    return Path(*parts)


def name_of(archive: Path) -> str:
    """The name of an archive or another file without its ending."""
    name = archive.name
    endings = [each for each in ARCHIVE_ENDINGS if name.lower().endswith(each)]
    ending = max(endings, key=len, default=archive.suffix)
    return name[: len(name) - len(ending)] or name

"""Temporary files and folders beside what they become, locked while their process lives.

A killed process leaves its own behind, without a lock: that is how `sweep` tells them from those being
written. On a shared folder whose locks do not reach other machines, theirs count as left behind only after a
day. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".partial-"
LOCK = f"{PREFIX}lock"
"""The lock file of a folder."""
KEPT_SECS = 24 * 3600
"""How long another machine's are kept."""
_NAME_LETTERS = 40


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Yields a new file in the folder of `path` with its suffix; removed at the end unless it was renamed."""
    prefix, suffix = _affixes(path)
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        if hold(handle):
            break
        os.close(handle)  # another process swept it before it was locked
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder in the folder of `path`; removed at the end unless it was renamed."""
    prefix, suffix = _affixes(path)
    while True:
        made = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=path.parent))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
            if hold(handle):
                break
            os.close(handle)
    try:
        made.chmod(0o777 & ~umask())
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


@contextmanager
def temporary_folder_swept() -> Iterator[None]:
    """Meanwhile Python's tempfile makes all it makes in one folder, which the next call removes after a kill.

    TensorFlow's converter writes the whole model there. Without room for a folder nothing changes.
    """
    before = tempfile.tempdir
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(OSError):
            usual = Path(tempfile.gettempdir())
            sweep(usual)
            folder = opened.enter_context(partial_folder(usual / "pipeline"))
            folder.chmod(0o700)
            tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def hold(handle: int) -> bool:
    """Locks an open file until it is closed; False if another process has it, or has removed the file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return os.fstat(handle).st_nlink > 0


def sweep(folder: Path) -> None:
    """Removes the temporary files and folders in `folder` whose process is gone."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and (_is_ours(entry.name) or _is_old(entry)):
                with contextlib.suppress(OSError):  # held, gone, or another user's
                    _remove_unheld(Path(entry.path))


def umask() -> int:
    """This process's umask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove_unheld(path: Path) -> None:
    is_folder = path.is_dir() and not path.is_symlink()
    flags = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR | os.O_NONBLOCK
    handle = os.open(path, flags | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_folder:
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(handle)


def _affixes(path: Path) -> tuple[str, str]:
    return f"{PREFIX}{_host()}-", f"-{path.name[-_NAME_LETTERS:]}"


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_ours(name: str) -> bool:
    return name == LOCK or name.startswith(f"{PREFIX}{_host()}-")


def _is_old(entry: os.DirEntry[str]) -> bool:
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > KEPT_SECS

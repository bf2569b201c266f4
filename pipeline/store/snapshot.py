"""The store of a runs folder that cannot be written: a copy in memory, so that a report still reads."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.store.folder import add_missing
from pipeline.store.schema import migrate
from pipeline.store.store import FILE_NAME, Store, check_undamaged, named_errors, open_store


@contextmanager
def complete_store(runs_folder: Path) -> Iterator[tuple[Store, list[str]]]:
    """The store with all that the folder holds, and what could not be read or kept, one line each."""
    warnings = []
    if is_writable(runs_folder):
        store = open_store(runs_folder)
    else:
        warnings.append(f"{runs_folder}/ cannot be written: its results are read, and nothing is added.")
        store = open_copy(runs_folder)
    with store:
        yield store, warnings + add_missing(store, runs_folder)


def is_writable(runs_folder: Path) -> bool:
    """Whether this user can write the store: SQLite needs the folder too, for its write-ahead log."""
    path = runs_folder / FILE_NAME
    return os.access(runs_folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def open_copy(runs_folder: Path) -> Store:
    """The folder's store copied into memory, or an empty one; what is added to it is gone with it."""
    path = runs_folder / FILE_NAME
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with named_errors(path):
            if path.exists():
                _copy(path, copy)
            check_undamaged(copy)
            migrate(copy)
    except BaseException:
        copy.close()
        raise
    return Store(copy, runs_folder)


def _copy(path: Path, copy: sqlite3.Connection) -> None:
    """Reads the file in its place, where SQLite can; else a copy of it and of its write-ahead log.

    A store with a write-ahead log is read in a folder that cannot be written only while some program has
    it open. Where none has, the files do not change under the hands that copy them.
    """
    try:
        _read_into(copy, path)
    except sqlite3.OperationalError:
        with tempfile.TemporaryDirectory() as scratch:
            for file in (path, path.with_name(f"{FILE_NAME}-wal")):
                if file.exists():
                    shutil.copyfile(file, Path(scratch, file.name))
            _read_into(copy, Path(scratch, FILE_NAME))


def _read_into(copy: sqlite3.Connection, path: Path) -> None:
    source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        source.backup(copy)
    finally:
        source.close()

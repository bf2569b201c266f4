"""The store completed from its runs folder: a lost store is rebuilt from train.json files and sidecars.

In a read-only folder and on a full disk a copy in memory is used, so that a report still works.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.artifact import read_sidecar
from export.errors import ExportError
from export.files import sha256_of
from pipeline.errors import PipelineError
from pipeline.records.training import read_record
from pipeline.run_cache import RunCache
from pipeline.runs import RECORD, exported_files, finished_runs
from pipeline.store.opening import UnusableStoreError, check_undamaged, named_errors
from pipeline.store.schema import migrate
from pipeline.store.store import FILE_NAME, Store, open_store

MEMORY_DISK = Path("/dev/shm")
"""A folder in memory, on Linux."""


@contextmanager
def complete_store(runs_folder: Path) -> Iterator[tuple[Store, list[str]]]:
    """The completed store, and a line for each file that could not be read or stored."""
    store, warnings = _open_complete(runs_folder)
    with store:
        yield store, warnings


@contextmanager
def readable_store(runs_folder: Path) -> Iterator[Store]:
    """The store as it is, or a copy of it where it cannot be written."""
    store = None
    if is_writable(runs_folder):
        with contextlib.suppress(UnusableStoreError):
            store = open_store(runs_folder)
    with store or open_copy(runs_folder) as opened:
        yield opened


def _open_complete(runs_folder: Path) -> tuple[Store, list[str]]:
    why = f"{runs_folder}/ cannot be written"
    if is_writable(runs_folder):
        try:
            return _completed(open_store(runs_folder), runs_folder)
        except UnusableStoreError as error:
            why = str(error).partition(". ")[0]
    store, warnings = _completed(open_copy(runs_folder), runs_folder)
    return store, [f"{why}: its results are read, and nothing is added.", *warnings]


def _completed(store: Store, runs_folder: Path) -> tuple[Store, list[str]]:
    try:
        return store, add_missing(store, runs_folder)
    except BaseException:
        store.close()
        raise


def add_missing(store: Store, runs_folder: Path) -> list[str]:
    """Adds the folder's runs and exported files that the store lacks; returns the read errors.

    Verifications and measurements exist only in the store and cannot be rebuilt.
    """
    known_runs, known_files = store.runs(), store.artifacts()
    cache = RunCache(runs_folder)
    warnings = []
    for run in finished_runs(runs_folder, cache):
        try:
            found = cache.trained(run / RECORD)
            if known_runs.get(found.run) != found.model_sha256:
                store.add_run(read_record(run / RECORD))
        except UnusableStoreError:
            raise
        except PipelineError as error:
            warnings.append(str(error))
        for file in exported_files(run):
            try:
                problem = _add_file(store, file, cache, known_files)
            except ExportError as error:
                problem = str(error)
            warnings.extend([problem] if problem else [])
    cache.save()
    return warnings


def _add_file(store: Store, file: Path, cache: RunCache, known: dict[tuple[str, str], Path]) -> str | None:
    """Adds an exported file unless the store has it at its path; returns the error, if any."""
    found = cache.exported(file)
    place = known.get((found.sha256, found.parent_sha256))
    if place is not None and place.exists():
        return None
    artifact = read_sidecar(file)
    if sha256_of(file) != artifact.sha256:
        return f"{file} is not the file that its sidecar describes and was left out. Export it again."
    store.add_artifact(artifact, file.parent)
    return None


def is_writable(runs_folder: Path) -> bool:
    """Whether this user can write the store: SQLite needs the folder too, for its write-ahead log."""
    path = runs_folder / FILE_NAME
    return os.access(runs_folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def open_copy(runs_folder: Path) -> Store:
    """The folder's store copied into memory, or an empty one; additions are lost when it closes."""
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
    """Reads the file in place if SQLite can, else through a copy of it and of its write-ahead log.

    In a read-only folder SQLite can open a store with a write-ahead log only while another program has it
    open, and on a full disk it cannot make the log's index. If no other program has it open, the files do not
    change while they are copied. Where no disk has room for a copy, the file is read without its log.
    """
    try:
        _read_into(copy, path, "mode=ro")
        return
    except sqlite3.OperationalError:
        pass
    for place in (None, MEMORY_DISK):  # None: the usual folder for temporary files
        with (
            contextlib.suppress(OSError, sqlite3.OperationalError),
            tempfile.TemporaryDirectory(dir=place) as scratch,
        ):
            for file in (path, path.with_name(f"{FILE_NAME}-wal")):
                if file.exists():
                    shutil.copyfile(file, Path(scratch, file.name))
            _read_into(copy, Path(scratch, FILE_NAME), "mode=ro")
            return
    _read_into(copy, path, "immutable=1")


def _read_into(copy: sqlite3.Connection, path: Path, how: str) -> None:
    source = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True)
    try:
        source.backup(copy)
    finally:
        source.close()

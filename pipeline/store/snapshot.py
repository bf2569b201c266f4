"""The store completed from its runs folder: a lost store is rebuilt from train.json files and sidecars.

In a read-only folder a copy in memory is used, so that a report still works.
"""

from __future__ import annotations

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
from pipeline.runs import RECORD, exported_files, finished_runs
from pipeline.store.schema import migrate
from pipeline.store.store import FILE_NAME, Store, check_undamaged, named_errors, open_store


@contextmanager
def complete_store(runs_folder: Path) -> Iterator[tuple[Store, list[str]]]:
    """The completed store, and a line for each file that could not be read or stored."""
    warnings = []
    if is_writable(runs_folder):
        store = open_store(runs_folder)
    else:
        warnings.append(f"{runs_folder}/ cannot be written: its results are read, and nothing is added.")
        store = open_copy(runs_folder)
    with store:
        yield store, warnings + add_missing(store, runs_folder)


def add_missing(store: Store, runs_folder: Path) -> list[str]:
    """Adds the folder's runs and exported files that the store lacks; returns the read errors.

    Verifications and measurements exist only in the store and cannot be rebuilt.
    """
    known_runs, known_files = store.runs(), store.artifacts()
    warnings = []
    for run in finished_runs(runs_folder):
        try:
            record = read_record(run / RECORD)
            if known_runs.get(record.run) != record.model_sha256:
                store.add_run(record)
        except PipelineError as error:
            warnings.append(str(error))
        for file in exported_files(run):
            try:
                problem = _add_file(store, file, known_files)
            except ExportError as error:
                problem = str(error)
            warnings.extend([problem] if problem else [])
    return warnings


def _add_file(store: Store, file: Path, known: dict[tuple[str, str], Path]) -> str | None:
    """Adds an exported file unless the store has it at its path; returns the error, if any."""
    artifact = read_sidecar(file)
    place = known.get((artifact.sha256, artifact.parent_sha256))
    if place is not None and place.exists():
        return None
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
    open. If none has, the files do not change while they are copied.
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

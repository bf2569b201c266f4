"""What a store's file may be when it is opened: intact, damaged, foreign, newer, or out of reach."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.store.schema import MIGRATIONS, ForeignFileError, NewerStoreError, check

WAIT_SECONDS = 30.0
"""How long a writer waits for another writer."""
CHECKED_BYTES = 16_000_000
"""A store up to this size is checked wholly each time that it is opened, which takes some milliseconds."""


class UnusableStoreError(PipelineError):
    """The store cannot be written or even opened now: a full or read-only disk, or another program's lock."""


def check_undamaged(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError, ForeignFileError or NewerStoreError for anything but an intact store.

    Of a store above CHECKED_BYTES only the schema is read here; damage elsewhere is found when it is read.
    """
    pages, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    wholly = pages * page_bytes <= CHECKED_BYTES
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if wholly else "ok"
    if damage != "ok":
        raise sqlite3.DatabaseError(damage.strip().splitlines()[-1])
    check(connection)


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Allows readers beside a writer. Retries, since SQLite does not wait for the lock of this switch."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors about the file into one line for the user; the file is not changed."""
    try:
        yield
    except NewerStoreError as error:
        raise PipelineError(
            f"{path} has schema version {error.version}; this program knows up to {len(MIGRATIONS)}. "
            "Upgrade keras-mobile-pipeline, or choose another runs folder with PIPELINE_RUNS."
        ) from error
    except ForeignFileError as error:
        raise PipelineError(
            f"{path} is an SQLite file of another program. Move it away, or choose another runs folder "
            "with PIPELINE_RUNS; `pipeline report` makes a new store from what the folder holds."
        ) from error
    except sqlite3.OperationalError as error:
        raise UnusableStoreError(
            f"{path} cannot be used ({error}). Check its permissions, the free space of the disk, and "
            "that no other program holds it, then run the same command again."
        ) from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise PipelineError(
            f"{path} is damaged or no SQLite file ({error}). It was not changed: move it away, and "
            "`pipeline report` makes a new one with the runs and files that the folder holds."
        ) from error

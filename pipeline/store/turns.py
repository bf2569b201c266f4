"""Many writers of one store take turns. Standard library only."""

from __future__ import annotations

import random
import sqlite3
import time

FIRST_SECS, LEAST_SECS = 0.02, 0.0005
"""How long a writer that came just now sleeps before it tries again, and one that has waited long."""
HALVED_AFTER_SECS = 0.05


def begin(connection: sqlite3.Connection, wait_secs: float) -> None:
    """Begins a transaction that writes. sqlite3.OperationalError if others write for longer than wait_secs.

    SQLite's own waiting sleeps longer each time, so that newcomers pass one that has waited for seconds; here
    it sleeps shorter each time, at random.
    """
    begun = time.monotonic()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                waited_secs = time.monotonic() - begun
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or waited_secs > wait_secs:
                    raise
            secs = max(LEAST_SECS, FIRST_SECS / (1 + waited_secs / HALVED_AFTER_SECS))
            time.sleep(random.uniform(secs / 2, secs))
    finally:
        connection.execute(f"PRAGMA busy_timeout = {wait_secs * 1000:.0f}")

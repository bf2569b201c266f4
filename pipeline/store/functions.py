"""The functions of SQL that the report's query calls. Standard library only."""

from __future__ import annotations

import sqlite3
from functools import lru_cache

from export.check.paired import mcnemar_p
from pipeline.records.interval import wilson_high, wilson_low


def add_functions(connection: sqlite3.Connection) -> None:
    """Adds them to a connection."""
    for name, function in (("wilson_low", wilson_low), ("wilson_high", wilson_high), ("drop_p", drop_p)):
        connection.create_function(name, 2, function, deterministic=True)


@lru_cache(100_000)
def drop_p(only_keras: int | None, only_file: int | None) -> float | None:
    """McNemar's exact p of a file against its Keras model, by the images that one alone gets right."""
    return None if only_keras is None or only_file is None else mcnemar_p(only_keras, only_file)

"""The tables of results.sqlite and their migrations.

A row holds its whole record as JSON; the columns for joins and sorting are generated from it, so that plain
SQL can read `median_ms`. The schema's version is SQLite's `user_version`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pipeline.store.newest import NEWEST, WITH_PAIRS, WITH_PRECISIONS
from pipeline.store.turns import begin

APPLICATION_ID = 0x6B6D7031
"""'kmp1' in the file's header: distinguishes a results store from other SQLite files."""


def _generated(*columns: str) -> str:
    """SQL of columns generated from the record: 'median_ms REAL' becomes a column of that name."""
    return ",\n".join(
        f"\"{name}\" {kind} GENERATED ALWAYS AS (json_extract(record, '$.{name}')) VIRTUAL"
        for name, kind in (column.split() for column in columns)
    )


_FIRST = f"""
CREATE TABLE models (
    sha256 TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    {_generated("model_name TEXT", "family TEXT", "parameters INTEGER", "macs INTEGER")}
);
CREATE TABLE runs (
    run TEXT PRIMARY KEY,
    model_sha256 TEXT NOT NULL REFERENCES models (sha256),
    record TEXT NOT NULL,
    {
    _generated(
        "dataset TEXT",
        "dataset_fingerprint TEXT",
        "validation_top1 REAL",
        "test_top1 REAL",
        "finished_utc TEXT",
    )
}
);
CREATE INDEX runs_by_model ON runs (model_sha256);
CREATE TABLE files (sha256 TEXT PRIMARY KEY);
CREATE TABLE artifacts (
    sha256 TEXT NOT NULL REFERENCES files (sha256),
    parent_sha256 TEXT REFERENCES models (sha256), -- null for a file without a sidecar
    record TEXT NOT NULL,
    {_generated("model_name TEXT", "precision TEXT", "size_bytes INTEGER", "path TEXT", "created_utc TEXT")},
    UNIQUE (sha256, parent_sha256)
);
CREATE INDEX artifacts_by_parent ON artifacts (parent_sha256);
CREATE TABLE verifications (
    id TEXT PRIMARY KEY,
    artifact_sha256 TEXT NOT NULL REFERENCES files (sha256),
    record TEXT NOT NULL,
    {
    _generated(
        "dataset TEXT",
        "dataset_fingerprint TEXT",
        "split TEXT",
        "num_samples INTEGER",
        "keras_top1 REAL",
        "tflite_top1 REAL",
        "drop_points REAL",
        "agreement REAL",
        "verified_utc TEXT",
    )
}
);
CREATE INDEX verifications_by_artifact ON verifications (artifact_sha256);
CREATE TABLE measurements (
    id TEXT PRIMARY KEY,
    artifact_sha256 TEXT NOT NULL REFERENCES files (sha256),
    record TEXT NOT NULL,
    {
    _generated(
        "where TEXT",
        "machine TEXT",
        "runtime TEXT",
        "runtime_version TEXT",
        "delegate TEXT",
        "num_threads INTEGER",
        "num_runs INTEGER",
        "median_ms REAL",
        "p5_ms REAL",
        "p95_ms REAL",
        "noise_ms REAL",
        "first_ms REAL",
        "init_ms REAL",
        "peak_memory_bytes INTEGER",
        "valid INTEGER",
        "reasons TEXT",
        "measured_utc TEXT",
    )
}
);
CREATE INDEX measurements_by_artifact ON measurements (artifact_sha256);
PRAGMA application_id = {APPLICATION_ID};
"""

_PHONES = f"""
ALTER TABLE measurements ADD COLUMN {_generated("cores TEXT")};
ALTER TABLE measurements ADD COLUMN {_generated("extra_flags TEXT")};
ALTER TABLE measurements ADD COLUMN {_generated("series TEXT")};
CREATE INDEX measurements_by_series ON measurements (series);
CREATE TABLE rounds ( -- of measurements on phones that are not complete
    series TEXT NOT NULL,
    round_index INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (series, round_index)
);
CREATE TABLE phone_verifications (
    id TEXT PRIMARY KEY,
    artifact_sha256 TEXT NOT NULL REFERENCES files (sha256),
    record TEXT NOT NULL,
    {
    _generated(
        "where TEXT",
        "machine TEXT",
        "delegate TEXT",
        "num_samples INTEGER",
        "phone_top1 REAL",
        "host_top1 REAL",
        "agreement REAL",
        "verified_utc TEXT",
    )
}
);
CREATE INDEX phone_verifications_by_artifact ON phone_verifications (artifact_sha256);
"""

_DOWNLOADED = f"""
ALTER TABLE artifacts ADD COLUMN {_generated("downloaded_bytes INTEGER")};
"""

_SESSIONS = f"""
ALTER TABLE measurements ADD COLUMN {_generated("round_sessions TEXT")};
"""

_AVERAGES = f"""
ALTER TABLE measurements ADD COLUMN {_generated("avg_ms REAL")};
"""

_KITS = """
CREATE TABLE kits (
    artifact_sha256 TEXT NOT NULL,
    folder TEXT NOT NULL,
    PRIMARY KEY (artifact_sha256, folder)
);
"""

_LABELS = f"""
ALTER TABLE verifications ADD COLUMN {_generated("keras_average_precision REAL")};
ALTER TABLE verifications ADD COLUMN {_generated("tflite_average_precision REAL")};
ALTER TABLE phone_verifications ADD COLUMN {_generated("phone_average_precision REAL")};
{WITH_PRECISIONS}
"""

_PREDICTIONS = """
CREATE TABLE image_names ( -- of the images of one split, which many files share
    sha256 TEXT PRIMARY KEY,
    names BLOB NOT NULL -- zlib of a JSON list
);
CREATE TABLE predictions ( -- of each file, data set, split and place the newest on the most images
    verification_id TEXT PRIMARY KEY, -- in verifications or phone_verifications
    artifact_sha256 TEXT NOT NULL REFERENCES files (sha256),
    dataset TEXT NOT NULL,
    dataset_fingerprint TEXT NOT NULL,
    split TEXT NOT NULL,
    "where" TEXT NOT NULL, -- '' on the host
    num_samples INTEGER NOT NULL,
    images_sha256 TEXT NOT NULL REFERENCES image_names (sha256),
    arrays BLOB NOT NULL -- .npz
);
CREATE INDEX predictions_by_artifact ON predictions (artifact_sha256);
"""

_PAIRS = f"""
ALTER TABLE verifications ADD COLUMN {_generated("num_only_keras_right INTEGER")};
ALTER TABLE verifications ADD COLUMN {_generated("num_only_tflite_right INTEGER")};
{WITH_PAIRS}
"""

_SHAPES = f"""
CREATE TABLE shapes ( -- files with random weights, measured before any training
    shape TEXT NOT NULL, -- family, knobs, precision and exporter, as JSON
    setting TEXT NOT NULL, -- machine or phone, runtime and settings, as JSON
    num_classes INTEGER NOT NULL,
    record TEXT NOT NULL,
    {_generated("size_bytes INTEGER", "macs INTEGER", "parameters INTEGER")},
    PRIMARY KEY (shape, setting, num_classes)
);
"""

MIGRATIONS: tuple[str, ...] = (
    _FIRST, _PHONES, _DOWNLOADED, _SESSIONS, _AVERAGES, _KITS, NEWEST, _LABELS, _PREDICTIONS, _PAIRS, _SHAPES,
)  # fmt: skip
"""MIGRATIONS[n] takes a store of version n to version n + 1. Never edited once released: append."""


class NewerStoreError(Exception):
    """The file was written by a newer version of this program; the error holds that version."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


class ForeignFileError(Exception):
    """The file is an SQLite database of another program."""


def check(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Raises ForeignFileError or NewerStoreError for a file that this version must not change."""
    version = _pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (tables or version) and _pragma(connection, "application_id") != APPLICATION_ID:
        raise ForeignFileError
    if version > len(migrations):
        raise NewerStoreError(version)


def migrate(
    connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS, *, wait_secs: float = 0.0
) -> None:
    """Migrates the store to version len(migrations), one transaction per step.

    Safe with several processes: the version is read again under the write lock.
    """
    check(connection, migrations)
    while _pragma(connection, "user_version") < len(migrations):
        begin(connection, wait_secs)
        try:
            version = _pragma(connection, "user_version")
            check(connection, migrations)
            if version < len(migrations):
                for statement in _statements(migrations[version]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _statements(script: str) -> list[str]:
    """The script's statements; sqlite3's executescript would commit before it starts."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements

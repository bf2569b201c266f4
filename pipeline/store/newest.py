"""The tables of what the report shows: of each file the newest record, and of each setting the newest valid
measurement.

Triggers keep them, so that a report reads as many rows as it has, however often each file was measured.
They hold plain columns: reading one needs no record to be parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SETTING = ("where", "machine", "runtime", "delegate", "num_threads", "cores", "extra_flags")
"""A file's measurements under one setting replace each other; another version of the runtime does too."""
DEFAULTS = {"cores": "'all'", "extra_flags": "'[]'"}
"""Of records of older versions."""
MEASURED = (
    "valid", "measured_utc", "median_ms", "avg_ms", "p5_ms", "p95_ms", "noise_ms", "first_ms", "init_ms",
    "peak_memory_bytes", "num_runs", "runtime_version", "reasons", "round_sessions",
)  # fmt: skip
VERIFIED = (
    "keras_top1", "tflite_top1", "drop_points", "agreement", "dataset", "dataset_fingerprint", "split",
    "num_samples", "verified_utc",
)  # fmt: skip
PRECISIONS = ("keras_average_precision", "tflite_average_precision")
"""Verified too, since the store's version 8."""
PAIRS = ("num_only_keras_right", "num_only_tflite_right")
"""Since version 10."""
STANDING = {
    "model_name": "$.model_name",
    "precision": "$.precision",
    "size_bytes": "$.size_bytes",
    "downloaded_bytes": "$.downloaded_bytes",
    "path": "$.path",
    "family": "$.family",
    "knobs": "$.knobs",
    "alpha": "$.knobs.alpha",
    "shape": "$.input.shape",
    "head": "$.head.kind",
    "dataset": "$.dataset",
}
"""Column of an artifact -> its place in the record."""


def _listed(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _setting_of(row: str) -> str:
    """SQL: a measurement's setting as one text; what is missing equals what is missing."""
    values = (
        f'coalesce({row}"{name}", {DEFAULTS[name]})' if name in DEFAULTS else f'{row}"{name}"'
        for name in SETTING
    )
    return f"json_array({', '.join(values)})"


def _measured_of(row: str) -> str:
    """SQL: the values of a row of newest_measurements after its key, from a row of measurements."""
    values = (
        f'coalesce({row}"{name}", {DEFAULTS[name]})' if name in DEFAULTS else f'{row}"{name}"'
        for name in (*SETTING, *MEASURED)
    )
    return ", ".join(values)


_REPLACED = ", ".join(f'"{name}" = excluded."{name}"' for name in (*SETTING, *MEASURED))
_IS_NEWER = (
    "(coalesce(excluded.valid, 0), coalesce(excluded.measured_utc, '')) >= "
    "(coalesce(newest_measurements.valid, 0), coalesce(newest_measurements.measured_utc, ''))"
)
_ADD_MEASURED = (
    f"INSERT INTO newest_measurements (artifact_sha256, setting, {_listed((*SETTING, *MEASURED))})"
)
_MEASUREMENTS = f"""
CREATE TABLE newest_measurements (
    artifact_sha256 TEXT NOT NULL,
    setting TEXT NOT NULL,
    {_listed((*SETTING, *MEASURED))},
    PRIMARY KEY (artifact_sha256, setting)
) WITHOUT ROWID;
{_ADD_MEASURED}
SELECT artifact_sha256, {_setting_of("")}, {_measured_of("")} FROM measurements WHERE true ORDER BY rowid
ON CONFLICT DO UPDATE SET {_REPLACED} WHERE {_IS_NEWER};
CREATE TRIGGER newest_measurement AFTER INSERT ON measurements BEGIN
    {_ADD_MEASURED}
    SELECT NEW.artifact_sha256, {_setting_of("NEW.")}, {_measured_of("NEW.")} WHERE true
    ON CONFLICT DO UPDATE SET {_REPLACED} WHERE {_IS_NEWER};
END;
"""


def _ranked(names: Iterable[str], where: str) -> str:
    """SQL: of each file's verifications the one that the report uses.

    The newest one's data set, the test split, the most samples (a quick check of a part does not hide the
    whole), one beside the Keras model (a copy without a sidecar has the same SHA-256), then the newest.
    """
    return f"""
INSERT OR REPLACE INTO newest_verifications (artifact_sha256, {_listed(names)})
SELECT artifact_sha256, {_listed(names)} FROM (
    SELECT *, row_number() OVER (
        PARTITION BY artifact_sha256
        ORDER BY dataset_fingerprint = newest_fingerprint DESC, split = 'test' DESC, num_samples DESC,
            keras_top1 IS NOT NULL DESC, verified_utc DESC, number DESC
    ) AS place
    FROM (
        SELECT *, rowid AS number, first_value(dataset_fingerprint) OVER (
            PARTITION BY artifact_sha256 ORDER BY split = 'test' DESC, verified_utc DESC, rowid DESC
        ) AS newest_fingerprint
        FROM verifications {where}
    )
) WHERE place = 1;"""


def _verifications(names: Sequence[str]) -> str:
    """SQL: the table of the verifications that the report uses, and its trigger."""
    return f"""
CREATE TABLE newest_verifications (
    artifact_sha256 TEXT PRIMARY KEY,
    {_listed(names)}
) WITHOUT ROWID;
{_ranked(names, "")}
CREATE TRIGGER newest_verification AFTER INSERT ON verifications BEGIN
{_ranked(names, "WHERE artifact_sha256 = NEW.artifact_sha256")}
END;
"""


_PLACE = "coalesce(json_extract(record, '$.path'), sha256)"
"""Of several files at one path only the last is shown; the others' figures stay stored."""
_ADD_STANDING = (
    f"INSERT OR REPLACE INTO newest_artifacts (place, sha256, parent_sha256, {_listed(STANDING)})\n"
    f"SELECT {_PLACE}, sha256, parent_sha256, "
    + ", ".join(f"json_extract(record, '{place}')" for place in STANDING.values())
)
_OLD_PLACE = "coalesce(json_extract(OLD.record, '$.path'), OLD.sha256)"
_ARTIFACTS = f"""
CREATE TABLE newest_artifacts (
    place TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    parent_sha256 TEXT,
    {_listed(STANDING)}
) WITHOUT ROWID;
CREATE INDEX newest_artifacts_by_sha256 ON newest_artifacts (sha256);
CREATE INDEX artifacts_by_place ON artifacts ({_PLACE});
{_ADD_STANDING} FROM artifacts ORDER BY rowid;
CREATE TRIGGER newest_artifact AFTER INSERT ON artifacts BEGIN
    {_ADD_STANDING} FROM artifacts WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER older_artifact AFTER DELETE ON artifacts BEGIN
    DELETE FROM newest_artifacts WHERE place = {_OLD_PLACE};
    {_ADD_STANDING} FROM artifacts WHERE {_PLACE} = {_OLD_PLACE} ORDER BY rowid DESC LIMIT 1;
END;
"""

NEWEST = _MEASUREMENTS + _verifications(VERIFIED) + _ARTIFACTS
"""The migration that makes the three tables, from what the store holds."""
WITH_PRECISIONS = f"""
DROP TRIGGER newest_verification;
DROP TABLE newest_verifications;
{_verifications((*VERIFIED, *PRECISIONS))}
"""
"""The migration that adds PRECISIONS."""
WITH_PAIRS = f"""
DROP TRIGGER newest_verification;
DROP TABLE newest_verifications;
{_verifications((*VERIFIED, *PRECISIONS, *PAIRS))}
"""
"""The migration that adds PAIRS."""

"""The SQL that joins files, runs, verifications and measurements by hash."""

from __future__ import annotations

from export.head import HeadKind

_HAS_TOP1 = f"a.head IS NOT '{HeadKind.LABELS}'"
_SIDES = ", ".join(
    f"CASE WHEN json_array_length(a.shape) = 4 THEN json_extract(a.shape, '$[{place}]') END AS {name}"
    for place, name in enumerate(("image_size", "image_width", "image_channels"), 1)
)

FIGURES = f"""
WITH of_model AS MATERIALIZED (SELECT sha256, model_name, parameters, macs FROM models),
of_run AS MATERIALIZED (
    SELECT run, model_sha256, test_top1, dataset, dataset_fingerprint,
        row_number() OVER (PARTITION BY model_sha256 ORDER BY finished_utc DESC, rowid DESC) AS place
    FROM runs
),
on_phone AS MATERIALIZED (
    SELECT artifact_sha256, "where", delegate, phone_top1, phone_average_precision, agreement, num_samples,
        row_number() OVER (
            PARTITION BY artifact_sha256, "where", delegate ORDER BY verified_utc DESC, rowid DESC
        ) AS place
    FROM phone_verifications WHERE agreement IS NOT NULL
)
SELECT
    coalesce(a.model_name, models.model_name, 'unknown ' || substr(a.sha256, 1, 12)) AS model_name,
    a.family, a.alpha, coalesce(a.knobs, '{{}}') AS knobs,
    {_SIDES},
    a.precision, a.size_bytes, a.downloaded_bytes, models.parameters, models.macs,
    CASE WHEN {_HAS_TOP1} THEN iif(v.dataset IS NULL, r.test_top1, v.keras_top1) END AS keras_top1,
    CASE WHEN {_HAS_TOP1} THEN v.tflite_top1 END AS tflite_top1,
    CASE WHEN {_HAS_TOP1} THEN wilson_low(v.tflite_top1, v.num_samples) END AS tflite_top1_low,
    CASE WHEN {_HAS_TOP1} THEN wilson_high(v.tflite_top1, v.num_samples) END AS tflite_top1_high,
    CASE WHEN {_HAS_TOP1} THEN v.drop_points END AS drop_points,
    CASE WHEN {_HAS_TOP1} THEN drop_p(v.num_only_keras_right, v.num_only_tflite_right) END AS drop_p,
    v.agreement, v.keras_average_precision, v.tflite_average_precision,
    coalesce(v.dataset, r.dataset, a.dataset) AS dataset,
    iif(v.dataset IS NULL, r.dataset_fingerprint, v.dataset_fingerprint) AS dataset_fingerprint,
    v.split, v.num_samples, v.verified_utc,
    m.median_ms, m.avg_ms, m.p5_ms, m.p95_ms, m.noise_ms, m.first_ms, m.init_ms, m.peak_memory_bytes,
    m.num_runs, m.num_threads, m.cores, coalesce(m.extra_flags, '[]') AS extra_flags,
    m.runtime, m.runtime_version, m.delegate, m.machine, m."where", m.measured_utc, m.valid,
    coalesce(m.reasons, '[]') AS reasons,
    CASE WHEN {_HAS_TOP1} THEN p.phone_top1 END AS phone_top1, p.phone_average_precision,
    p.agreement AS phone_agreement, p.num_samples AS phone_samples,
    a.sha256, a.parent_sha256, r.run, a.path, 0 AS pareto, m.round_sessions AS session
FROM newest_artifacts AS a
LEFT JOIN of_model AS models ON models.sha256 = a.parent_sha256
LEFT JOIN of_run AS r ON r.model_sha256 = a.parent_sha256 AND r.place = 1
LEFT JOIN newest_verifications AS v ON v.artifact_sha256 = a.sha256
LEFT JOIN newest_measurements AS m ON m.artifact_sha256 = a.sha256
LEFT JOIN on_phone AS p ON p.artifact_sha256 = a.sha256 AND p.place = 1 AND p."where" = m."where"
    AND p.delegate = substr(m.delegate || ' ', 1, instr(m.delegate || ' ', ' ') - 1)
"""
"""The report's figures, in the order of report_row.COLUMNS; lists and knobs as JSON. newest.py says which
record each is from. Top-1 of a file of several sigmoids is left out: which of its labels is likeliest says
little.
"""

IN_ORDER = """
ORDER BY model_name, size_bytes DESC, sha256, run, parent_sha256,
    "where", machine, runtime, delegate, num_threads, cores, extra_flags
"""

BEST_FIRST = """
ORDER BY tflite_top1 DESC NULLS LAST, median_ms ASC NULLS LAST, size_bytes ASC NULLS LAST, sha256 LIMIT
"""

NEWEST_VALID = "SELECT artifact_sha256, median_ms FROM newest_measurements WHERE valid"

ARTIFACTS = "SELECT sha256, parent_sha256, path FROM newest_artifacts WHERE parent_sha256 IS NOT NULL"

ADD_MODEL = """
INSERT INTO models (sha256, record) VALUES (:sha256, :record)
ON CONFLICT (sha256) DO UPDATE SET record = excluded.record
"""

ADD_RUN = """
INSERT INTO runs (run, model_sha256, record) VALUES (:run, :model_sha256, :record)
ON CONFLICT (run) DO UPDATE SET model_sha256 = excluded.model_sha256, record = excluded.record
"""

ADD_FILE = "INSERT INTO files (sha256) VALUES (:sha256) ON CONFLICT DO NOTHING"

FORGET_ARTIFACT = "DELETE FROM artifacts WHERE sha256 = :sha256 AND parent_sha256 = :parent_sha256"

ADD_ARTIFACT = """
INSERT INTO artifacts (sha256, parent_sha256, record) VALUES (:sha256, :parent_sha256, :record)
"""
"""The last one added at a path is the one that stands there."""

MENTION_MODEL = "INSERT INTO models (sha256, record) VALUES (:sha256, :record) ON CONFLICT DO NOTHING"

FORGET_MENTION = """
DELETE FROM artifacts WHERE sha256 = :sha256 AND parent_sha256 IS NULL
AND (path IS NULL OR json_extract(:record, '$.size_bytes') IS NOT NULL)
"""
"""Deletes the stub of a file when its sidecar is added."""

MENTION_ARTIFACT = """
INSERT INTO artifacts (sha256, record)
SELECT :sha256, :record WHERE NOT EXISTS (SELECT 1 FROM artifacts WHERE sha256 = :sha256)
"""
"""Adds a stub for a file known only from a measurement or a verification; its sidecar replaces it later."""

ADD_VERIFICATION = """
INSERT INTO verifications (id, artifact_sha256, record) VALUES (:id, :artifact_sha256, :record)
ON CONFLICT DO NOTHING
"""

ADD_MEASUREMENT = """
INSERT INTO measurements (id, artifact_sha256, record) VALUES (:id, :artifact_sha256, :record)
ON CONFLICT DO NOTHING
"""

ADD_KIT = "INSERT INTO kits (artifact_sha256, folder) VALUES (:sha256, :folder) ON CONFLICT DO NOTHING"

ADD_ROUND = (
    "INSERT OR REPLACE INTO rounds (series, round_index, record) VALUES (:series, :round_index, :record)"
)

ROUNDS = "SELECT round_index, record FROM rounds WHERE series = ? ORDER BY round_index"

FORGET_ROUNDS = "DELETE FROM rounds WHERE series = :series"
"""Their figures are in the measurement now."""

OF_SERIES = """
SELECT record FROM measurements WHERE series = ? AND valid ORDER BY measured_utc DESC, rowid DESC LIMIT 1
"""

IN_SESSIONS = """
SELECT record FROM (SELECT * FROM measurements ORDER BY rowid DESC LIMIT ?)
WHERE valid AND median_ms IS NOT NULL AND json_array_length(round_sessions) > 0
"""

ADD_PHONE_VERIFICATION = """
INSERT INTO phone_verifications (id, artifact_sha256, record) VALUES (:id, :artifact_sha256, :record)
ON CONFLICT DO NOTHING
"""

FORGET_PREDICTIONS = """
DELETE FROM predictions WHERE artifact_sha256 = :artifact_sha256 AND split = :split AND "where" = :where
AND dataset_fingerprint = :dataset_fingerprint AND num_samples <= :num_samples
"""
"""Those that newer ones of as many images replace."""

ADD_IMAGE_NAMES = "INSERT INTO image_names (sha256, names) VALUES (:sha256, :names) ON CONFLICT DO NOTHING"

ADD_PREDICTIONS = """
INSERT OR REPLACE INTO predictions (verification_id, artifact_sha256, dataset, dataset_fingerprint, split,
    "where", num_samples, images_sha256, arrays)
VALUES (:verification_id, :artifact_sha256, :dataset, :dataset_fingerprint, :split, :where, :num_samples,
    :images_sha256, :arrays)
"""

PREDICTIONS = """
SELECT p.*, i.names FROM predictions AS p JOIN image_names AS i ON i.sha256 = p.images_sha256
WHERE artifact_sha256 = ? AND dataset_fingerprint = ? AND split = ? AND "where" = ?
ORDER BY num_samples DESC, p.rowid DESC LIMIT 1
"""

PREDICTED = "SELECT DISTINCT artifact_sha256 FROM predictions"

ADD_SHAPE = """
INSERT OR REPLACE INTO shapes (shape, setting, num_classes, record)
VALUES (:shape, :setting, :num_classes, :record)
"""

SHAPES = "SELECT record FROM shapes WHERE shape = ? AND setting = ? ORDER BY num_classes"

"""The SQL that joins files, runs, verifications and measurements by hash."""

NEWEST_ARTIFACT = """
newest_artifact AS (
    SELECT *, row_number() OVER (PARTITION BY coalesce(path, sha256) ORDER BY rowid DESC) AS place
    FROM artifacts
)
"""

ROWS = f"""
WITH {NEWEST_ARTIFACT},
dated_verification AS (
    SELECT *, rowid AS number, first_value(dataset_fingerprint) OVER (
        PARTITION BY artifact_sha256 ORDER BY split = 'test' DESC, verified_utc DESC, rowid DESC
    ) AS newest_fingerprint
    FROM verifications
),
newest_verification AS (
    SELECT *, row_number() OVER (
        PARTITION BY artifact_sha256
        ORDER BY dataset_fingerprint = newest_fingerprint DESC, split = 'test' DESC, num_samples DESC,
            keras_top1 IS NOT NULL DESC, verified_utc DESC, number DESC
    ) AS place
    FROM dated_verification
),
newest_measurement AS (
    SELECT *, row_number() OVER (
        PARTITION BY artifact_sha256, "where", machine, runtime, delegate, num_threads,
            coalesce(cores, 'all'), coalesce(extra_flags, '[]')
        ORDER BY valid DESC, measured_utc DESC, rowid DESC
    ) AS place
    FROM measurements
),
newest_on_phone AS (
    SELECT *, row_number() OVER (
        PARTITION BY artifact_sha256, "where", delegate ORDER BY verified_utc DESC, rowid DESC
    ) AS place
    FROM phone_verifications WHERE agreement IS NOT NULL
),
newest_run AS (
    SELECT *, row_number() OVER (PARTITION BY model_sha256 ORDER BY finished_utc DESC, rowid DESC) AS place
    FROM runs
)
SELECT
    a.sha256, a.parent_sha256, a.record AS artifact, a.precision, a.size_bytes, a.downloaded_bytes, a.path,
    coalesce(a.model_name, models.model_name) AS model_name,
    models.parameters, models.macs,
    r.run, r.test_top1, r.dataset AS run_dataset, r.dataset_fingerprint AS run_fingerprint,
    v.keras_top1, v.tflite_top1, v.drop_points, v.agreement, v.dataset, v.dataset_fingerprint, v.split,
    v.num_samples, v.verified_utc,
    m.median_ms, m.avg_ms, m.p5_ms, m.p95_ms, m.noise_ms, m.first_ms, m.init_ms, m.peak_memory_bytes,
    m.num_runs, m.num_threads,
    CASE WHEN m.id IS NOT NULL THEN coalesce(m.cores, 'all') END AS cores,
    m.extra_flags, m.runtime, m.runtime_version, m.delegate, m.machine, m."where", m.measured_utc,
    m.valid, m.reasons, m.round_sessions,
    p.phone_top1, p.agreement AS phone_agreement, p.num_samples AS phone_samples
FROM newest_artifact AS a
LEFT JOIN models ON models.sha256 = a.parent_sha256
LEFT JOIN newest_run AS r ON r.model_sha256 = a.parent_sha256 AND r.place = 1
LEFT JOIN newest_verification AS v ON v.artifact_sha256 = a.sha256 AND v.place = 1
LEFT JOIN newest_measurement AS m ON m.artifact_sha256 = a.sha256 AND m.place = 1
LEFT JOIN newest_on_phone AS p ON p.artifact_sha256 = a.sha256 AND p.place = 1 AND p."where" = m."where"
    AND p.delegate = substr(m.delegate || ' ', 1, instr(m.delegate || ' ', ' ') - 1)
WHERE a.place = 1
ORDER BY model_name, a.size_bytes DESC, a.sha256, r.run, a.parent_sha256,
    m."where", m.machine, m.runtime, m.delegate, m.num_threads, cores, m.extra_flags
"""
"""The report's rows. Of several files at one path only the last is shown; the others' figures stay stored.
Of a file's verifications the row uses the newest one's data set, the test split, the most samples (a quick
check of a part does not hide the whole), one beside the Keras model (a copy without a sidecar has the same
SHA-256), then the newest. Of its measurements with one setting it uses the
newest valid one, else the newest.
"""

ARTIFACTS = f"""
WITH {NEWEST_ARTIFACT}
SELECT sha256, parent_sha256, path FROM newest_artifact WHERE place = 1 AND parent_sha256 IS NOT NULL
"""

ADD_MODEL = """
INSERT INTO models (sha256, record) VALUES (:sha256, :record)
ON CONFLICT (sha256) DO UPDATE SET record = excluded.record
"""

ADD_RUN = """
INSERT INTO runs (run, model_sha256, record) VALUES (:run, :model_sha256, :record)
ON CONFLICT (run) DO UPDATE SET model_sha256 = excluded.model_sha256, record = excluded.record
"""

ADD_FILE = "INSERT INTO files (sha256) VALUES (:sha256) ON CONFLICT DO NOTHING"

ADD_ARTIFACT = """
INSERT OR REPLACE INTO artifacts (sha256, parent_sha256, record) VALUES (:sha256, :parent_sha256, :record)
"""
"""A replaced artifact gets a new rowid, which marks it as the last one at its path."""

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

IN_SESSIONS = "SELECT record FROM measurements WHERE valid AND round_sessions IS NOT NULL"

ADD_PHONE_VERIFICATION = """
INSERT INTO phone_verifications (id, artifact_sha256, record) VALUES (:id, :artifact_sha256, :record)
ON CONFLICT DO NOTHING
"""

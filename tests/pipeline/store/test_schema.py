"""The file itself: migrations, newer versions, damage."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sqlite3
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from report_records import export_artifact, measurement, sha256, train_record, verification

from pipeline.errors import PipelineError
from pipeline.records.measurement import Measurement
from pipeline.store import queries
from pipeline.store.functions import add_functions
from pipeline.store.newest import NEWEST
from pipeline.store.schema import MIGRATIONS, migrate
from pipeline.store.selection import Selection
from pipeline.store.store import FILE_NAME, open_store

ROOT = Path(__file__).parents[3]


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()


def filled(folder: Path) -> Path:
    with open_store(folder) as store:
        store.add_run(train_record())
        store.add_artifact(export_artifact(), folder)
        store.add_verification(verification())
        store.add_measurement(measurement())
    return folder / FILE_NAME


def test_a_new_store_has_the_newest_version_and_a_write_ahead_log(tmp_path):
    path = filled(tmp_path)
    assert version(path) == len(MIGRATIONS)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_a_later_migration_keeps_what_the_store_holds(tmp_path):
    path = filled(tmp_path)
    connection = sqlite3.connect(path, isolation_level=None)
    added = "ALTER TABLE runs ADD COLUMN note TEXT;\nUPDATE runs SET note = run;"
    migrate(connection, (*MIGRATIONS, added))
    assert connection.execute("SELECT run, note FROM runs").fetchall() == [("20261123-1", "20261123-1")]
    connection.close()
    assert version(path) == len(MIGRATIONS) + 1


def test_a_migration_that_fails_halfway_leaves_the_store_as_it_was(tmp_path):
    path = filled(tmp_path)
    connection = sqlite3.connect(path, isolation_level=None)
    broken = "ALTER TABLE runs ADD COLUMN note TEXT;\nINSERT INTO nowhere VALUES (1);"
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, (*MIGRATIONS, broken))
    connection.close()
    assert version(path) == len(MIGRATIONS)
    with open_store(tmp_path) as store:
        assert len(store.rows()) == 1


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = filled(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(
        PipelineError, match=r"version 999; this program knows up to \d+\. Upgrade"
    ) as refused:
        open_store(tmp_path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["text", "random", "truncated", "scrambled", "foreign", "folder"])
def test_a_damaged_or_foreign_file_is_one_line_and_never_overwritten(tmp_path, kind):
    path = tmp_path / FILE_NAME
    if kind == "text":
        path.write_text("this is not a database, it is a diary\n" * 40)
    elif kind == "random":
        path.write_bytes(bytes((index * 7919) % 251 for index in range(9000)))
    elif kind == "foreign":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE recipes (cake TEXT)")
        connection.commit()
        connection.close()
    elif kind == "folder":
        path.mkdir()
    else:
        whole = filled(tmp_path).read_bytes()
        half = len(whole) // 2
        path.write_bytes(
            whole[: half + 100] if kind == "truncated" else whole[:4096] + b"\xa5" * (len(whole) - 4096)
        )
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(PipelineError) as refused:
        open_store(tmp_path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_status == 1
    assert path.is_dir() if before is None else path.read_bytes() == before


def test_the_latencies_can_be_read_with_plain_sql(tmp_path):
    connection = sqlite3.connect(filled(tmp_path))
    names = {column[1] for column in connection.execute("PRAGMA table_xinfo(measurements)")}
    assert names - {"id", "record"} <= {field.name for field in fields(Measurement)}
    query = 'SELECT median_ms, "where", valid FROM measurements WHERE num_threads = 1'
    assert connection.execute(query).fetchall() == [(1.234, "host", 1)]
    connection.close()


def test_a_full_disk_is_one_line_and_keeps_what_was_stored(tmp_path):
    path = filled(tmp_path)
    program = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
from report_records import measurement
from pipeline.errors import PipelineError
from pipeline.store.store import open_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({path.stat().st_size} + 50_000,) * 2)
with open_store(Path({str(tmp_path)!r})) as store:
    try:
        for number in range(1000):
            store.add_measurement(measurement(num_threads=2 + number))
    except PipelineError as error:
        print(number, error)
"""
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == ""
    number, message = told.stdout.strip().split(" ", 1)
    assert "cannot be used" in message
    assert "free space" in message
    with open_store(tmp_path) as store:
        assert len(store.rows()) == 1 + int(number)


NEWEST_TABLES = ("newest_measurements", "newest_verifications", "newest_artifacts")


def test_a_store_of_before_gets_the_same_newest_rows_as_one_that_was_filled_now(tmp_path):
    chance = random.Random(3)
    files = [export_artifact(path=f"{number % 3}.tflite", sha256=sha256(str(number))) for number in range(6)]
    with open_store(tmp_path) as store:
        for _ in range(200):
            file = chance.choice(files)
            when = f"2026-11-{chance.randrange(1, 29):02}"
            kind = chance.choice(["artifact", "measurement", "measurement", "verification"])
            if kind == "artifact":
                moved = replace(file, path=f"{chance.randrange(3)}.tflite")
                store.add_artifact(chance.choice([file, moved]), tmp_path)
            elif kind == "measurement":
                setting = {"num_threads": chance.randrange(1, 3), "cores": chance.choice(["all", "big"])}
                figures = {"valid": chance.random() < 0.5, "median_ms": chance.random()}
                store.add_measurement(measurement(file.sha256, measured_utc=when, **setting, **figures))
            else:
                of = {"split": chance.choice(["test", "validation"]), "num_samples": chance.randrange(3)}
                images = chance.choice(["one", "other"])
                store.add_verification(
                    verification(file.sha256, verified_utc=when, dataset_fingerprint=images, **of)
                )
    now = sqlite3.connect(tmp_path / FILE_NAME)
    before = sqlite3.connect(":memory:", isolation_level=None)
    migrate(before, MIGRATIONS[: MIGRATIONS.index(NEWEST)])
    for table, columns in (
        ("models", "sha256, record"),
        ("files", "sha256"),
        ("artifacts", "sha256, parent_sha256, record"),
        ("verifications", "id, artifact_sha256, record"),
        ("measurements", "id, artifact_sha256, record"),
    ):
        rows = now.execute(f"SELECT {columns} FROM {table} ORDER BY rowid").fetchall()
        places = ", ".join("?" * len(rows[0]))
        before.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)
    migrate(before)
    for table in NEWEST_TABLES:
        found = [each.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for each in (now, before)]
        assert len(found[0]) > 2
        assert found[0] == found[1]
    now.close()
    before.close()


def test_what_is_newest_is_found_by_index_and_not_in_all_that_was_measured(tmp_path):
    connection = sqlite3.connect(filled(tmp_path))
    add_functions(connection)
    query, values = Selection().query()
    plan = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    assert any("SEARCH m USING PRIMARY KEY (artifact_sha256=?)" in step for step in plan), plan
    assert any("SEARCH v USING PRIMARY KEY (artifact_sha256=?)" in step for step in plan), plan
    newest = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {queries.NEWEST_VALID}")]
    assert newest == ["SCAN newest_measurements"]
    series = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {queries.OF_SERIES}", ("one",))]
    assert series[0] == "SEARCH measurements USING INDEX measurements_by_series (series=?)"
    for step in (*plan, *newest, *series):
        assert not re.match(r"SCAN (measurements|verifications|artifacts)\b", step)
    connection.close()


def test_a_thousand_measurements_of_a_file_are_one_row_to_read(tmp_path):
    with open_store(tmp_path) as store:
        with store.together():
            for number in range(1000):
                store.add_measurement(measurement(median_ms=float(number), measured_utc=f"{number:04}"))
        assert [row.latency.median_ms for row in store.rows()] == [999.0]
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert connection.execute("SELECT count(*) FROM newest_measurements").fetchone() == (1,)
    connection.close()


def test_what_is_added_together_is_added_wholly_or_not_at_all(tmp_path):
    with open_store(tmp_path) as store:
        with contextlib.suppress(KeyError), store.together():
            store.add_measurement(measurement())
            raise KeyError
        assert len(store.rows()) == 0
        store.add_measurement(measurement())
        assert len(store.rows()) == 1

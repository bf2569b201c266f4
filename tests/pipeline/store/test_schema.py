"""The file itself: migrations, newer versions, damage."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from report_records import export_artifact, measurement, train_record, verification

from pipeline.errors import PipelineError
from pipeline.records.measurement import Measurement
from pipeline.store.schema import MIGRATIONS, migrate
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

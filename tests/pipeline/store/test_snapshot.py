"""Reading the results of a runs folder that cannot be written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from full_disk import files_of_at_most
from report_records import export_artifact, measurement, sha256, train_record, verification

from export.artifact import sidecar_content, sidecar_path
from export.files import sha256_of, write_json
from pipeline.errors import PipelineError
from pipeline.records.training import record_as_json
from pipeline.store.snapshot import open_copy
from pipeline.store.store import FILE_NAME, open_store

ROOT = Path(__file__).parents[3]
OBEY_PERMISSIONS = ["setpriv", "--bounding-set=-dac_override"]
"""Root may write everywhere without this."""


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """A runs folder with one run whose file was verified and measured; writable again in the end."""
    runs = tmp_path / "runs"
    file = runs / "first/export/small_int8.tflite"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a file")
    run = train_record("first")
    artifact = export_artifact(run.model_sha256, path=file.name, sha256=sha256_of(file), size_bytes=6)
    sidecar_path(file).write_bytes(sidecar_content(artifact))
    write_json(runs / "first/train.json", record_as_json(run))
    with open_store(runs) as store:
        store.add_verification(verification(artifact.sha256))
        store.add_measurement(measurement(artifact.sha256))
    yield runs
    runs.chmod(0o755)


@pytest.fixture
def pipeline(folder) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command line as a user whom permissions bind."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root writes everywhere, and setpriv (util-linux), which would bind it, is missing")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = "import sys; from pipeline.cli import main; main()"
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(
            [*(OBEY_PERMISSIONS if os.geteuid() == 0 else []), *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_RUNS": str(folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_cannot_be_written_is_reported_with_its_figures_and_one_warning(folder, pipeline):
    before = contents(folder)
    folder.chmod(0o555)
    told = pipeline("report", "--format", "csv")
    assert told.returncode == 0
    assert told.stderr == (
        f"pipeline: {folder}/ cannot be written: its results are read, and nothing is added.\n"
    )
    (line,) = told.stdout.splitlines()[1:]
    for value in ("first", "93.9", "1.234", "int8"):  # the run and the precision stand in the folder alone
        assert f",{value}," in line
    assert "93.90%" in pipeline("runs", "first").stdout
    assert contents(folder) == before


def test_a_folder_that_cannot_be_written_and_has_no_store_is_reported_from_its_files(folder, pipeline):
    (folder / FILE_NAME).unlink()
    folder.chmod(0o555)
    told = pipeline("report", "--format", "csv")
    assert told.returncode == 0
    assert ",int8," in told.stdout
    assert "93.9" not in told.stdout


def test_a_place_that_cannot_be_written_is_named_as_it_was_given(folder, pipeline):
    folder.chmod(0o555)
    out = folder / "x.html"
    told = pipeline("report", "--out", str(out))
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1] == (
        f"pipeline: {out} cannot be written (Permission denied). Write it elsewhere with --out FILE."
    )


def test_the_copy_holds_what_still_stands_in_the_write_ahead_log(folder):
    writer = sqlite3.connect(folder / FILE_NAME)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("INSERT INTO files VALUES ('only in the log')")
    writer.commit()
    killed = folder.with_name("killed")
    killed.mkdir()
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        shutil.copyfile(folder / name, killed / name)
    writer.close()
    for place in (killed, folder):
        with open_copy(place) as store:
            found = store._connection.execute("SELECT count(*) FROM files").fetchone()[0]
        assert found == 2


def test_what_is_added_to_the_copy_does_not_reach_the_store(folder):
    with open_copy(folder) as store:
        store.add_measurement(measurement(sha256("a file"), num_threads=9))
        assert len(store.rows()) == 2
    with open_store(folder) as store:
        assert len(store.rows()) == 1


def test_a_damaged_store_that_cannot_be_written_is_one_line(folder):
    (folder / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(PipelineError, match="move it away"):
        open_copy(folder)


def test_full_disk_is_reported_from_what_the_store_holds(folder, pipeline):
    """No file may grow, as on a full disk: neither the log's index can be made nor a copy of the store."""
    before = contents(folder)
    with files_of_at_most(0):  # children have the limit too
        told = pipeline("report", "--format", "csv")
    assert told.returncode == 0
    assert told.stderr.startswith(f"pipeline: {folder / FILE_NAME} cannot be used (")
    assert told.stderr.endswith("): its results are read, and nothing is added.\n")
    assert told.stderr.count("\n") == 1
    (line,) = told.stdout.splitlines()[1:]
    for value in ("first", "93.9", "1.234", "int8"):
        assert f",{value}," in line
    assert {name: before[name] for name in before if "-shm" not in name} == {
        name: content for name, content in contents(folder).items() if content
    }

"""The remembered records of a runs folder: used while the files are the same, and never wrong."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from report_records import export_artifact, sha256, train_record

from export.artifact import sidecar_content, sidecar_path
from export.files import write_json
from pipeline.cli import run as pipeline
from pipeline.home import CACHE_VARIABLE
from pipeline.records.training import record_as_json
from pipeline.report.run_list import run_summaries
from pipeline.run_cache import FEWEST, SETTLED_NS
from pipeline.runs import RECORD, newest_run
from pipeline.store.snapshot import complete_store

NUM_RUNS = FEWEST + 5
opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


@contextmanager
def records_read() -> Iterator[list[str]]:
    """The names of the JSON files in runs that the block opens."""
    opened.clear()
    found: list[str] = []
    yield found
    found += [Path(path).name for path in opened if path.endswith((RECORD, "_int8.json"))]


@pytest.fixture(scope="module")
def settled(tmp_path_factory) -> Path:
    """A folder of runs with a file each, written long enough ago."""
    folder = tmp_path_factory.mktemp("settled") / "runs"
    for number in range(NUM_RUNS):
        run = folder / f"run-{number}"
        (run / "export").mkdir(parents=True)
        record = train_record(
            run.name, finished_utc=f"2026-11-{1 + number % 28:02}T{number // 28:02}:00:00+00:00"
        )
        write_json(run / RECORD, record_as_json(record))
        file = run / "export" / f"{record.model_name}_int8.tflite"
        file.write_bytes(run.name.encode())
        artifact = export_artifact(record.model_sha256, path=file.name, sha256=sha256(run.name))
        sidecar_path(file).write_bytes(sidecar_content(artifact))
    time.sleep(SETTLED_NS / 1e9 + 0.1)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(settled, tmp_path, cache) -> Path:
    """A folder of links to the runs, so that a test can change one."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for run in settled.iterdir():
        (folder / run.name).symlink_to(run)
    return folder


def cached_file(cache: Path) -> Path:
    (file,) = (cache / "runs").iterdir()
    return file


def test_unchanged_records_are_read_once(folder):
    with records_read() as first:
        before = run_summaries(folder)
    with records_read() as again:
        assert run_summaries(folder) == before
    assert len(first) == 2 * NUM_RUNS
    assert again == []
    assert [summary.exports[0].sha256 for summary in before] == [sha256(summary.run) for summary in before]


def test_the_newest_run_and_a_complete_store_read_nothing_again(folder):
    with complete_store(folder) as (_, warnings):
        pass
    assert warnings == []
    newest = newest_run(folder)
    with records_read() as read:
        assert newest_run(folder) == newest
    assert read == []


def test_a_record_with_other_content_of_equal_size_and_time_is_read_again(folder, settled, tmp_path):
    run_summaries(folder)
    (folder / "run-7").unlink()
    shutil.copytree(settled / "run-7", folder / "run-7")
    record = folder / "run-7" / RECORD
    was = record.stat()
    content = record.read_text()
    record.write_text(content.replace('"test_top1": 94.3', '"test_top1": 11.1'))
    os.utime(record, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert record.stat().st_size == was.st_size
    with records_read() as read:
        summaries = {summary.run: summary for summary in run_summaries(folder)}
    assert read.count(RECORD) >= 1
    assert summaries["run-7"].test_top1 == 11.1
    assert summaries["run-8"].test_top1 == 94.3


def test_a_record_that_changed_just_now_is_not_remembered(folder, settled):
    (folder / "run-7").unlink()
    shutil.copytree(settled / "run-7", folder / "run-7")
    run_summaries(folder)
    with records_read() as read:
        run_summaries(folder)
    assert set(read) == {RECORD, "mobilenet_alpha0.5_160_int8.json"}


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[:-100],
    "a digit": lambda content: content.replace(b"94.3", b"94.4", 1),
    "no digest": lambda content: content[64:],
    "text": lambda _: b"not JSON at all",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_not_used(folder, cache, kind):
    before = run_summaries(folder)
    content = cached_file(cache).read_bytes()
    cached_file(cache).write_bytes(DAMAGE[kind](content))
    assert run_summaries(folder) == before
    assert cached_file(cache).read_bytes() == content


def test_another_folder_at_the_same_path_is_read(folder, settled):
    run_summaries(folder)
    for run in folder.iterdir():
        run.unlink()
    (folder / "run-1").symlink_to(settled / "run-2")
    (summary,) = run_summaries(folder)
    assert (summary.run, summary.model_sha256) == ("run-1", train_record("run-2").model_sha256)


def test_damaged_records_are_told_each_time(folder, settled):
    (folder / "run-7").unlink()
    shutil.copytree(settled / "run-7", folder / "run-7")
    (folder / "run-7" / RECORD).write_text('{"run": 5}')
    for _ in range(2):
        (damaged,) = [summary for summary in run_summaries(folder) if summary.state == "damaged"]
        assert damaged.run == "run-7"


def test_a_folder_of_many_runs_lists_the_newest_and_all_when_asked(folder, settled, monkeypatch, capsys):
    for number in range(200):
        (folder / f"copy-{number}").symlink_to(settled / "run-0")
    monkeypatch.setenv("PIPELINE_RUNS", str(folder))
    assert pipeline(["runs"]) == 0
    told = capsys.readouterr()
    assert len([line for line in told.out.splitlines() if "photos" in line]) == 200
    assert "All: pipeline runs --all" in told.err
    assert pipeline(["runs", "--all"]) == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if "photos" in line]) == 200 + NUM_RUNS
    assert pipeline(["runs", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 200 + NUM_RUNS

"""README's Python, run as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from android_bench.reasons import Reason
from export.artifact import ExportArtifact
from export.verification import Verification
from pipeline.records.report_row import ReportRow
from pipeline.records.training import TrainRecord, read_record

README = Path(__file__).parents[3] / "README.md"
BUSY = Reason.MACHINE_BUSY.sentence.partition("{")[0]


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_lines_of_python_do_the_main_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (lines,) = python_blocks()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "elsewhere"))  # only the commands read it
    made: dict[str, Any] = {}
    exec(compile(lines, str(README), "exec"), made)

    trained, exported = made["trained"], made["exported"]
    assert isinstance(trained, TrainRecord)
    assert read_record(tmp_path / "runs" / trained.run / "train.json") == trained
    assert [type(each) for each in exported.artifacts] == [ExportArtifact] * 2
    assert exported.refused == ()
    shipped = {each.sha256 for each in exported.artifacts}
    assert {each.artifact_sha256 for each in made["verified"]} == shipped
    assert {type(each) for each in made["verified"]} == {Verification}
    assert {each.measurement.artifact_sha256 for each in made["measured"]} == shipped
    rows = made["rows"]
    assert {type(row) for row in rows} == {ReportRow}
    assert {row.file.sha256 for row in rows} == shipped
    for row in rows:
        assert row.file.run == trained.run
        assert row.accuracy.tflite_top1 is not None
        # a machine that runs other tests meanwhile may be too busy to measure on, which is the reason then
        assert all(reason.startswith(BUSY) for reason in row.latency.reasons)
        assert row.latency.valid is (not row.latency.reasons)
    assert "mobilenet_alpha0.25_32" in (tmp_path / "runs/report.html").read_text()
    assert not (tmp_path / "elsewhere").exists()


def test_the_chain_is_about_ten_lines():
    (lines,) = python_blocks()
    assert len(lines.split("\n\n")[-1].strip().splitlines()) <= 10

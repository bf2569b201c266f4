"""`pipeline report --baseline`: what became better or worse by more than noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_records import (
    changed,
    export_artifact,
    measurement,
    predictions_of_photos,
    sha256,
    train_record,
    verification,
)

from export.check.predictions import Predictions, Side
from export.precisions import Precision
from pipeline.cli import run as pipeline
from pipeline.records.measurement import setting_of
from pipeline.records.report_row import ReportRow
from pipeline.report.baseline import change, counterparts, rows_of_json
from pipeline.report.records import json_text
from pipeline.sessions import SessionSpread
from pipeline.store.store import open_store

OLD, NEW = "photos-1", "photos-2"


def unpaired(_before: ReportRow, _row: ReportRow) -> None:
    return None


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two runs of one model, each with an int8 and a float32 file that were verified and measured."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    with open_store(folder) as store:
        for run in (OLD, NEW):
            record = train_record(run)
            store.add_run(record)
            for precision in (Precision.INT8, Precision.FLOAT32):
                artifact = export_artifact(record.model_sha256, precision)
                store.add_artifact(artifact, folder / run / "export")
                store.add_verification(verification(artifact.sha256))
                store.add_measurement(measurement(artifact.sha256, round_sessions=("one",) * 5))
    return folder


@pytest.fixture
def row(folder) -> ReportRow:
    with open_store(folder) as store:
        return next(row for row in store.rows() if row.file.precision == "int8" and row.file.run == OLD)


def of(row: ReportRow, **figures: Any) -> ReportRow:
    return changed(row, sha256=sha256("new"), **figures)


def compared(row: ReportRow, before: ReportRow, spreads=None):
    return change(row, before, spreads or {}, unpaired)


@pytest.mark.parametrize(
    ("figures", "verdicts"),
    [
        ({}, ("same", "same", "same")),
        ({"size_bytes": 1_200_000}, ("worse", "same", "same")),
        ({"size_bytes": 1_012_400}, ("same", "same", "same")),
        ({"size_bytes": 500_000, "median_ms": 1.3}, ("better", "worse", "same")),
        ({"median_ms": 1.238}, ("same", "same", "same")),
        ({"median_ms": 1.1}, ("same", "better", "same")),
        ({"tflite_top1": 60.0}, ("same", "same", "worse")),
        ({"tflite_top1": 92.0}, ("same", "same", "same")),
        ({"tflite_top1": 60.0, "dataset_fingerprint": sha256("others")}, ("same", "same", "unknown")),
        ({"median_ms": 9.0, "num_threads": 4}, ("same", "unknown", "same")),
        ({"valid": False, "reasons": ("hot",)}, ("same", "unknown", "same")),
        ({"size_bytes": None, "median_ms": None, "tflite_top1": None}, ("unknown", "unknown", "unknown")),
    ],
)
def test_only_what_differs_by_more_than_noise_is_better_or_worse(row, figures, verdicts):
    assert compared(of(row, **figures), row).verdicts == verdicts


def test_medians_of_different_sessions_differ_by_more_than_their_spread_or_count_as_same(row):
    slower = of(row, median_ms=1.4, session="two")
    assert compared(slower, row).latency == "same"
    assert compared(of(row, median_ms=2.0, session="two"), row).latency == "worse"
    narrow = {setting_of(row.conditions): SessionSpread(log_std=0.01, num_sessions=9)}
    assert compared(slower, row, narrow).latency == "worse"


@pytest.mark.parametrize("top1", [93.0, 88.0, 85.2, 84.0, 70.0])
def test_without_predictions_the_p_is_that_of_two_independent_samples(row, top1):
    scipy_stats = pytest.importorskip("scipy.stats")
    rows = [of(row, tflite_top1=each, num_samples=1000) for each in (94.0, top1)]
    right = [round(each.accuracy.tflite_top1 * 10) for each in rows]
    expected = scipy_stats.chi2_contingency([[each, 1000 - each] for each in right], correction=False).pvalue
    assert compared(*rows).p == pytest.approx(expected, rel=1e-6)


def test_a_file_meets_its_own_precision_of_the_same_model(folder, row):
    with open_store(folder) as store:
        rows = list(store.rows())
    found = counterparts(rows, rows)
    assert [(each.file.precision, each.model.model_name) for each in found] == [
        (each.file.precision, each.model.model_name) for each in rows
    ]
    other = [changed(each, model_name=f"other {place}") for place, each in enumerate(rows)]
    assert counterparts(rows, other) == [None] * len(rows)
    assert counterparts(rows, [row]) == [row] * len(rows)


def test_the_gate_fails_with_exit_status_1_when_a_file_became_worse(folder, capsys):
    with open_store(folder) as store:
        new = export_artifact(train_record(NEW).model_sha256, Precision.INT8)
        store.add_measurement(
            measurement(new.sha256, median_ms=2.5, measured_utc="2026-11-24T10:08:00+00:00")
        )
    assert pipeline(["report", NEW, "--baseline", OLD]) == 0
    told = capsys.readouterr().out
    assert "2.50 ms +102.6% WORSE" in told
    assert "2 comparisons: 1 with something worse, 0 with something better" in told
    assert pipeline(["report", NEW, "--baseline", OLD, "--gate"]) == 1
    assert "1 of 2 comparisons with photos-1 became worse" in capsys.readouterr().err
    assert pipeline(["report", OLD, "--baseline", OLD, "--gate"]) == 0


def test_a_report_kept_as_json_is_a_baseline(folder, capsys, tmp_path):
    assert pipeline(["report", OLD, "--json", "--out", "kept.json"]) == 0
    rows = rows_of_json((tmp_path / "kept.json").read_text())
    assert json.loads(json_text(rows)) == json.loads((tmp_path / "kept.json").read_text())
    capsys.readouterr()
    assert pipeline(["report", NEW, "--baseline", "kept.json", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["size"] for record in records] == ["same", "same"]
    assert {record["precision"] for record in records} == {"int8", "float32"}


def test_kept_predictions_are_compared_image_by_image(folder, capsys):
    old, new = (export_artifact(train_record(run).model_sha256, Precision.INT8) for run in (OLD, NEW))
    with open_store(folder) as store:
        for place, artifact in enumerate((old, new)):
            truth = np.zeros(200, np.int64)
            label = (np.arange(200) < 10 + 10 * place).astype(np.int64)
            side = Side(label=label, probability=np.full(200, 0.9, np.float32))
            kept = predictions_of_photos(
                Predictions(truth=truth, file=side, keras=None), artifact_sha256=artifact.sha256
            )
            top1 = 100 - 100 * (10 + 10 * place) / kept.num_images
            found = verification(
                artifact.sha256,
                num_samples=kept.num_images,
                tflite_top1=top1,
                verified_utc="2026-11-25T10:00:00+00:00",
            )
            store.add_verification(found, kept)
    assert pipeline(["report", NEW, "--baseline", OLD, "--where", "precision=int8", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["accuracy"] == "worse"
    assert record["p"] == pytest.approx(2 / 2**10)  # ten images lost, none gained


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gate"], "--gate needs --baseline"),
        (["--baseline", "nothing-1"], "unknown run 'nothing-1'"),
        (["--baseline", "none.json"], "there is no file none.json"),
        (["--baseline", "broken.json"], "broken.json is no report"),
        (["--baseline", "list.json"], "list.json is no report"),
        (["--baseline", "empty.json"], "empty.json holds no row"),
        (["--baseline", OLD, "--format", "html"], "Leave --format and --out out"),
    ],
)
def test_a_wrong_baseline_is_one_line(folder, tmp_path, capsys, arguments, told):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text('[{"model_name": 5}]')
    (tmp_path / "empty.json").write_text("[]")
    assert pipeline(["report", NEW, *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1

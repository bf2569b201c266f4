"""The store: what goes in comes out, in any order, once, and with several writers."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
from report_records import (
    changed,
    export_artifact,
    measurement,
    phone_verification,
    sha256,
    train_record,
    verification,
)

from export.precisions import Precision
from pipeline.records.report_row import ReportRow, row_of
from pipeline.report.conditions import doubts
from pipeline.store.store import open_store

ROOT = Path(__file__).parents[3]


def only_row(folder: Path) -> ReportRow:
    with open_store(folder) as store:
        (row,) = store.rows()
    return row


def test_a_row_joins_run_file_verification_and_measurement_by_hash(tmp_path):
    run, artifact, check, timing = train_record(), export_artifact(), verification(), measurement()
    with open_store(tmp_path) as store:
        store.add_run(run)
        store.add_artifact(artifact, tmp_path / run.run / "export")
        store.add_verification(check)
        store.add_measurement(timing)
    assert only_row(tmp_path) == row_of(
        {
            "model_name": "mobilenet_alpha0.5_160",
            "family": "mobilenet",
            "alpha": 0.5,
            "knobs": {"alpha": 0.5, "image_size": 160},
            "image_size": 160,
            "image_width": 160,
            "image_channels": 3,
            "precision": "int8",
            "size_bytes": 1_012_345,
            "downloaded_bytes": 923_456,
            "parameters": 831_234,
            "macs": 76_543_210,
            "keras_top1": 94.4,
            "tflite_top1": 93.9,
            "tflite_top1_low": pytest.approx(87.44, abs=0.01),
            "tflite_top1_high": pytest.approx(97.15, abs=0.01),
            "drop_points": 0.5,
            "drop_p": None,
            "agreement": 98.7,
            "keras_average_precision": None,
            "tflite_average_precision": None,
            "dataset": "photos",
            "dataset_fingerprint": sha256("photos"),
            "split": "test",
            "num_samples": 101,
            "verified_utc": check.verified_utc,
            "median_ms": 1.234,
            "avg_ms": 1.25,
            "p5_ms": 1.21,
            "p95_ms": 1.31,
            "noise_ms": 0.004,
            "first_ms": 2.5,
            "init_ms": 3.5,
            "peak_memory_bytes": 9_437_184,
            "num_runs": 500,
            "num_threads": 1,
            "cores": "all",
            "extra_flags": (),
            "phone_top1": None,
            "phone_average_precision": None,
            "phone_agreement": None,
            "phone_samples": None,
            "runtime": "litert",
            "runtime_version": "2.3.0",
            "delegate": "cpu",
            "machine": "Xeon 8481C",
            "where": "host",
            "measured_utc": timing.measured_utc,
            "valid": True,
            "reasons": (),
            "sha256": artifact.sha256,
            "parent_sha256": run.model_sha256,
            "run": run.run,
            "path": str(tmp_path / run.run / "export" / artifact.path),
            "pareto": True,
            "session": None,
        }
    )


def test_the_order_in_which_records_arrive_does_not_matter(tmp_path):
    steps = {
        "run": lambda store: store.add_run(train_record()),
        "artifact": lambda store: store.add_artifact(export_artifact(), store.path.parent / "r" / "export"),
        "verification": lambda store: store.add_verification(verification()),
        "measurement": lambda store: store.add_measurement(measurement()),
    }
    found = []
    for number, order in enumerate(permutations(steps)):
        folder = tmp_path / str(number)
        with open_store(folder) as store:
            for step in order:
                steps[step](store)
        found.append(changed(only_row(folder), path=None))
    assert len(found) == 24
    assert all(row == found[0] for row in found)
    assert found[0].pareto


def test_adding_everything_twice_changes_nothing(tmp_path):
    with open_store(tmp_path) as store:
        for _ in range(2):
            store.add_run(train_record())
            store.add_artifact(export_artifact(), tmp_path)
            store.add_verification(verification())
            store.add_measurement(measurement())
        assert len(store.rows()) == 1
        assert store.verifications(export_artifact().sha256) == [verification()]
        assert store.measurements(export_artifact().sha256) == [measurement()]


def test_a_measured_file_without_a_sidecar_is_told_by_its_name_and_size(tmp_path):
    file = tmp_path / "from_elsewhere.tflite"
    file.write_bytes(b"bytes of a model")
    with open_store(tmp_path / "runs") as store:
        store.add_measurement(measurement(sha256("?"), path=str(file)))
        assert store.rows()[0].file.size_bytes is None, (
            "the file at that path is not the one that was measured"
        )
        store.add_measurement(measurement(sha256("bytes of a model"), path=str(file)))
        rows = {row.file.sha256: row for row in store.rows()}
    row = rows[sha256("bytes of a model")]
    assert (row.model.model_name, row.file.size_bytes, row.file.precision, row.file.run) == (
        "from_elsewhere",
        16,
        None,
        None,
    )
    assert row.file.path == str(file)
    assert row.accuracy.tflite_top1 is None
    assert not row.pareto


@pytest.mark.parametrize(
    ("path", "name"), [("", f"unknown {sha256('stranger')[:12]}"), ("from/theirs.tflite", "theirs")]
)
def test_a_verified_file_that_nothing_else_is_known_of_stands_in_the_rows(tmp_path, path, name):
    with open_store(tmp_path) as store:
        store.add_verification(verification(sha256("stranger"), path=path))
    row = only_row(tmp_path)
    assert row.model.model_name == name
    assert (row.accuracy.tflite_top1, row.latency.median_ms, row.latency.valid) == (93.9, None, None)


def test_a_file_that_was_neither_verified_nor_measured_has_no_figures(tmp_path):
    with open_store(tmp_path) as store:
        store.add_run(train_record())
        store.add_artifact(export_artifact(), tmp_path)
    row = only_row(tmp_path)
    assert (row.accuracy.tflite_top1, row.accuracy.agreement, row.latency.median_ms, row.latency.valid) == (
        None,
        None,
        None,
        None,
    )
    assert row.accuracy.keras_top1 == 94.3, "the training measured the Keras model on its test split"
    assert not row.pareto


def test_the_newest_valid_measurement_of_a_setting_counts(tmp_path):
    times = [f"2026-11-23T1{hour}:00:00+00:00" for hour in range(4)]
    with open_store(tmp_path) as store:
        store.add_measurement(measurement(median_ms=2.0, measured_utc=times[2]))
        store.add_measurement(measurement(median_ms=1.0, measured_utc=times[0]))
        store.add_measurement(
            measurement(median_ms=9.0, measured_utc=times[3], valid=False, reasons=("too noisy",))
        )
    row = only_row(tmp_path)
    assert (row.latency.median_ms, row.latency.valid, row.latency.measured_utc) == (2.0, True, times[2])


def test_an_invalid_measurement_is_shown_with_its_reasons_where_no_valid_one_is(tmp_path):
    with open_store(tmp_path) as store:
        store.add_artifact(export_artifact(), tmp_path)
        store.add_verification(verification())
        store.add_measurement(measurement(median_ms=None, valid=False, reasons=("killed", "out of memory")))
    row = only_row(tmp_path)
    assert (row.latency.valid, row.latency.reasons, row.latency.median_ms) == (
        False,
        ("killed", "out of memory"),
        None,
    )
    assert not row.pareto


@pytest.mark.parametrize(
    "setting",
    [
        {"where": "Pixel 8"},
        {"machine": "M3"},
        {"runtime": "tensorflow"},
        {"delegate": "gpu"},
        {"num_threads": 2},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_machine_runtime_delegate_and_thread_count_has_a_row_of_its_own(tmp_path, setting):
    with open_store(tmp_path) as store:
        store.add_measurement(measurement())
        store.add_measurement(measurement(median_ms=7.0, **setting))
        assert sorted(row.latency.median_ms for row in store.rows()) == [1.234, 7.0]


def test_the_data_set_of_an_unverified_file_is_that_of_its_training(tmp_path):
    with open_store(tmp_path) as store:
        store.add_run(train_record())
        store.add_artifact(export_artifact(), tmp_path)
    row = only_row(tmp_path)
    assert (row.accuracy.dataset, row.accuracy.dataset_fingerprint) == ("photos", sha256("photos"))


def test_two_runs_with_byte_equal_files_each_show_their_own(tmp_path):
    first, second = train_record("first"), train_record("second")
    files = {run.run: export_artifact(run.model_sha256, sha256=sha256("equal")) for run in (first, second)}
    with open_store(tmp_path) as store:
        store.add_verification(verification(sha256("equal")))
        for run in (first, second):
            store.add_run(run)
            store.add_artifact(files[run.run], tmp_path / run.run / "export")
        store.add_measurement(measurement(sha256("equal")))
        rows = {row.file.run: row for row in store.rows()}
        assert len(store.rows()) == 2
    for run in (first, second):
        row = rows[run.run]
        assert row.file.parent_sha256 == run.model_sha256
        assert row.file.path == str(tmp_path / run.run / "export" / files[run.run].path)
        assert (row.accuracy.tflite_top1, row.latency.median_ms, row.pareto) == (93.9, 1.234, True)


def test_of_the_files_exported_to_one_path_the_last_is_reported_and_all_figures_stay(tmp_path):
    first, second = (export_artifact(sha256=sha256(name)) for name in ("first", "second"))
    with open_store(tmp_path) as store:
        for artifact in (first, second):
            store.add_artifact(artifact, tmp_path)
            store.add_verification(verification(artifact.sha256))
            store.add_measurement(measurement(artifact.sha256))
        assert [row.file.sha256 for row in store.rows()] == [second.sha256]
        assert store.measurements(first.sha256) == [measurement(first.sha256)]
        assert store.verifications(first.sha256) == [verification(first.sha256)]
        store.add_artifact(first, tmp_path)
        assert [row.file.sha256 for row in store.rows()] == [first.sha256], "it stands there again"


def test_of_measured_files_without_a_sidecar_at_one_path_the_last_is_reported(tmp_path):
    file = tmp_path / "theirs.tflite"
    with open_store(tmp_path / "runs") as store:
        for content in ("first", "second", "first"):
            file.write_text(content)
            store.add_measurement(measurement(sha256(content), path=str(file)))
            assert [row.file.sha256 for row in store.rows()] == [sha256(content)]


def test_a_measured_file_that_is_gone_keeps_its_size(tmp_path):
    file = tmp_path / "theirs.tflite"
    file.write_text("model")
    with open_store(tmp_path / "runs") as store:
        store.add_measurement(measurement(sha256("model"), path=str(file)))
        file.unlink()
        store.add_measurement(measurement(sha256("model"), path=str(file), num_threads=2))
        assert [row.file.size_bytes for row in store.rows()] == [5, 5]


def test_the_newest_verification_on_the_test_split_counts(tmp_path):
    with open_store(tmp_path) as store:
        store.add_verification(verification(tflite_top1=90.0, verified_utc="2026-11-23T11:00:00+00:00"))
        store.add_verification(verification(tflite_top1=91.0, verified_utc="2026-11-23T12:00:00+00:00"))
        store.add_verification(
            verification(tflite_top1=99.0, split="validation", verified_utc="2026-11-23T13:00:00+00:00")
        )
    assert only_row(tmp_path).accuracy.tflite_top1 == 91.0


def test_a_quick_look_at_a_part_of_the_split_does_not_hide_the_whole(tmp_path):
    with open_store(tmp_path) as store:
        store.add_verification(verification(tflite_top1=90.0, verified_utc="2026-11-23T11:00:00+00:00"))
        store.add_verification(
            verification(tflite_top1=80.0, num_samples=10, verified_utc="2026-11-23T12:00:00+00:00")
        )
    assert only_row(tmp_path).accuracy.tflite_top1 == 90.0


def test_a_copy_verified_without_its_keras_model_does_not_hide_the_drop(tmp_path):
    with open_store(tmp_path) as store:
        store.add_verification(verification(verified_utc="2026-11-23T11:00:00+00:00"))
        alone = {"keras_top1": None, "drop_points": None, "agreement": None}
        store.add_verification(verification(**alone, verified_utc="2026-11-23T12:00:00+00:00"))
    assert only_row(tmp_path).accuracy.drop_points == 0.5


def test_the_data_set_of_the_newest_verification_counts(tmp_path):
    with open_store(tmp_path) as store:
        store.add_verification(verification(tflite_top1=90.0, verified_utc="2026-11-23T11:00:00+00:00"))
        store.add_verification(
            verification(
                tflite_top1=80.0,
                dataset_fingerprint=sha256("another folder named photos"),
                num_samples=10,
                verified_utc="2026-11-23T12:00:00+00:00",
            )
        )
    row = only_row(tmp_path)
    assert (row.accuracy.dataset_fingerprint, row.accuracy.tflite_top1) == (
        sha256("another folder named photos"),
        80.0,
    )


def test_a_file_of_a_users_own_keras_model_has_a_family_of_none(tmp_path):
    artifact = export_artifact(sha256("theirs.keras"), model_name="theirs", family=None, knobs={})
    with open_store(tmp_path) as store:
        store.add_artifact(artifact, tmp_path)
    row = only_row(tmp_path)
    assert (row.model.model_name, row.model.family, row.model.alpha, row.file.run, row.model.parameters) == (
        "theirs",
        None,
        None,
        None,
        None,
    )


def test_retraining_under_the_same_name_replaces_the_run_and_keeps_the_old_files(tmp_path):
    old, new = train_record(), train_record(model_sha256=sha256("second"), test_top1=96.0)
    with open_store(tmp_path) as store:
        store.add_run(old)
        store.add_artifact(export_artifact(old.model_sha256), tmp_path / "old")
        store.add_run(new)
        store.add_artifact(export_artifact(new.model_sha256), tmp_path / "new")
        rows = {row.file.parent_sha256: row for row in store.rows()}
        assert store.runs() == {new.run: new.model_sha256}
    assert rows[new.model_sha256].file.run == new.run
    assert rows[old.model_sha256].file.run is None


def test_a_moved_runs_folder_still_finds_its_files(tmp_path):
    with open_store(tmp_path / "before") as store:
        store.add_artifact(export_artifact(), tmp_path / "before" / "run" / "export")
    (tmp_path / "before").rename(tmp_path / "after")
    expected = tmp_path / "after" / "run" / "export" / export_artifact().path
    assert only_row(tmp_path / "after").file.path == str(expected)


def test_a_figure_that_is_not_finite_is_not_measured(tmp_path):
    with open_store(tmp_path) as store:
        store.add_verification(verification(max_abs_difference=float("nan")))
        store.add_measurement(measurement(median_ms=float("inf"), valid=False, reasons=("overflow",)))
        assert store.verifications(export_artifact().sha256)[0].max_abs_difference is None
    assert only_row(tmp_path).latency.median_ms is None


def test_only_files_that_came_with_a_sidecar_count_as_known(tmp_path):
    with open_store(tmp_path) as store:
        store.add_measurement(measurement(sha256("stranger")))
        store.add_artifact(export_artifact(), tmp_path)
        assert store.artifacts() == {
            (export_artifact().sha256, export_artifact().parent_sha256): tmp_path / export_artifact().path
        }


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from report_records import export_artifact, measurement, train_record, verification
from pipeline.store.store import open_store
writer = int(sys.argv[1])
for number in range(12):
    with open_store(Path(sys.argv[2])) as store:
        store.add_run(train_record())
        store.add_artifact(export_artifact(), Path(sys.argv[2]))
        store.add_verification(verification(seconds=writer + number / 100))
        store.add_measurement(measurement(num_threads=1 + 12 * writer + number))
"""


def test_several_processes_write_a_new_store_at_once_and_nothing_is_lost(tmp_path):
    program = WRITER.format(tests=str(ROOT / "tests"))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(writer), str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for writer in range(4)
    ]
    problems = [writer.communicate(timeout=60)[1] for writer in writers]
    assert problems == [""] * 4
    with open_store(tmp_path) as store:
        assert sorted(row.conditions.num_threads for row in store.rows()) == list(range(1, 49))
        assert len(store.verifications(export_artifact().sha256)) == 48


@pytest.mark.parametrize("precision", list(Precision))
def test_every_precision_comes_back_as_its_word(tmp_path, precision):
    with open_store(tmp_path) as store:
        store.add_artifact(export_artifact(precision=precision), tmp_path)
    assert only_row(tmp_path).file.precision == precision.value


@pytest.mark.parametrize(("agreement", "is_best"), [(100.0, True), (12.0, False)])
def test_a_phone_that_answers_wrongly_is_told_and_never_starred(tmp_path, agreement, is_best):
    artifact = export_artifact()
    on_gpu = {"where": "Google Pixel 7 1a2b3c4d", "delegate": "gpu", "runtime": "benchmark_model"}
    with open_store(tmp_path) as store:
        store.add_run(train_record())
        store.add_artifact(artifact, tmp_path)
        store.add_verification(verification())
        store.add_measurement(measurement(**on_gpu))
        store.add_measurement(measurement(**{**on_gpu, "delegate": "cpu with XNNPACK"}))
        store.add_phone_verification(phone_verification(agreement=agreement))
        rows = {row.conditions.delegate: row for row in store.rows()}
    assert (rows["gpu"].answers.phone_agreement, rows["gpu"].pareto) == (agreement, is_best)
    assert (rows["cpu with XNNPACK"].answers.phone_agreement, rows["cpu with XNNPACK"].pareto) == (None, True)
    told = [line for line in doubts(list(rows.values())) if line.startswith("wrong: ")]
    assert len(told) == (0 if is_best else 1)

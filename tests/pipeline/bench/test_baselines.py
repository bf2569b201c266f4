"""Each line of `pipeline bench` beside the float32 file of its model, or the file named first."""

from __future__ import annotations

import io
import math

import pytest
from report_records import export_artifact, measurement, sha256
from rich.console import Console

from export.artifact import sidecar_content, sidecar_path
from export.precisions import Precision
from pipeline.bench.baselines import against_baselines
from pipeline.bench.host import MeasuredFile
from pipeline.bench.table import latency_tables, table_rows

MILLISECONDS = {
    Precision.DYNAMIC: 5.0,
    Precision.FLOAT16: 10.05,
    Precision.FLOAT32: 10.0,
    Precision.INT16X8: 40.0,
    Precision.INT8: 2.0,
}
"""In alphabetical order, as a run's files are measured."""


def measured(path, milliseconds, *, noise=0.0, **changes):
    """A file whose rounds lie around that time."""
    medians = tuple(milliseconds * math.exp(noise * math.sin(3.7 * number)) for number in range(10))
    changes.setdefault("round_sessions", ("monday",) * 10)
    found = measurement(
        changes.pop("artifact_sha256", None) or sha256(str(path)),
        **{"path": str(path), "median_ms": milliseconds, "valid": True, "reasons": (), **changes},
    )
    return MeasuredFile(measurement=found, round_medians_ms=medians, size_bytes=1)


def exported(folder, precision, milliseconds, *, model="mobilenet", **changes):
    """A file with its sidecar, and how long it takes."""
    artifact = export_artifact(sha256(model), precision, model_name=model)
    path = folder / artifact.path
    sidecar_path(path).write_bytes(sidecar_content(artifact))
    return measured(path, milliseconds, artifact_sha256=artifact.sha256, **changes)


def drawn(rows, width=200):
    console = Console(file=io.StringIO(), width=width)
    for table in latency_tables(rows, width=width):
        console.print(table)
    return console.file.getvalue()


def test_every_precision_is_compared_with_its_model_s_float32(tmp_path):
    files = [exported(tmp_path, precision, ms) for precision, ms in MILLISECONDS.items()]
    found = dict(zip(MILLISECONDS, against_baselines(files, {}), strict=True))
    assert found.pop(Precision.FLOAT32) is None
    for precision, each in found.items():
        assert each.is_float32
        assert each.comparison.ratio == pytest.approx(MILLISECONDS[precision] / 10)
    text = drawn(table_rows(files, {}))
    assert [line.split()[-1] for line in text.splitlines()[1:3]] == ["against", "float32"]
    assert "0.200x as long" in text
    assert "4.00x as long" in text


def test_two_models_have_each_its_own_float32(tmp_path):
    files = [
        exported(tmp_path, precision, factor * MILLISECONDS[precision], model=model)
        for model, factor in (("densenet", 7), ("mobilenet", 1))
        for precision in (Precision.FLOAT32, Precision.INT8)
    ]
    ratios = [each and each.comparison.ratio for each in against_baselines(files, {})]
    assert ratios == [None, pytest.approx(0.2), None, pytest.approx(0.2)]


def test_numbers_of_threads_and_delegates_are_never_compared(tmp_path):
    files = [
        exported(tmp_path, precision, MILLISECONDS[precision] / num_threads, num_threads=num_threads)
        for num_threads in (1, 2)
        for precision in (Precision.FLOAT32, Precision.INT8)
    ]
    files.append(exported(tmp_path, Precision.FLOAT32, 3.0, delegate="gpu"))
    ratios = [each and each.comparison.ratio for each in against_baselines(files, {})]
    assert ratios == [None, pytest.approx(0.2), None, pytest.approx(0.2), None]


def test_without_a_float32_it_is_the_file_named_first(tmp_path):
    files = [measured(tmp_path / f"{name}.tflite", ms) for name, ms in (("zebra", 4), ("ape", 2), ("bee", 8))]
    assert [each and each.comparison.ratio for each in against_baselines(files, {})] == [None, 0.5, 2.0]
    assert [line.split()[-1] for line in drawn(table_rows(files, {})).splitlines()[1:3]] == [
        "against",
        "zebra",
    ]


def test_a_baseline_that_is_not_valid_gives_way(tmp_path):
    files = [
        measured(tmp_path / "first.tflite", 1.0, valid=False, reasons=("it crashed",)),
        measured(tmp_path / "second.tflite", 2.0),
        measured(tmp_path / "third.tflite", 4.0),
    ]
    found = against_baselines(files, {})
    assert found[:2] == [None, None]
    assert found[2].comparison.ratio == 2.0


def test_a_line_says_with_what_it_is_compared_where_that_differs(tmp_path):
    files = [
        exported(tmp_path, Precision.FLOAT32, 10.0),
        exported(tmp_path, Precision.INT8, 2.0),
        measured(tmp_path / "theirs.tflite", 5.0),
    ]
    text = drawn(table_rows(files, {}))
    assert "0.200x as long (its float32)" in text
    assert "0.500x as long (mobilenet_float32)" in text


def test_a_second_float32_of_a_model_is_compared_with_the_first_by_its_name(tmp_path):
    for name in ("plain", "rewritten"):
        (tmp_path / name).mkdir()
    files = [
        exported(tmp_path / name, Precision.FLOAT32, 10.0 / n) for n, name in ((1, "plain"), (2, "rewritten"))
    ]
    text = drawn(table_rows(files, {}))
    assert "0.500x as long" in text
    assert "its float32" not in text
    assert [line.split()[-1] for line in text.splitlines()[1:3]] == ["against", "plain/mobilenet_float32"]


def test_a_sidecar_of_another_file_says_nothing(tmp_path):
    stale = exported(tmp_path, Precision.FLOAT32, 10.0)
    renewed = measured(stale.measurement.path, 10.0)
    files = [measured(tmp_path / "a.tflite", 5.0), renewed, exported(tmp_path, Precision.INT8, 2.0)]
    found = against_baselines(files, {})
    assert [each and each.is_float32 for each in found] == [None, False, False]


def test_what_is_no_more_than_noise_has_no_ratio(tmp_path):
    files = [measured(tmp_path / "a.tflite", 5.0), measured(tmp_path / "b.tflite", 5.01, noise=0.02)]
    text = drawn(table_rows(files, {}))
    assert "noise" in text
    assert "noise (" not in text


def test_an_interval_too_wide_for_a_verdict_is_shown_itself(tmp_path):
    files = [measured(tmp_path / "a.tflite", 5.0), measured(tmp_path / "b.tflite", 8.0, noise=2.0)]
    (_, found) = against_baselines(files, {})
    assert found.comparison.low < 1 < found.comparison.high
    assert "unsteady: " in drawn(table_rows(files, {}))
    assert "noise" not in drawn(table_rows(files, {}))

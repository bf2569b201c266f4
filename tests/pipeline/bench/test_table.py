import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.bench.statistics import Comparison
from pipeline.bench.table import (
    TableRow,
    latency_tables,
    megabytes,
    middle,
    milliseconds,
    short_names,
    verdict,
)
from pipeline.records.measurement import Measurement


def measurement(**changes):
    figures = dict.fromkeys(
        ("avg_ms", "std_ms", "max_ms", "p5_ms", "p95_ms", "first_ms", "init_ms", "noise_ms"), 1.5
    )
    return Measurement(
        **{
            **figures,
            "artifact_sha256": "0" * 64,
            "path": "model.tflite",
            "where": "host",
            "machine": "a machine",
            "runtime": "litert",
            "runtime_version": "2.3.0",
            "delegate": "cpu",
            "num_threads": 2,
            "warmup_runs": 1,
            "num_runs": 50,
            "num_rounds": 10,
            "median_ms": 12.345,
            "min_ms": 0.1284,
            "peak_memory_bytes": 5_860_000,
            "valid": True,
            "reasons": (),
            "measured_utc": "2026-01-01T00:00:00+00:00",
            **changes,
        }
    )


def drawn(rows, width):
    console = Console(file=io.StringIO(), width=width)
    for table in latency_tables(rows, width=width):
        console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.12845, "0.128"),
        (0.0004567, "0.00046"),
        (1.2345, "1.23"),
        (9.999, "10.0"),
        (12.345, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (12345.6, "12,346"),
    ],
)
def test_milliseconds_have_three_digits(value, text):
    assert milliseconds(value) == text


def test_a_tool_that_gave_no_median_has_its_average_called_so():
    old = measurement(median_ms=None, avg_ms=7.1052)
    assert "7.11 average" in drawn([TableRow(name="old", measurement=old, size_bytes=1)], 200)
    assert (middle(old, " ms"), middle(measurement(), " ms")) == ("7.11 ms average", "12.3 ms")
    assert middle(measurement(median_ms=None, avg_ms=None)) == "-"


def test_megabytes_are_a_million_bytes():
    assert megabytes(578_888) == "0.579"
    assert megabytes(None) == "-"


@pytest.mark.parametrize(
    ("larger", "low", "high", "text"),
    [
        (True, 2.2, 2.4, "2.31x as long"),
        (True, 1.2, 4.5, "1.20 to 4.50x as long"),
        (False, 0.99, 1.02, "noise"),
        (False, 0.8, 12.0, "unsteady: 0.800 to 12.0x"),
        (None, None, None, "too few rounds (2.31x)"),
    ],
)
def test_a_verdict_says_whether_it_is_noise(larger, low, high, text):
    assert verdict(Comparison(ratio=2.31, low=low, high=high, larger_than_noise=larger)) == text


def test_a_wide_terminal_gets_one_table_and_a_narrow_one_two_with_nothing_cut():
    name = "mobilenet_alpha0.25_128_int8"
    rows = [TableRow(name=name, measurement=measurement(), size_bytes=578_888)]
    wide, narrow = drawn(rows, 160), drawn(rows, 80)
    assert wide.count(name) == 1
    assert narrow.count(name) == 2
    for figure in ("12.3", "0.128", "5.86", "0.579"):
        assert figure in wide
        assert figure in narrow
    assert "…" not in narrow


NOT_IN_THE_TABLE = ("warm_init_ms", "tool_sha256", "series", "wait_share", "others_cpus")
"""Optional fields that are no figures of the table; the last two stand below it."""


def test_a_figure_that_is_missing_is_a_dash_and_never_zero():
    optional = [field.name for field in dataclasses.fields(Measurement) if "None" in str(field.type)]
    figures = [name for name in optional if name not in NOT_IN_THE_TABLE]
    assert len(figures) == 11
    nothing = dict.fromkeys(figures)
    text = drawn([TableRow(name="m", measurement=measurement(**nothing, valid=False), size_bytes=None)], 160)
    assert text.splitlines()[-2].split() == ["m", *"-" * 11]


def test_a_name_in_brackets_is_not_taken_for_markup():
    row = TableRow(name="model[red]", measurement=measurement(), size_bytes=1)
    assert "model[red]" in drawn([row], 160)


def test_equal_file_names_are_told_apart_by_their_runs():
    files = [Path("runs/a/export/m.tflite"), Path("runs/b/export/m.tflite"), Path("other/n.tflite")]
    assert short_names(files) == ["a/m", "b/m", "n"]
    assert short_names([files[0], files[0]]) == ["m", "m"]
    twins = [Path("one/a/export/m.tflite"), Path("two/a/export/m.tflite")]
    assert short_names(twins) == ["one/a/export/m", "two/a/export/m"]


def test_the_threads_have_a_column_only_where_they_differ():
    one, two = (TableRow(name="m", measurement=measurement(num_threads=num), size_bytes=1) for num in (1, 2))
    assert "threads" not in drawn([one, one], 160)
    assert "threads" in drawn([one, two], 160)


def test_delegate_and_warm_start_have_columns_only_where_phones_measured_them():
    cpu, gpu = (
        TableRow(name="m", measurement=measurement(delegate=name, warm_init_ms=3.21), size_bytes=1)
        for name in ("cpu with XNNPACK", "gpu")
    )
    assert "delegate" not in drawn([cpu, cpu], 200)
    assert "delegate" in drawn([cpu, gpu], 200)
    assert "3.21" in drawn([cpu], 200)
    host = TableRow(name="m", measurement=measurement(), size_bytes=1)
    assert "warm" not in drawn([host], 200)

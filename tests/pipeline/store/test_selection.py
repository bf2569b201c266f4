"""The rows that --where, --family, --since and --top leave, against the same choice made in Python."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import fill_zoo, measurement, sha256

from pipeline.errors import UsageError
from pipeline.store.condition import condition_from, since_from
from pipeline.store.selection import Selection
from pipeline.store.store import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    with open_store(folder) as store:
        with store.together():
            fill_zoo(store, folder)
            for phone in ("Google Pixel 8 1a2b", "o'Phone\"; DROP TABLE files; --"):
                store.add_measurement(
                    measurement(
                        sha256(phone), where=phone, path=phone, measured_utc="2026-12-01T00:00:00+00:00"
                    )
                )
        yield store


@pytest.mark.parametrize(
    ("typed", "holds"),
    [
        ("precision=int8", lambda row: row.file.precision == "int8"),
        ("precision = INT8", lambda row: row.file.precision == "int8"),
        ("precision!=int8", lambda row: row.file.precision != "int8"),
        ("device~pixel", lambda row: "Pixel" in (row.conditions.where or "")),
        ("device~xeon", lambda row: row.conditions.machine == "Xeon 8481C"),
        ("top1>=93.5", lambda row: (row.accuracy.tflite_top1 or 0) >= 93.5),
        ("top1>=93.5%", lambda row: (row.accuracy.tflite_top1 or 0) >= 93.5),
        ("size<1MB", lambda row: row.file.size_bytes is not None and row.file.size_bytes < 1e6),
        ("median>0.01s", lambda row: (row.latency.median_ms or 0) > 10),
        ("valid=false", lambda row: row.latency.valid is False),
        ("median_ms=none", lambda row: row.latency.median_ms is None),
        ("median_ms!=none", lambda row: row.latency.median_ms is not None),
        ("reasons~killed", lambda row: any("killed" in reason for reason in row.latency.reasons)),
        ('where="; DROP TABLE files; --', lambda _: False),
        ("where~'Phone\"; DROP TABLE files", lambda row: "DROP" in (row.conditions.where or "")),
    ],
)
def test_a_condition_leaves_the_rows_that_it_holds_for(store, typed, holds):
    found = [(row.file.sha256, row.conditions) for row in store.rows(Selection(where=(typed,)))]
    assert found == [(row.file.sha256, row.conditions) for row in store.rows() if holds(row)]


def test_conditions_are_combined_and_the_most_accurate_are_the_top(store):
    selection = Selection(families=("mobilenet",), where=("precision=int8", "top1>=80"), top=2)
    rows = store.rows(selection)
    wanted = [row for row in store.rows() if row.model.family == "mobilenet" and row.file.precision == "int8"]
    wanted.sort(key=lambda row: -row.accuracy.tflite_top1)
    assert {row.file.sha256 for row in rows} == {row.file.sha256 for row in wanted[:2]}
    assert len(store.rows(Selection(since="2026-11-30"))) == 2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("precison=int8", "unknown column of --where 'precison'. Did you mean 'precision'?"),
        ("int8", "is no condition. Give COLUMN"),
        ("pareto=true", "unknown column"),
        ("top1>=0.8", "top1 is in percent. Write 80 for 80%"),
        ("top1~9", "is a number"),
        ("median_ms<fast", "is a number"),
        ("precision>int8", "is text"),
        ("valid=maybe", "true or false"),
        ('1=1; DROP TABLE files"=2', "unknown column of --where '1'"),
    ],
)
def test_a_wrong_condition_is_one_line_that_says_what_to_write(typed, message):
    with pytest.raises(UsageError) as refused:
        Selection(where=(typed,))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.text())
def test_nothing_that_is_typed_becomes_sql(text):
    for column in ("model", "where", "device", "path"):
        condition = condition_from(f"{column}!={text}")
        assert condition.sql.count("?") == len(condition.values)
        assert text.strip() in ("", *condition.values) or text.strip().lower() == "none"
        assert condition.sql.replace("NOT NULL", "").count("NULL") == 0


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        ("2026-11-23", "2026-11-23T00:00:00+00:00"),
        ("2026-11-23T10:30", "2026-11-23T10:30:00+00:00"),
        ("2026-11-23T10:30+02:00", "2026-11-23T08:30:00+00:00"),
        ("7d", "2026-11-21T12:00:00+00:00"),
        ("12h", "2026-11-28T00:00:00+00:00"),
    ],
)
def test_since_is_a_day_a_time_or_how_long_ago(typed, start):
    assert since_from(typed, datetime(2026, 11, 28, 12, tzinfo=UTC)).values == (start, start)


@pytest.mark.parametrize("typed", ["yesterday", "", "12x", "2026-13-01"])
def test_what_is_no_time_is_one_line(typed):
    with pytest.raises(UsageError, match=r"is no time\. Give a day"):
        since_from(typed)

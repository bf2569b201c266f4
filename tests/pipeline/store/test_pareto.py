"""Pareto-best, against the definition tried on every pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import changed, export_artifact, measurement, verification

from pipeline.records.report_row import ReportRow
from pipeline.store.pareto import mark_pareto, undominated
from pipeline.store.store import open_store

few = st.integers(0, 4).map(float)
POINTS = st.lists(st.tuples(few, few, few), max_size=25)


@given(POINTS)
def test_the_kept_points_are_those_that_no_other_beats(points):
    def beaten(point: tuple[float, float, float]) -> bool:
        return any(
            all(theirs <= mine for theirs, mine in zip(other, point, strict=True)) and other != point
            for other in points
        )

    assert undominated(points) == [place for place, point in enumerate(points) if not beaten(point)]


def test_of_two_equal_points_both_are_kept():
    assert undominated([(1, 2, 3), (1, 2, 3), (1, 2, 4)]) == [0, 1]


@pytest.fixture
def row(tmp_path) -> ReportRow:
    with open_store(tmp_path) as store:
        store.add_artifact(export_artifact(), tmp_path)
        store.add_verification(verification())
        store.add_measurement(measurement())
        return store.rows()[0]


def better(row: ReportRow, **changes) -> ReportRow:
    """A row that beats `row` in all three."""
    return changed(row, **{"size_bytes": 1, "median_ms": 0.1, "tflite_top1": 99.9, **changes})


def test_a_row_that_is_beaten_in_all_three_is_not_pareto_best(row):
    assert [found.pareto for found in mark_pareto([row, better(row)])] == [False, True]


@pytest.mark.parametrize(
    "condition",
    [
        {"dataset_fingerprint": "other"},
        {"split": "validation"},
        {"num_samples": 7},
        {"where": "Pixel 8"},
        {"machine": "M3"},
        {"runtime": "tflite-runtime"},
        {"runtime_version": "2.4.0"},
        {"delegate": "gpu"},
        {"num_threads": 4},
    ],
    ids=lambda condition: next(iter(condition)),
)
def test_rows_measured_under_different_conditions_do_not_compete(row, condition):
    assert all(found.pareto for found in mark_pareto([row, better(row, **condition)]))


def test_a_partly_delegated_run_competes_with_its_own_kind_alone(row):
    whole = better(row, delegate="gpu", median_ms=3.0)
    part = better(row, delegate="gpu (294 of 295 nodes)", median_ms=2.0)
    other_part = better(row, delegate="gpu (40 of 49 nodes)", median_ms=1.0)
    assert [found.pareto for found in mark_pareto([whole, part])] == [True, True]
    assert [found.pareto for found in mark_pareto([part, other_part])] == [False, True]


@pytest.mark.parametrize(
    "lack",
    [{"valid": False}, {"valid": None, "median_ms": None}, {"tflite_top1": None}, {"size_bytes": None}],
    ids=["invalid", "not measured", "not verified", "no size"],
)
def test_a_row_without_a_valid_figure_neither_wins_nor_beats(row, lack):
    assert [found.pareto for found in mark_pareto([row, better(row, **lack)])] == [True, False]

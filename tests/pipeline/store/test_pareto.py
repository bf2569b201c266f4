"""Pareto-best, against the definition tried on every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from report_records import changed, export_artifact, measurement, verification

from pipeline.records.measurement import setting_of
from pipeline.records.report_row import ReportRow
from pipeline.sessions import SessionSpread
from pipeline.store.pareto import mark_pareto, undominated
from pipeline.store.store import open_store

few = st.integers(0, 4).map(float)
POINTS = st.lists(st.tuples(few, few, few), max_size=25)


def beats(one, other):
    """Whether a point whose figures are known for certain is nowhere worse and somewhere better."""
    return one != other and all(ours <= theirs for ours, theirs in zip(one, other, strict=True))


def kept(points) -> list[int]:
    """The places of the points that `undominated` keeps."""
    pairs = np.array([[beats(one, other) for other in points] for one in points], bool)
    return undominated(len(points), lambda ones, others: pairs[ones, others])


@given(st.integers(0, 12).flatmap(lambda num: arrays(bool, (num, num))))
def test_with_any_relation_the_unbeaten_are_kept_and_the_rest_is_examined_again(pairs):
    left, wanted = list(range(len(pairs))), []
    while left:
        best = [each for each in left if not any(pairs[other, each] for other in left)] or left[:1]
        wanted += best
        left = [each for each in left if each not in best and not any(pairs[one, each] for one in best)]
    assert undominated(len(pairs), lambda ones, others: pairs[ones, others]) == sorted(wanted)


@given(POINTS)
def test_the_kept_points_are_those_that_no_other_beats(points):
    def beaten(point: tuple[float, float, float]) -> bool:
        return any(
            all(theirs <= mine for theirs, mine in zip(other, point, strict=True)) and other != point
            for other in points
        )

    assert kept(points) == [place for place, point in enumerate(points) if not beaten(point)]


def test_of_two_equal_points_both_are_kept():
    assert kept([(1, 2, 3), (1, 2, 3), (1, 2, 4)]) == [0, 1]


@pytest.fixture(scope="module")
def row(tmp_path_factory) -> ReportRow:
    folder = tmp_path_factory.mktemp("store")
    with open_store(folder) as store:
        store.add_artifact(export_artifact(), folder)
        store.add_verification(verification())
        store.add_measurement(measurement(round_sessions=("monday",) * 5))
        return store.rows()[0]


def better(row: ReportRow, **changes) -> ReportRow:
    """A row that beats `row` in all three."""
    return changed(row, **{"size_bytes": 1, "median_ms": 0.1, "tflite_top1": 99.9, **changes})


def test_a_row_that_is_beaten_in_all_three_is_not_pareto_best(row):
    assert [found.pareto for found in mark_pareto([row, better(row)], {})] == [False, True]


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
    assert all(found.pareto for found in mark_pareto([row, better(row, **condition)], {}))


def test_a_partly_delegated_run_competes_with_its_own_kind_alone(row):
    whole = better(row, delegate="gpu", median_ms=3.0)
    part = better(row, delegate="gpu (294 of 295 nodes)", median_ms=2.0)
    other_part = better(row, delegate="gpu (40 of 49 nodes)", median_ms=1.0)
    assert [found.pareto for found in mark_pareto([whole, part], {})] == [True, True]
    assert [found.pareto for found in mark_pareto([part, other_part], {})] == [False, True]


@pytest.mark.parametrize(
    "lack",
    [{"valid": False}, {"valid": None, "median_ms": None}, {"tflite_top1": None}, {"size_bytes": None}],
    ids=["invalid", "not measured", "not verified", "no size"],
)
def test_a_row_without_a_valid_figure_neither_wins_nor_beats(row, lack):
    assert [found.pareto for found in mark_pareto([row, better(row, **lack)], {})] == [True, False]


def in_session(row: ReportRow, **changes) -> ReportRow:
    """The row, measured in one session on a thousand images."""
    figures = {"session": "monday", "num_samples": 1000, "tflite_top1": 90.0, "agreement": 99.0}
    return changed(row, **{**figures, "median_ms": 1.0, "noise_ms": 0.01, "size_bytes": 1000, **changes})


def starred(*rows: ReportRow, spreads=None) -> list[bool]:
    return [found.pareto for found in mark_pareto(rows, spreads or {})]


def test_tenths_of_a_point_star_one_file_of_a_net_alone(row):
    files = [
        in_session(row, sha256=name, size_bytes=size, median_ms=ms, tflite_top1=top1)
        for name, size, ms, top1 in (
            ("float32", 4000, 2.00, 90.2),
            ("float16", 2000, 2.01, 90.2),
            ("dynamic", 1100, 1.90, 90.1),
            ("int16x8", 1090, 9.00, 90.3),
            ("int8", 1000, 1.00, 89.9),
        )
    ]
    assert starred(*files) == [False, False, False, False, True]
    points = list(map(beats_point, files))
    assert kept(points) == [0, 1, 2, 3, 4]  # what the figures taken at their word would star


def beats_point(row: ReportRow):
    return row.file.size_bytes, row.latency.median_ms, -row.accuracy.tflite_top1


def test_a_difference_beyond_the_sampling_error_keeps_the_larger_file(row):
    # 3 points are 30 of 1000 images; of one net at most 20 are answered otherwise than by Keras
    small, large = in_session(row, sha256="a", tflite_top1=87.0), in_session(row, sha256="b", size_bytes=4000)
    assert starred(small, large) == [True, True]
    # of two nets 30 images are chance: two independent samples differ by as many once in 24
    other_net = changed(large, parent_sha256="another net", tflite_top1=89.7)
    assert starred(changed(small, tflite_top1=87.0), other_net) == [True, False]


def test_scipy_calls_the_same_differences_chance(row):
    scipy_stats = pytest.importorskip("scipy.stats")
    for points in (0.5, 1.0, 2.0, 2.6, 2.9, 3.5, 5.0):
        small = in_session(row, sha256="a", tflite_top1=90.0 - points)
        large = in_session(row, sha256="b", size_bytes=4000, parent_sha256="another net")
        right = [round(10 * each.accuracy.tflite_top1) for each in (small, large)]
        table = [[count, 1000 - count] for count in right]
        # Yates's correction is half an image for each of the two, as ours is one for their difference
        expected = scipy_stats.chi2_contingency(table, correction=True).pvalue < 0.05
        assert starred(small, large) == [True, expected], points


def test_a_difference_within_the_noise_keeps_one_and_beyond_it_both(row):
    small = in_session(row, sha256="a", median_ms=1.013)
    assert starred(small, in_session(row, sha256="b", size_bytes=2000)) == [True, False]
    small = in_session(row, sha256="a", median_ms=1.016)  # the noise of both is 0.0142
    assert starred(small, in_session(row, sha256="b", size_bytes=2000)) == [True, True]


def test_a_figure_that_is_mostly_noise_beats_none_by_it(row):
    unsteady = in_session(row, sha256="a", size_bytes=990, median_ms=2.0, noise_ms=1.9)
    assert starred(unsteady, in_session(row, sha256="b")) == [True, True]


def test_of_two_sessions_the_noise_holds_what_they_differ_by(row):
    small = in_session(row, sha256="a", median_ms=1.05)
    large = in_session(row, sha256="b", size_bytes=2000, session="tuesday")
    spread = {setting_of(row.conditions): SessionSpread(log_std=0.02, num_sessions=11)}
    assert starred(small, large, spreads=spread) == [True, False]  # 1.05 is within 1.065
    assert starred(changed(small, median_ms=1.08), large, spreads=spread) == [True, True]


def test_without_a_verdict_on_the_latency_only_a_file_slower_by_a_quarter_dominates_none(row):
    large = in_session(row, sha256="b", size_bytes=2000, session="tuesday")
    assert starred(in_session(row, sha256="a", median_ms=1.001), large) == [True, False]
    assert starred(in_session(row, sha256="a", median_ms=1.3), large) == [True, True]
    assert starred(in_session(row, sha256="a", median_ms=0.999), large) == [True, False]
    # nor is a file without a star for being slower alone
    assert starred(in_session(row, sha256="a"), changed(large, size_bytes=1000, median_ms=0.5)) == [
        True,
        True,
    ]
    unknown = in_session(row, sha256="a", noise_ms=None, median_ms=1.001)
    assert starred(unknown, in_session(row, sha256="b", size_bytes=2000)) == [True, False]


def test_a_file_that_only_one_without_a_star_dominates_has_a_star(row):
    # each is as fast as the next within the noise, the first measurably slower than the last
    chain = [in_session(row, sha256=str(n), size_bytes=n, median_ms=1.03 - 0.01 * n) for n in (1, 2, 3)]
    assert starred(*chain) == [True, False, True]


figures = st.tuples(
    st.integers(1, 3),
    st.integers(90, 110),
    st.integers(0, 8),
    st.sampled_from([880, 895, 900, 905, 920]),
    st.sampled_from(["monday", "tuesday", None]),
    st.sampled_from(["net", "other net"]),
)


@given(st.lists(figures, min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_there_is_always_a_star_and_the_order_of_the_rows_does_not_move_it(row, found, random):
    rows = [
        in_session(
            row,
            sha256=str(place),
            size_bytes=size,
            median_ms=ms / 100,
            noise_ms=noise / 1000 or None,
            tflite_top1=right / 10,
            session=session,
            parent_sha256=parent,
        )
        for place, (size, ms, noise, right, session, parent) in enumerate(found)
    ]
    stars = {row.file.sha256 for row in mark_pareto(rows, {}) if row.pareto}
    assert stars
    random.shuffle(rows)
    assert {row.file.sha256 for row in mark_pareto(rows, {}) if row.pareto} == stars

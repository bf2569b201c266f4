"""Figures in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records.interval import wilson_interval
from pipeline.report import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00123, "0.00123"),
        (0.1299, "0.130"),
        (1.234, "1.23"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.94, "99.9"),
        (99.96, "100"),
        (1234.4, "1234"),
    ],
)
def test_three_significant_digits(value, text):
    assert figures.three_digits(value) == text


@given(st.floats(1e-6, 1e6))
def test_the_words_are_within_half_a_percent_of_the_figure(value):
    assert math.isclose(float(figures.three_digits(value)), value, rel_tol=0.005)


def test_units_stand_by_the_figures():
    assert figures.size_text(1_012_345) == "1.01 MB"
    assert figures.size_text(578) == "578 B"
    assert figures.size_text(52_598) == "52.6 kB"
    assert figures.count_text(569_000_000) == "569 M"
    assert figures.ms_text(0.13) == "0.130 ms"
    assert figures.percent_text(93.9) == "93.90%"
    assert figures.range_text(1.21, 1.31) == "1.21–1.31 ms"
    assert figures.seconds_text(345.6) == "5 min 46 s"
    assert figures.seconds_text(7500) == "2 h 05 min"
    assert figures.utc_text("2026-11-23T10:08:00+00:00") == "2026-11-23 10:08 UTC"


@pytest.mark.parametrize(("drop", "text"), [(0.5, "-0.50"), (-0.25, "+0.25"), (0.0, "0.00"), (0.001, "0.00")])
def test_a_drop_is_told_as_a_change_with_its_sign(drop, text):
    assert figures.points_text(drop) == text


@pytest.mark.parametrize(
    "words",
    [
        figures.size_text,
        figures.count_text,
        figures.ms_text,
        figures.percent_text,
        figures.points_text,
        figures.utc_text,
    ],
)
def test_what_is_missing_is_not_measured_and_never_zero(words):
    assert words(None) == "not measured"


def test_the_interval_is_the_one_that_scipy_gives():
    stats = pytest.importorskip("scipy.stats")
    for right, images in ((0, 5), (1, 338), (337, 338), (95, 101), (50, 100), (7210, 10_000), (3, 3)):
        found = wilson_interval(100 * right / images, images)
        wanted = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
        assert found == pytest.approx((100 * wanted.low, 100 * wanted.high), abs=1e-6)


def test_a_share_without_images_has_no_interval():
    assert wilson_interval(None, 100) is None
    assert wilson_interval(90.0, None) is None
    assert wilson_interval(90.0, 0) is None
    assert figures.interval_text(None, None) == "not measured"
    assert figures.interval_text(87.46, 97.24) == "87.5–97.2%"

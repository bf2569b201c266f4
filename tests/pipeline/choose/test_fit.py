"""The line of top-1 against log mult-adds and its predictions, beside numpy and printed tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.registry import FAMILIES
from pipeline.choose.fit import Point, fit, t_quantile

MANY = 10**9
"""Images enough that counting them adds no scatter."""


# Student's t as tables print it, two-sided 5%; Fisher and Yates, Statistical Tables, Table III
T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 7: 2.365, 10: 2.228, 30: 2.042}


@pytest.mark.parametrize("freedom", T_TABLE)
def test_t_is_the_printed_one(freedom):
    assert t_quantile(0.975, freedom) == pytest.approx(T_TABLE[freedom], abs=5e-4)


def test_line_and_interval_are_those_of_least_squares():
    random = np.random.default_rng(0)
    macs = np.array([10, 20, 40, 90, 200, 500]) * 1_000_000
    tops = 20 + 15 * np.log10(macs / 1e6) + random.normal(0, 1.5, len(macs))
    found = fit({"a": [Point(macs=int(m), top1=t) for m, t in zip(macs, tops, strict=True)]}, num_images=MANY)
    design = np.column_stack([np.ones(len(macs)), np.log10(macs)])
    solved, (squares,), _, _ = np.linalg.lstsq(design, tops, rcond=None)
    assert found.lines["a"].slope == pytest.approx(solved[1])
    assert found.lines["a"].r_squared == pytest.approx(np.corrcoef(design[:, 1], tops)[0, 1] ** 2)
    row = np.array([1, math.log10(300e6)])
    wide = math.sqrt(1 + row @ np.linalg.inv(design.T @ design) @ row)  # the textbook's matrix form
    half = T_TABLE[4] * math.sqrt(squares / 4) * wide
    predicted = found.predict("a", 300_000_000)
    middle = float(row @ solved)
    expected = (middle, middle - half, middle + half)
    assert (predicted.top1, predicted.low, predicted.high) == pytest.approx(expected, rel=1e-4)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random, inside = np.random.default_rng(1), 0
    logs = np.array([7.0, 7.5, 8.0])
    for _ in range(400):
        points = {
            family: [
                Point(macs=round(10**x), top1=float(40 + 10 * (x - 7) + random.normal(0, 1))) for x in logs
            ]
            for family in ("a", "b")
        }
        truth = 40 + 10 * 0.25 + random.normal(0, 1)
        predicted = fit(points, num_images=MANY).predict("a", round(10**7.25))
        inside += predicted.low <= truth <= predicted.high
    assert 0.92 < inside / 400 < 0.98  # 95%, give or take two standard errors


def test_the_papers_mobilenets_lie_on_a_line():
    # Howard et al. 2017, Figure 4: "log linear ... with a jump at alpha 0.25"
    rows = [row for row in FAMILIES["mobilenet"].published if row.source.startswith("TensorFlow slim")]
    points = [Point(macs=round(row.mmacs * 1e6), top1=row.top1) for row in rows]
    assert fit({"mobilenet": points}, num_images=MANY).lines["mobilenet"].r_squared > 0.95


def test_too_few_nets_predict_nothing():
    two = {"a": [Point(macs=10, top1=50.0), Point(macs=100, top1=60.0)]}
    assert fit(two, num_images=100).predict("a", 50) is None
    assert fit({"a": [Point(macs=10, top1=50.0)]}, num_images=100).lines == {}
    assert fit({}, num_images=100).predict("a", 50) is None


def test_equal_nets_have_the_scatter_of_counting():
    points = {"a": [Point(macs=m, top1=50.0) for m in (10, 100, 1000)]}
    assert fit(points, num_images=100).deviation == pytest.approx(5.0)  # sqrt(0.5 * 0.5 / 100)


def test_a_percentage_stays_one():
    points = {"a": [Point(macs=m, top1=t) for m, t in ((10, 80.0), (100, 90.0), (1000, 99.0))]}
    predicted = fit(points, num_images=100).predict("a", 100_000)
    assert predicted.high == 100.0

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.statistics import compare, drift, noise_ms, percentile, signed_rank_interval, summarize

LATENCIES = st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=60)


@given(LATENCIES)
def test_statistics_equal_numpys(samples):
    found = summarize(samples)
    expected = {
        "median_ms": np.median(samples),
        "avg_ms": np.mean(samples),
        "min_ms": np.min(samples),
        "max_ms": np.max(samples),
        "p5_ms": np.percentile(samples, 5),
        "p95_ms": np.percentile(samples, 95),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9)
    # the spread of nearly equal numbers is a difference of large ones
    assert found.std_ms == pytest.approx(np.std(samples), rel=1e-6, abs=1e-9 * max(samples))


@given(LATENCIES, st.floats(0, 100))
def test_a_percentile_equals_numpys(samples, percent):
    assert percentile(sorted(samples), percent) == pytest.approx(np.percentile(samples, percent), rel=1e-9)


def test_the_interval_is_the_one_in_the_tables():
    # two-sided 5% critical values of the signed-rank sum: n=6: 0, n=10: 8, n=15: 25, n=20: 52, n=30: 137
    # (Hollander, Wolfe and Chicken, table A.4); 1..n have the Walsh averages that count pairs
    for num, critical in ((6, 0), (10, 8), (15, 25), (20, 52), (30, 137)):
        values = [float(value) for value in range(num)]
        walsh = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
        interval = signed_rank_interval(values)
        assert (interval.low, interval.high) == (walsh[critical], walsh[-1 - critical])


def test_the_verdict_is_scipys():
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    for _ in range(200):
        ours, others = rng.lognormal(0.03, 0.05, (2, 12))
        others /= 1.03
        expected = scipy_stats.wilcoxon(np.log(ours / others), method="exact").pvalue <= 0.05
        assert compare(ours, others).larger_than_noise == expected


def drifting_rounds(rng, *, ratio, num_rounds=10):
    """Round medians of two files on a machine that slows by half and toggles between two speeds."""
    drift = np.linspace(1, 1.5, num_rounds) * rng.choice([1.0, 1.35], num_rounds)
    ours, others = rng.lognormal(0, 0.02, (2, num_rounds))
    return drift * ours * ratio, drift * others


def test_no_difference_is_called_noise_19_times_in_20_on_a_drifting_machine():
    rng = np.random.default_rng(0)
    claims = sum(compare(*drifting_rounds(rng, ratio=1.0)).larger_than_noise for _ in range(2000))
    # 10 rounds allow 4.88%; 2,000 trials have a standard deviation of 0.5 points
    assert 0.035 < claims / 2000 < 0.065


def test_five_percent_are_found_through_a_drift_of_fifty():
    rng = np.random.default_rng(1)
    found = [compare(*drifting_rounds(rng, ratio=1.05)) for _ in range(300)]
    assert sum(each.larger_than_noise for each in found) / 300 > 0.95
    assert np.mean([each.ratio for each in found]) == pytest.approx(1.05, abs=0.005)


def test_one_burst_does_not_make_a_difference():
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(500):
        ours, others = drifting_rounds(rng, ratio=1.0)
        ours[rng.integers(10)] *= 40
        claims += compare(ours, others).larger_than_noise
    assert claims / 500 < 0.1


def test_the_noise_covers_the_median_19_times_in_20():
    rng = np.random.default_rng(3)
    rounds = rng.normal(5, 0.1, (1000, 10))
    intervals = [signed_rank_interval(each) for each in rounds]
    covered = sum(each.low <= 5 <= each.high for each in intervals)
    assert 0.93 < covered / 1000 < 0.97
    assert noise_ms(rounds[0]) == (intervals[0].high - intervals[0].low) / 2


@pytest.mark.parametrize("num_rounds", [1, 5])
def test_too_few_rounds_claim_nothing(num_rounds):
    comparison = compare([2.0] * num_rounds, [1.0] * num_rounds)
    assert comparison.larger_than_noise is None
    assert comparison.low is None
    assert comparison.ratio == pytest.approx(2)
    assert noise_ms([1.0] * num_rounds) is None


def test_swapping_the_files_turns_the_ratio_over():
    rng = np.random.default_rng(4)
    ours, others = drifting_rounds(rng, ratio=1.2)
    forth, back = compare(ours, others), compare(others, ours)
    assert math.isclose(forth.ratio, 1 / back.ratio)
    assert math.isclose(forth.low, 1 / back.high)


def test_equal_rounds_are_noise():
    assert compare([1.0] * 10, [1.0] * 10).larger_than_noise is False


def test_a_steady_rise_is_a_drift_by_its_factor():
    assert drift([10, 10.5, 11, 11.5, 12, 13]) == pytest.approx(12.5 / 10.25)


@pytest.mark.parametrize(
    "rounds", [[10, 11, 12], [10, 10, 10, 10, 10, 10], [12, 11, 10, 9, 8, 7], [10, 14, 9, 13, 10, 12, 9, 11]]
)
def test_few_level_falling_or_merely_noisy_rounds_have_no_drift(rounds):
    assert drift(rounds) is None


def test_chance_gives_a_drift_in_at_most_5_percent_of_all_orders():
    # every order of 6 values: the test is exact, so the share is known without it
    orders = list(itertools.permutations(range(1, 7)))
    assert 0.02 < sum(drift(order) is not None for order in orders) / len(orders) <= 0.05


@pytest.mark.parametrize("num_rounds", [20, 50, 51, 120, 171])
@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "ties"])
def test_a_drift_is_found_where_scipys_kendall_test_finds_one(num_rounds, ties):
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(num_rounds)
    agreeing = []
    for _ in range(60):
        rise = rng.uniform(0, 6) / num_rounds**1.5
        values = np.exp(rng.normal(0, 1, num_rounds) + rise * np.arange(num_rounds))
        values = np.round(values * 4 + 1) / 4 if ties else values
        test = scipy_stats.kendalltau(
            range(num_rounds), values, method="asymptotic" if ties else "exact", alternative="greater"
        )
        if abs(test.pvalue - 0.05) > 0.005:  # scipy corrects neither for continuity nor few values for ties
            agreeing.append((drift(values.tolist()) is not None) == (test.pvalue <= 0.05))
    assert len(agreeing) > 40
    assert all(agreeing)


@pytest.mark.parametrize("num_rounds", [51, 171, 300])
def test_the_verdict_over_many_rounds_is_scipys(num_rounds):
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(num_rounds)
    for _ in range(100):
        ours, others = rng.lognormal(0, 0.05, (2, num_rounds))
        others /= np.exp(0.14 / math.sqrt(num_rounds))
        test = scipy_stats.wilcoxon(np.log(ours / others), method="approx", correction=True)
        assert compare(ours, others).larger_than_noise == (test.pvalue <= 0.05)


def test_the_interval_over_many_rounds_cuts_what_the_exact_distribution_cuts():
    # P(W+ <= k) of 60 ranks, counted by numpy; 1..60 have the averages that count pairs
    counts = np.ones(1)
    for rank in range(1, 61):
        counts = np.concatenate([counts, np.zeros(rank)]) + np.concatenate([np.zeros(rank), counts])
    critical = int(np.searchsorted(np.cumsum(counts / 2.0**60), 0.025, side="right")) - 1
    values = [float(value) for value in range(60)]
    walsh = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    interval = signed_rank_interval(values)
    # two equal averages lie at each value: one rank more or less is the same end
    assert walsh[critical - 1] <= interval.low <= walsh[critical + 1]
    assert walsh[-2 - critical] <= interval.high <= walsh[-critical]


@given(st.lists(st.floats(-5, 5) | st.sampled_from([0.0, 1.0]), min_size=6, max_size=70))
def test_the_estimate_is_the_median_of_all_pairwise_averages(values):
    averages = [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]
    assert signed_rank_interval(values).estimate == pytest.approx(np.median(averages), abs=1e-12)


@pytest.mark.parametrize("num_rounds", [171, 10_000])
def test_any_number_of_rounds_is_told_in_less_than_a_second(num_rounds):
    rng = np.random.default_rng(0)
    rounds = (rng.lognormal(0, 0.02, num_rounds) * np.linspace(1, 1.3, num_rounds)).tolist()
    start = time.perf_counter()
    found, noise = drift(rounds), noise_ms(rounds)
    secs = time.perf_counter() - start
    assert found == pytest.approx(1.25 / 1.05, abs=0.02)  # of the middle of the last third and of the first
    assert 0 < noise < 0.03
    assert secs < 2  # 0.4 alone; other tests run beside this one


def test_rounds_that_begin_at_0_have_no_factor():
    assert drift([0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) is None

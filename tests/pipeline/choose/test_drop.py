"""What is dropped before any training, and why."""

from __future__ import annotations

import dataclasses

from choose_figures import costed, measurement

from export.precisions import Precision
from pipeline.choose.drop import fates, nearest_to_budget, too_large
from pipeline.choose.settings import Budget


def decided(*candidates, **budget):
    found = fates(candidates, Budget(**budget), "host")
    return {name: (fate.is_in, fate.why) for name, fate in found.items()}


def test_over_the_budget_is_dropped_with_its_figure():
    one = costed("a", macs=100, size=2_500_000, ms=6.0)
    assert decided(one, max_mb=2) == {"a int8": (False, "2.50 MB is over --max-mb 2")}
    assert decided(one, max_ms=5) == {"a int8": (False, "6 ms is over --max-ms 5")}
    assert decided(one, max_ms=6, max_mb=2.5) == {"a int8": (True, "")}


def test_over_by_less_than_the_noise_is_kept_and_said():
    one = costed("a", macs=100, size=1, ms=5.04, noise=0.05)
    assert decided(one, max_ms=5) == {
        "a int8": (True, "5.04 ms is over --max-ms 5 by less than the noise, 0.05 ms")
    }
    assert decided(costed("a", macs=100, size=1, ms=5.06, noise=0.05), max_ms=5)["a int8"][0] is False


def test_a_noise_as_wide_as_the_latency_brings_nothing_into_the_budget():
    one = costed("a", macs=100, size=1, ms=180.0, noise=500.0)
    assert decided(one, max_ms=20) == {"a int8": (False, "180 ms is over --max-ms 20")}


def test_a_larger_slower_net_of_fewer_mult_adds_is_beaten():
    better = costed("a", macs=200, size=100, ms=1.0)
    worse = costed("b", macs=100, size=200, ms=2.0)
    assert decided(better, worse) == {
        "a int8": (True, ""),
        "b int8": (False, "beaten by a int8 in size, latency and mult-adds"),
    }


def test_what_is_better_in_one_thing_is_not_beaten():
    small = costed("a", macs=100, size=100, ms=1.0)
    for other in (
        costed("b", macs=200, size=200, ms=2.0),
        costed("b", macs=50, size=50, ms=2.0),
        costed("b", macs=50, size=200, ms=0.5),
    ):
        assert all(is_in for is_in, _ in decided(small, other).values())


def test_a_latency_within_the_noise_decides_nothing():
    slower = costed("a", macs=200, size=100, ms=1.05)
    faster = costed("b", macs=100, size=100, ms=1.0)
    assert decided(slower, faster)["b int8"][0] is False  # not measurably faster, and fewer mult-adds
    clearly = costed("b", macs=100, size=100, ms=0.9)
    assert decided(slower, clearly)["b int8"][0] is True


def test_another_family_and_a_coarser_rounding_beat_nothing():
    best = costed("a", macs=200, size=100, ms=1.0)
    other = costed("b", macs=100, size=200, ms=2.0, family="squeezenet")
    exact = costed("c", macs=100, size=200, ms=2.0, precision=Precision.FLOAT16)
    assert all(is_in for is_in, _ in decided(best, other, exact).values())


def test_of_equal_candidates_one_stays():
    twins = costed("a", macs=100, size=100, ms=1.0), costed("b", macs=100, size=100, ms=1.0)
    assert all(is_in for is_in, _ in decided(*twins).values())


def test_without_a_figure_there_is_no_race():
    one = dataclasses.replace(costed("a", macs=1, size=1, ms=1.0), measured={"phone": measurement(1.0)})
    assert decided(one) == {"a int8": (False, "not measured on host")}


def test_weights_alone_over_the_budget_need_no_file():
    int8 = costed("a", macs=1, size=1, ms=1.0).candidate
    float16 = costed("a", macs=1, size=1, ms=1.0, precision=Precision.FLOAT16).candidate
    assert too_large(float16, 3_000_000, Budget(max_mb=4)) == "its weights alone are 6 MB, over --max-mb 4"
    assert too_large(int8, 3_000_000, Budget(max_mb=4)) == ""
    assert too_large(float16, 3_000_000, Budget()) == ""


def test_the_nearest_misses_the_budget_by_the_smallest_factor():
    fast = costed("a", macs=100, size=4_000_000, ms=1.0)
    small = costed("b", macs=100, size=1_000_000, ms=3.0)
    found = nearest_to_budget([fast, small], Budget(max_ms=2, max_mb=1), "host")
    assert found is not None
    assert (found[0].name, found[1]) == ("b int8", 1.5)
    assert nearest_to_budget([fast], Budget(max_ms=2), "phone") is None


def test_a_wide_noise_calls_no_two_candidates_equally_fast():
    noisy = costed("a", macs=200, size=100, ms=1.3, noise=1.6)
    steady = costed("b", macs=100, size=100, ms=0.9, noise=0.01)
    assert decided(noisy, steady)["b int8"][0] is True

"""Statistics of latencies, and whether two files differ by more than the noise. Standard library only.

A machine drifts, and the same file loaded twice runs at slightly different speeds (another place in memory).
So every file is loaded anew in each of several rounds, a round gives one median, and round i of one file is
paired with round i of the other: drift affects both.

If there is no difference, a pair may be swapped, so the logarithms of the paired ratios are symmetric around
0 for any distribution of latencies: Wilcoxon's signed-rank interval is valid, and a burst of another program
in one round does not change the verdict. Hodges and Lehmann 1963, doi:10.1214/aoms/1177704172; Hollander,
Wolfe and Chicken, Nonparametric Statistical Methods, section 3.3.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from statistics import NormalDist, median

CONFIDENCE = 0.95
EXACT_UP_TO = 50
"""Above this number of values, a normal approximation with continuity correction is used."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Statistics of a list of latencies, in milliseconds."""

    median_ms: float
    avg_ms: float
    std_ms: float
    """Population standard deviation (divided by n), like benchmark_model's."""
    min_ms: float
    max_ms: float
    p5_ms: float
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The ratio of one file's latency to another's."""

    ratio: float
    low: float | None
    """The ends of the ratio's 95% interval; None after too few rounds."""
    high: float | None
    larger_than_noise: bool | None
    """None after too few rounds."""
    in_turns: bool = True
    """Whether the two were measured in turns in one session."""


def summarize(samples_ms: Sequence[float]) -> Latency:
    """The statistics of at least one latency, each in milliseconds."""
    ordered = sorted(samples_ms)
    average = math.fsum(ordered) / len(ordered)
    variance = math.fsum((value - average) ** 2 for value in ordered) / len(ordered)
    return Latency(
        median_ms=percentile(ordered, 50),
        avg_ms=average,
        std_ms=math.sqrt(variance),
        min_ms=ordered[0],
        max_ms=ordered[-1],
        p5_ms=percentile(ordered, 5),
        p95_ms=percentile(ordered, 95),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of an ascending list, linearly interpolated like numpy's."""
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def noise_ms(round_medians_ms: Sequence[float]) -> float | None:
    """Half the 95% confidence interval of the median over the rounds; None after fewer than 6."""
    interval = signed_rank_interval(round_medians_ms)
    return None if interval is None else (interval.high - interval.low) / 2


def compare(rounds_ms: Sequence[float], other_rounds_ms: Sequence[float]) -> Comparison:
    """The ratio of two files' latencies, from their round medians, paired by round.

    The difference is larger than the noise if the ratio's 95% interval does not contain 1.
    """
    pairs = zip(rounds_ms, other_rounds_ms, strict=True)
    logarithms = [math.log(ours / others) for ours, others in pairs]
    interval = signed_rank_interval(logarithms)
    if interval is None:
        return Comparison(ratio=math.exp(median(logarithms)), low=None, high=None, larger_than_noise=None)
    return Comparison(
        ratio=math.exp(interval.estimate),
        low=math.exp(interval.low),
        high=math.exp(interval.high),
        larger_than_noise=not interval.low <= 0 <= interval.high,
    )


def drift(rounds_ms: Sequence[float]) -> float | None:
    """The ratio of the last third of the rounds to the first third, if there is a significant rise.

    None without a rise at the 5% level (Mann's test against trend; Mann 1945, doi:10.2307/1907187), and for
    fewer than 4 rounds.
    """
    if len(rounds_ms) < 4 or _chance_of_rise(rounds_ms) > 1 - CONFIDENCE:
        return None
    third = max(1, len(rounds_ms) // 3)
    first = median(rounds_ms[:third])
    return median(rounds_ms[-third:]) / first if first > 0 else None


def signed_rank_interval(values: Sequence[float]) -> Interval | None:
    """The Hodges-Lehmann estimate of the values' centre of symmetry; None for fewer than 6 values.

    The estimate is the median of all pairwise averages; Wilcoxon's signed-rank statistic sets how many of
    them the interval cuts at each end. Five values cannot reach 95%.
    """
    cut = _cut(len(values))
    if cut == 0:
        return None
    ordered = sorted(values)
    num_averages = len(ordered) * (len(ordered) + 1) // 2
    middle = _pair_average(ordered, (num_averages + 1) // 2), _pair_average(ordered, num_averages // 2 + 1)
    return Interval(
        estimate=sum(middle) / 2,
        low=_pair_average(ordered, cut),
        high=_pair_average(ordered, num_averages + 1 - cut),
    )


def _chance_of_rise(values: Sequence[float]) -> float:
    """The share of random orders of the values with at most as many falling pairs (the test's p-value)."""
    count = len(values)
    falls, ties = _falls_and_ties(values)
    if count <= EXACT_UP_TO:
        orders = _orders_of_falls(count)
        return sum(orders[: falls + (ties + 1) // 2 + 1]) / sum(orders)  # a tie counts as half a fall
    equal = Counter(values).values()
    variance = sum(n * (n - 1) * (2 * n + 5) * sign for n, sign in ((count, 1), *((n, -1) for n in equal)))
    if variance == 0:  # all are equal
        return 1.0
    expected = count * (count - 1) / 4
    return NormalDist(expected, math.sqrt(variance / 72)).cdf(falls + ties / 2 + 0.5)


def _falls_and_ties(values: Sequence[float]) -> tuple[int, int]:
    """The number of pairs whose later value is smaller, and of pairs of equal values."""
    before: list[float] = []
    falls = ties = 0
    for value in values:
        place = bisect_right(before, value)
        falls += len(before) - place
        ties += place - bisect_left(before, value)
        before.insert(place, value)
    return falls, ties


def _pair_average(ordered: Sequence[float], rank: int) -> float:
    """The rank-th smallest average of all pairs of an ascending list, each value paired with itself too.

    There are too many pairs to list: found by bisection over the floating-point numbers.
    """
    low, high = _number_of(ordered[0]), _number_of(ordered[-1])
    while low < high:
        middle = (low + high) // 2
        if _num_averages_up_to(ordered, _float_of(middle)) >= rank:
            high = middle
        else:
            low = middle + 1
    return _float_of(low)


def _num_averages_up_to(ordered: Sequence[float], most: float) -> int:
    found, last = 0, len(ordered) - 1
    for first, value in enumerate(ordered):
        while last >= first and (value + ordered[last]) / 2 > most:
            last -= 1
        if last < first:
            break
        found += last - first + 1
    return found


def _number_of(value: float) -> int:
    """The float's position among all floats, from 0."""
    bits: int = struct.unpack("<q", struct.pack("<d", abs(value)))[0]
    return -bits if value < 0 else bits


def _float_of(number: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<q", abs(number)))[0]
    return -value if number < 0 else value


@cache
def _cut(num_values: int) -> int:
    """The largest k with 2 P(W+ <= k - 1) <= 5%, W+ being the signed-rank sum."""
    if num_values > EXACT_UP_TO:
        expected = num_values * (num_values + 1) / 4
        spread = math.sqrt(expected * (2 * num_values + 1) / 6)
        return math.floor(NormalDist(expected, spread).inv_cdf((1 - CONFIDENCE) / 2) - 0.5) + 1
    subsets_of_sum = [1]
    for rank in range(1, num_values + 1):
        longer = subsets_of_sum + [0] * rank
        for total, count in enumerate(subsets_of_sum):
            longer[total + rank] += count
        subsets_of_sum = longer
    allowed = (1 - CONFIDENCE) / 2 * 2**num_values
    tails = accumulate(subsets_of_sum)
    return sum(1 for tail in tails if tail <= allowed)


@cache
def _orders_of_falls(num_values: int) -> tuple[int, ...]:
    """The number of orders of num_values values that have 0, 1, 2, ... falling pairs."""
    orders = [1]
    for length in range(2, num_values + 1):
        longer = [0] * (len(orders) + length - 1)
        for falls, count in enumerate(orders):
            for more in range(length):
                longer[falls + more] += count
        orders = longer
    return tuple(orders)

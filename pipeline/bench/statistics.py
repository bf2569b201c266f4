"""What a list of latencies says, and whether two files differ by more than the noise. Standard library only.

A machine drifts, and the same file loaded twice runs at slightly different speeds (memory lands elsewhere).
So every file is loaded anew in each of several rounds, a round gives one median, and round i of one file is
paired with round i of its neighbour: what drifted hit both.

Under "there is no difference" a pair may as well be swapped, so the logarithms of the paired ratios are
symmetric around 0, whatever their distribution: Wilcoxon's signed-rank interval then holds, and one burst of
another program cannot tip it. Hodges and Lehmann 1963, doi:10.1214/aoms/1177704172; Hollander, Wolfe and
Chicken, Nonparametric Statistical Methods, section 3.3.
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
"""For more values a normal distribution with continuity correction stands for the exact one."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Statistics of a list of latencies, in milliseconds."""

    median_ms: float
    avg_ms: float
    std_ms: float
    """Of the runs themselves, not of a sample's estimate, as benchmark_model has it."""
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
    """How many times as long one file takes as another."""

    ratio: float
    low: float | None
    """The ends of the ratio's 95% interval; None after too few rounds."""
    high: float | None
    larger_than_noise: bool | None
    """None after too few rounds to tell."""
    in_turns: bool = True
    """Whether the two took turns in one session."""


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
    """The percentile of an ascending list, interpolated linearly between neighbours, as numpy does."""
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def noise_ms(round_medians_ms: Sequence[float]) -> float | None:
    """Half the 95% confidence interval of the median over the rounds; None after fewer than 6."""
    interval = signed_rank_interval(round_medians_ms)
    return None if interval is None else (interval.high - interval.low) / 2


def compare(rounds_ms: Sequence[float], other_rounds_ms: Sequence[float]) -> Comparison:
    """How many times as long a file takes as the other, by their median of each round, paired by round.

    The difference is larger than the noise when the 95% interval of the ratio leaves out 1.
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
    """By which factor the rounds grew from their first third to their last, where they really grow.

    None where they do not, or where as steep a rise would come by chance in more than 5% of random orders
    (Mann's test against trend; Mann 1945, doi:10.2307/1907187). Fewer than 4 rounds cannot tell.
    """
    if len(rounds_ms) < 4 or _chance_of_rise(rounds_ms) > 1 - CONFIDENCE:
        return None
    third = max(1, len(rounds_ms) // 3)
    first = median(rounds_ms[:third])
    return median(rounds_ms[-third:]) / first if first > 0 else None


def signed_rank_interval(values: Sequence[float]) -> Interval | None:
    """The centre of symmetry of the values, after Hodges and Lehmann; None for fewer than 6 values.

    The estimate is the median of all pairwise averages, and the interval cuts as many of them at either
    end as Wilcoxon's signed-rank statistic allows. Five values cannot reach 95%.
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
    """The share of random orders of the values that rise as steadily, by their pairs that fall."""
    count = len(values)
    falls, ties = _falls_and_ties(values)
    if count <= EXACT_UP_TO:
        orders = _orders_of_falls(count)
        return sum(orders[: falls + (ties + 1) // 2 + 1]) / sum(orders)  # a tie is half a fall
    equal = Counter(values).values()
    variance = sum(n * (n - 1) * (2 * n + 5) * sign for n, sign in ((count, 1), *((n, -1) for n in equal)))
    if variance == 0:  # all are equal
        return 1.0
    expected = count * (count - 1) / 4
    return NormalDist(expected, math.sqrt(variance / 72)).cdf(falls + ties / 2 + 0.5)


def _falls_and_ties(values: Sequence[float]) -> tuple[int, int]:
    """The pairs of which the later value is the smaller one, and those of equal values."""
    before: list[float] = []
    falls = ties = 0
    for value in values:
        place = bisect_right(before, value)
        falls += len(before) - place
        ties += place - bisect_left(before, value)
        before.insert(place, value)
    return falls, ties


def _pair_average(ordered: Sequence[float], rank: int) -> float:
    """The smallest but rank - 1 of the averages of all pairs of an ascending list, equal partners too.

    There are too many to list: it is found by halving the range of floating-point numbers between the ends.
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
    """The float's place among all floats, counted from 0."""
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
    """How many orders of so many values have 0, 1, 2, ... pairs in which the later one is smaller."""
    orders = [1]
    for length in range(2, num_values + 1):
        longer = [0] * (len(orders) + length - 1)
        for falls, count in enumerate(orders):
            for more in range(length):
                longer[falls + more] += count
        orders = longer
    return tuple(orders)

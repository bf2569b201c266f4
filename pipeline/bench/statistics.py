"""What a list of latencies says, and whether two files differ by more than the noise. Standard library only.

A machine drifts, and the same file loaded twice runs at slightly different speeds (memory lands elsewhere).
So every file is loaded anew in each of several rounds, a round gives one median, and round i of one file is
paired with round i of its neighbour: what drifted hit both.

Under "there is no difference" a pair may as well be swapped, so the logarithms of the paired ratios are
symmetric around 0, whatever their distribution: Wilcoxon's signed-rank interval is then exact, and one burst
of another program cannot tip it. Hodges and Lehmann 1963, doi:10.1214/aoms/1177704172; Hollander, Wolfe and
Chicken, Nonparametric Statistical Methods, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from statistics import median

CONFIDENCE = 0.95


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
    (Mann's test against trend, exact; Mann 1945, doi:10.2307/1907187). Fewer than 4 rounds cannot tell.
    """
    count = len(rounds_ms)
    pairs = [(earlier, later) for i, earlier in enumerate(rounds_ms) for later in rounds_ms[i + 1 :]]
    ties = sum(later == earlier for earlier, later in pairs)
    falls = sum(later < earlier for earlier, later in pairs) + (ties + 1) // 2  # a tie is half a fall
    orders = _orders_of_falls(count)
    if count < 4 or sum(orders[: falls + 1]) > (1 - CONFIDENCE) * sum(orders):
        return None
    third = max(1, count // 3)
    return median(rounds_ms[-third:]) / median(rounds_ms[:third])


def signed_rank_interval(values: Sequence[float]) -> Interval | None:
    """The centre of symmetry of the values, after Hodges and Lehmann; None for fewer than 6 values.

    The estimate is the median of all pairwise averages, and the interval cuts as many of them at either
    end as Wilcoxon's signed-rank statistic allows. Five values cannot reach 95%.
    """
    cut = _cut(len(values))
    if cut == 0:
        return None
    averages = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    return Interval(estimate=median(averages), low=averages[cut - 1], high=averages[-cut])


@cache
def _cut(num_values: int) -> int:
    """The largest k with 2 P(W+ <= k - 1) <= 5%, from the exact distribution of the signed-rank sum W+."""
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

"""Top-1 as a line in the logarithm of mult-adds, one a family, and what it predicts of untrained nets.

MobileNets (Howard et al. 2017, arXiv:1704.04861, Figure 4) finds accuracy nearly linear in the logarithm of
mult-adds. Each family has its own line; the scatter around them is pooled, since a family has few trained
nets. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Point:
    """A trained net."""

    macs: int
    top1: float
    """Percent."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The top-1 expected of an untrained net, in percent, and its 95% prediction interval."""

    top1: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """top1 = intercept + slope * log10(macs), of one family."""

    intercept: float
    slope: float
    """Points of top-1 for ten times the mult-adds."""
    num_nets: int
    mean_log: float
    spread: float
    """Sum of squares of log10(macs) around their mean."""
    residuals: tuple[float, ...]
    """Points, in the order of the nets."""
    r_squared: float | None
    """None for two nets, through which a line always goes."""

    def at(self, macs: int) -> float:
        """Percent, not limited to 0 to 100."""
        return self.intercept + self.slope * math.log10(macs)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The lines of all families, and their common scatter."""

    lines: Mapping[str, Line]
    deviation: float | None
    """Standard deviation of a net around its line, in points; None where nothing tells it."""
    freedom: int
    """Degrees of freedom that it was found with."""

    def predict(self, family: str, macs: int) -> Prediction | None:
        """What to expect of an untrained net; None for a family without a line, or an unknown scatter."""
        line = self.lines.get(family)
        if line is None or self.deviation is None:
            return None
        distance = math.log10(macs) - line.mean_log
        wide = math.sqrt(1 + 1 / line.num_nets + distance**2 / line.spread)
        half = t_quantile((1 + CONFIDENCE) / 2, self.freedom) * self.deviation * wide
        middle = line.at(macs)
        return Prediction(top1=_percent(middle), low=_percent(middle - half), high=_percent(middle + half))


def fit(points: Mapping[str, Sequence[Point]], *, num_images: int) -> Fit:
    """The lines of the families with at least two nets of different mult-adds.

    The scatter is at least that of counting right answers on `num_images` images.
    """
    lines = {family: line for family, found in points.items() if (line := _line(found)) is not None}
    freedom = sum(line.num_nets - 2 for line in lines.values())
    if freedom < 1:
        return Fit(lines=lines, deviation=None, freedom=0)
    squares = math.fsum(each**2 for line in lines.values() for each in line.residuals)
    shares = [point.top1 / 100 for family in lines for point in points[family]]
    counting = 100 * math.sqrt(fmean(share * (1 - share) for share in shares) / max(num_images, 1))
    return Fit(lines=lines, deviation=max(math.sqrt(squares / freedom), counting), freedom=freedom)


def t_quantile(probability: float, freedom: int) -> float:
    """Student's t below which this share lies, for a share above a half."""
    low, high = 0.0, 1.0
    while _t_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_cdf(middle, freedom) < probability else (low, middle)
    return high


def _line(points: Sequence[Point]) -> Line | None:
    logs = [math.log10(each.macs) for each in points]
    tops = [each.top1 for each in points]
    if len({each.macs for each in points}) < 2:
        return None
    mean_log, mean_top = fmean(logs), fmean(tops)
    spread = math.fsum((each - mean_log) ** 2 for each in logs)
    slope = math.fsum((x - mean_log) * (y - mean_top) for x, y in zip(logs, tops, strict=True)) / spread
    intercept = mean_top - slope * mean_log
    residuals = tuple(y - intercept - slope * x for x, y in zip(logs, tops, strict=True))
    whole = math.fsum((each - mean_top) ** 2 for each in tops)
    unexplained = math.fsum(each**2 for each in residuals)
    return Line(
        intercept=intercept,
        slope=slope,
        num_nets=len(points),
        mean_log=mean_log,
        spread=spread,
        residuals=residuals,
        r_squared=1 - unexplained / whole if len(points) > 2 and whole > 0 else None,
    )


def _t_cdf(value: float, freedom: int) -> float:
    """Student's distribution for whole degrees of freedom; Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan2(value, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
    start = 3 if freedom % 2 else 2
    if freedom > 1:
        total = term
        for each in range(start, freedom - 1, 2):
            term *= cosine**2 * (each - 1) / each
            total += term
    share = (angle + sine * total) * 2 / math.pi if freedom % 2 else sine * total
    return (1 + share) / 2


def _percent(value: float) -> float:
    return min(100.0, max(0.0, value))

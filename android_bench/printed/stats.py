"""The figures of one block of runs, warm-up or timed, as benchmark_model prints them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from android_bench.printed.lines import NUMBER

_SLACK = 1e-5
"""avg= has six significant digits."""
_LINE = re.compile(
    r"count=(?P<count>\d{1,18})"
    rf"(?:(?: first=(?P<first>{NUMBER}) curr=(?P<curr>{NUMBER}) min=(?P<min>{NUMBER}) max=(?P<max>{NUMBER})"
    rf" avg=(?P<avg>{NUMBER}) std=(?P<std>{NUMBER}))| curr=(?P<same>{NUMBER})(?P<all>\(all same\))?)?"
    rf"(?: p5=(?P<p5>{NUMBER}) median=(?P<median>{NUMBER}) p95=(?P<p95>{NUMBER}))?"
)


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Runs of the model and how long they took. None where the tool did not print it.

    Where all took the same time (one run, or `(all same)`), every figure is that time and follows from it.
    """

    count: int | None
    """None only where a text holds the summary and not the block itself."""
    first_ms: float | None = None
    last_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    avg_ms: float | None = None
    std_ms: float | None = None
    p5_ms: float | None = None
    """None in versions of before 2023, as are the median and p95."""
    median_ms: float | None = None
    p95_ms: float | None = None


def is_stats(text: str) -> bool:
    """Whether a line is meant to be a block's figures, cut or whole; the profiler's `Timings` are not."""
    return text.startswith("count=")


def parse_stats(text: str) -> Stats | None:
    """The figures of `count=50 first=... std=...[ p5=... median=... p95=...]`, in µs there.

    None for a line that is cut or whose figures contradict one another; `count=0` is Stats without figures.
    """
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    count = int(found["count"])
    if count == 0:
        return Stats(count=0) if found["same"] is None and found["first"] is None else None
    if found["same"] is not None:
        return _all_same(found, count)
    if found["first"] is None or count == 1:
        return None
    stats = Stats(
        count=count,
        first_ms=_ms(found["first"]),
        last_ms=_ms(found["curr"]),
        min_ms=_ms(found["min"]),
        max_ms=_ms(found["max"]),
        avg_ms=_ms(found["avg"]),
        std_ms=_ms(found["std"]),
        p5_ms=_ms(found["p5"]),
        median_ms=_ms(found["median"]),
        p95_ms=_ms(found["p95"]),
    )
    return stats if _is_ordered(stats) else None


def milliseconds(microseconds: str) -> float:
    """A printed number of µs as ms, with no digits but its own."""
    return round(float(microseconds) / 1000, 9)


def equal_runs(count: int, each_ms: float) -> Stats:
    """The figures of runs that all took the same time."""
    return Stats(
        count=count,
        first_ms=each_ms,
        last_ms=each_ms,
        min_ms=each_ms,
        max_ms=each_ms,
        avg_ms=each_ms,
        std_ms=0.0,
        p5_ms=each_ms,
        median_ms=each_ms,
        p95_ms=each_ms,
    )


def _all_same(found: re.Match[str], count: int) -> Stats | None:
    percentiles = {found["p5"], found["median"], found["p95"]}
    if (count > 1) != (found["all"] is not None) or percentiles not in ({None}, {found["same"]}):
        return None
    return equal_runs(count, milliseconds(found["same"]))


def _ms(microseconds: str | None) -> float | None:
    return None if microseconds is None else milliseconds(microseconds)


def _is_ordered(stats: Stats) -> bool:
    """Whether the figures could be one block's: those of a line that lost digits mostly could not."""
    smallest, largest = stats.min_ms or 0.0, stats.max_ms or 0.0
    inner = [stats.first_ms, stats.last_ms, stats.avg_ms, stats.p5_ms, stats.median_ms, stats.p95_ms]
    figures = [figure for figure in inner if figure is not None]
    percentiles = [each for each in (stats.p5_ms, stats.median_ms, stats.p95_ms) if each is not None]
    within = all(smallest * (1 - _SLACK) <= figure <= largest * (1 + _SLACK) for figure in figures)
    return within and smallest <= largest and percentiles == sorted(percentiles)

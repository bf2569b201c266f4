"""The two blocks of a run, the warm-up and the timed one: which is which, and that the summary agrees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from android_bench.errors import LogError
from android_bench.printed.failure import quoted
from android_bench.printed.lines import NUMBER, LogLine
from android_bench.printed.stats import Stats, is_stats, parse_stats
from android_bench.printed.summary import Summary

ANCHOR = re.compile(
    rf"Running benchmark for at least (?P<runs>\d{{1,18}}) iterations and at least (?P<min>-?{NUMBER}) "
    rf"seconds(?: but terminate if exceeding (?P<max>{NUMBER}) seconds)?\.?"
)
"""It begins a block; versions of early 2019 have no tail."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured, and what the timed block was asked for, as printed."""

    timed: Stats
    warmup: Stats | None
    asked_runs: int | None = None
    asked_min_secs: str | None = None
    asked_max_secs: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Block:
    anchor: re.Match[str] | None
    line: str
    """The line of its figures; empty where it is missing."""
    stats: Stats | None
    """None where that line is missing or cut."""


def read_figures(lines: Sequence[LogLine], summary: Summary) -> Figures:
    """The figures of the two blocks; LogError unless the summary says the same of both.

    Where the text does not hold the blocks at all, only what the summary says.
    """
    blocks = _blocks(lines)
    if len(blocks) > 2:
        raise LogError(f"the text is not one run's: it has {len(blocks)} blocks of runs, and a run has two")
    if not blocks:
        return _from_summary(summary)
    timed, warmup = blocks[-1], blocks[0] if len(blocks) == 2 else None
    return Figures(
        timed=_timed(timed, summary, alone=warmup is None),
        warmup=None if warmup is None else _warmup(warmup, summary),
        asked_runs=None if timed.anchor is None else int(timed.anchor["runs"]),
        asked_min_secs=None if timed.anchor is None else timed.anchor["min"],
        asked_max_secs=None if timed.anchor is None else timed.anchor["max"],
    )


def _blocks(lines: Sequence[LogLine]) -> list[_Block]:
    """The blocks in their order: `Running benchmark` begins one, or the figures where that is missing."""
    blocks: list[_Block] = []
    for line in lines:
        if anchor := ANCHOR.fullmatch(line.text):
            blocks.append(_Block(anchor=anchor, line="", stats=None))
        elif is_stats(line.text):
            begun = blocks.pop().anchor if blocks and not blocks[-1].line else None
            stats = parse_stats(line.text) if line.ended else None
            blocks.append(_Block(anchor=begun, line=line.text, stats=stats))
    return blocks


def _from_summary(summary: Summary) -> Figures:
    if not summary.ended:
        raise LogError("the text is cut in its summary")
    if not summary.timed.avg_ms:
        raise LogError("no inference was timed")
    return Figures(timed=summary.timed, warmup=summary.warmup if summary.warmup.avg_ms else None)


def _timed(block: _Block, summary: Summary, *, alone: bool) -> Stats:
    if block.stats is None:
        raise LogError(f"the text is cut in the timed block: '{quoted(block.line)}'")
    if block.stats.count == 0:
        raise LogError("no inference was timed (count=0, a dry run)")
    if not summary.agrees(summary.timed, block.stats):
        raise LogError(f"the summary is not of the timed block '{quoted(block.line)}'")
    if alone and summary.agrees(summary.warmup, block.stats):
        raise LogError("the text is cut: it has one block of runs, and it could be the warm-up")
    return block.stats


def _warmup(block: _Block, summary: Summary) -> Stats | None:
    """None where its line is cut, or no run warmed up."""
    if block.stats is None or block.stats.count == 0:
        return None
    if not summary.agrees(summary.warmup, block.stats):
        raise LogError(f"the summary is not of the warm-up '{quoted(block.line)}'")
    return block.stats

"""Prints what became better or worse than a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.commands.output import print_table, say, table
from pipeline.report import figures
from pipeline.report.baseline import ASSUMED_SPREAD
from spelling import counted

if TYPE_CHECKING:
    from pipeline.report.baseline import Change, Verdict
    from pipeline.steps.baseline import AgainstBaseline

WORDS: dict[Verdict, str] = {"better": "better", "worse": "WORSE", "same": "same", "unknown": ""}


def print_changes(found: AgainstBaseline) -> None:
    """A line for each file and setting, and a line that counts them."""
    columns = ("size", "median", "top-1")
    several = len({(each.where, each.num_threads) for each in found.changes}) > 1
    shown = table("file", "against", *(["on"] if several else []), *columns, numbers=columns)
    for each in found.changes:
        name = f"{each.model_name} {each.precision or ''}".strip()
        place = [f"{each.where or figures.DASH}, {each.num_threads or figures.DASH} thr."] if several else []
        against = f"{each.baseline_name} {each.baseline_sha256[:8]}"
        shown.add_row(name, against, *place, _size(each), _latency(each), _accuracy(each))
    print_table(shown)
    better = sum("better" in each.verdicts for each in found.changes)
    click.echo(
        f"{counted(len(found.changes), 'comparison')}: {len(found.worse)} with something worse, "
        f"{better} with something better, by more than noise"
    )
    if any(each.latency == "unknown" for each in found.changes):
        say("Latency is compared where both files are measured in one setting: pipeline bench")
    if any(each.accuracy == "unknown" for each in found.changes):
        say("Top-1 is compared where both are verified on the same images: pipeline verify")
    if any(each.latency_ratio not in (None, 1.0) for each in found.changes):
        say(
            f"Medians of different sessions of unknown spread count as same up to {ASSUMED_SPREAD:.0%}. "
            "Smaller differences: pipeline bench of both files in one call"
        )
    if found.num_alone:
        say(f"{counted(found.num_alone, 'row')} without a counterpart in the baseline left out")


def _size(each: Change) -> str:
    if each.size_bytes is None or not each.baseline_size_bytes:
        return figures.size_text(each.size_bytes)
    share = each.size_bytes / each.baseline_size_bytes - 1
    return _cell(figures.size_text(each.size_bytes), f"{share:+.1%}" if share else "", each.size)


def _latency(each: Change) -> str:
    ratio = each.latency_ratio
    share = "" if ratio is None or ratio == 1 else f"{ratio - 1:+.1%}"
    return _cell(figures.ms_text(each.median_ms), share, each.latency)


def _accuracy(each: Change) -> str:
    points = f"{each.points:+.2f}" if each.points else ""
    return _cell(figures.percent_text(each.tflite_top1), points, each.accuracy)


def _cell(figure: str, change: str, verdict: Verdict) -> str:
    return " ".join(text for text in (figure, change, WORDS[verdict]) if text)

"""What is shown of trials: where they stand while they run, and the table of their results."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.commands.output import REDRAW_SECS, print_table, say, table
from pipeline.trials.progress import Report, Standing
from pipeline.trials.trial import DONE, FAILED, TrialResult
from spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_SECS = 30.0
"""Without a terminal, the least time between two lines of where it stands."""
NOT_THERE = "-"


@contextmanager
def shown_live() -> Iterator[Report]:
    """The engine's `report`: at a terminal a table on stderr that changes, else lines.

    It is drawn only when it is called, so that nothing runs beside a measurement.
    """
    from rich.live import Live

    from pipeline.console import console

    drawing = console(stderr=True)
    if not drawing.is_terminal:
        yield _Lines()
        return
    drawn = 0.0
    with Live(console=drawing, auto_refresh=False, transient=True) as live:

        def show(standing: Standing) -> None:
            nonlocal drawn
            if standing.newest is not None:
                live.console.print(
                    ended_words(standing.newest), highlight=False, markup=False, soft_wrap=True
                )
            if standing.newest is not None or time.monotonic() - drawn > REDRAW_SECS:
                drawn = time.monotonic()
                live.update(_drawn(standing), refresh=True)

        yield show


class _Lines:
    """A line for each trial that has ended, and one of where it stands after a while."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, standing: Standing) -> None:
        is_due = time.monotonic() - self._said > LINE_SECS
        if standing.newest is None and not is_due:
            return
        self._said = time.monotonic()
        say(ended_words(standing.newest) if standing.newest else standing_words(standing))


def standing_words(standing: Standing) -> str:
    """Where it stands, in a line."""
    parts = [f"{standing.done} of {counted(standing.total, 'trial')} done"]
    if standing.failed:
        parts.append(f"{standing.failed} failed")
    if standing.measuring:
        parts.append(f"measuring {standing.measuring}")
    if standing.running:
        parts.append(f"{len(standing.running)} running")
    if standing.best is not None:
        parts.append(f"best so far {standing.best.name} ({standing.best.validation_top1:.2f}%)")
    if standing.seconds_left is not None and standing.running:
        parts.append(f"about {duration(standing.seconds_left)} left")
    return ", ".join(parts)


def ended_words(result: TrialResult) -> str:
    """A trial that has ended, in a line."""
    if result.status == FAILED:
        return f"{result.name}: failed. {result.reason}"
    reached = f"validation {result.validation_top1:.2f}%" if result.validation_top1 is not None else ""
    if result.status == DONE:
        reached += f", test {result.test_top1:.2f}%"
    return f"{result.name}: {reached}, {counted(result.epochs_run, 'epoch')}, {duration(result.seconds)}"


def print_results(results: Sequence[TrialResult]) -> None:
    """The results as a table on stdout, in their order."""
    has_files = any(each.files for each in results)
    columns = ["trial", "state", "epochs", "validation", "test", "seconds"]
    columns += ["precision", "file top-1", "MB", "ms"] if has_files else []
    made = table(*columns, numbers=[name for name in columns if name not in ("trial", "state", "precision")])
    for each in results:
        cells = [
            each.name,
            each.status,
            str(each.epochs_run),
            _percent(each.validation_top1),
            _percent(each.test_top1),
            f"{each.seconds:,.0f}",
        ]
        if not has_files:
            made.add_row(*cells)
            continue
        for place, file in enumerate(each.files or (None,)):
            figures = [NOT_THERE] * 4
            if file is not None:
                ms = "not valid" if file.why_not_valid else NOT_THERE
                figures = [
                    str(file.precision),
                    _percent(file.top1),
                    f"{file.size_bytes / 1e6:.2f}",
                    ms if file.median_ms is None else f"{file.median_ms:.2f}",
                ]
            made.add_row(*(cells if place == 0 else [""] * len(cells)), *figures)
    print_table(made)


def duration(seconds: float) -> str:
    """Seconds in words, such as '3 min' or '1 h 20 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _percent(value: float | None) -> str:
    return NOT_THERE if value is None else f"{value:.2f}%"


def _drawn(standing: Standing) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = table("running", "does", "", numbers=())
    for each in standing.running:
        rows.add_row(f"{each.name}{f' on {each.where}' if each.where else ''}", each.what, each.detail)
    return Group(*([rows] if standing.running else []), Text(standing_words(standing)))

"""Output of the commands: JSON for machines, one style of table for people. Light at import."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipeline.json_values import finite
from pipeline.progress import Doing, Event, Note
from pipeline.terminal import printable, unguarded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console
    from rich.table import Table

    from pipeline.progress import Progress

PIPED_WIDTH = 200
"""Width in characters of a table in a file or a pipe, so that it is not cut to a terminal's 80."""


REDRAW_SECS = 0.1
QUIET_SECS = 10.0
"""Without a terminal, the longest time without a line."""


def print_records(records: Sequence[DataclassInstance]) -> None:
    """Prints a JSON array of records whose keys are the dataclass's fields."""
    print_plain([asdict(record) for record in records])


def print_plain(records: Sequence[dict[str, Any]]) -> None:
    """Prints a JSON array of plain records."""
    click.echo(json.dumps([finite(record) for record in records], indent=2, allow_nan=False))


def print_table(table: Table) -> None:
    """Prints a table to stdout, without colour when piped."""
    stdout_console().print(table)


def stdout_console() -> Console:
    """The rich console for stdout: as wide as the terminal, or PIPED_WIDTH."""
    from pipeline.console import console

    made = console()
    return made if made.is_terminal else console(width=PIPED_WIDTH)


def table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """An empty table in this project's style; the columns in `numbers` are right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    class PlainTable(Table):
        """A table that shows text literally, without rich's markup in brackets."""

        def add_row(self, *cells: Any, **options: Any) -> None:  # noqa: ANN401 - Table's
            """Adds a row like Table.add_row, without markup."""
            super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    made = PlainTable(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(Text(column), justify="right" if column in numbers else "left", overflow="fold")
    return made


def say(message: str) -> None:
    """Prints a line for the user on stderr."""
    click.echo(printable(message), err=True)  # rich, while it draws, would read escape sequences


def print_drawn(text: str) -> None:
    """Prints what `pipeline.report.terminal.rendered` drew: the escape sequences in it are colours."""
    stream = unguarded(sys.stdout)
    stream.write(text)
    stream.flush()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows on stderr what is being done."""
    from pipeline.console import console

    drawing = console(stderr=True)
    if not drawing.is_terminal:
        say(f"{what} ...")
        yield
        return
    from rich.text import Text

    with drawing.status(Text(what)):
        yield


@contextmanager
def stages() -> Iterator[Progress]:
    """A step's `progress` callback: at a terminal a bar on stderr, else lines.

    The bar is drawn only when it is called: a drawing thread would make a measurement slower.
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from pipeline.console import console

    drawing = console(stderr=True)
    if not drawing.is_terminal:
        with _Lines() as show_line:
            yield show_line
        return
    what = TextColumn("{task.description}", markup=False)
    detail = TextColumn("{task.fields[detail]}", markup=False)
    columns = (what, BarColumn(bar_width=30), detail, TimeRemainingColumn(compact=True))
    bar = Bar(*columns, console=drawing, transient=True, auto_refresh=False)
    task = bar.add_task("", visible=False, total=None, detail="")
    shown, drawn = "", 0.0

    def show(event: Event) -> None:
        nonlocal shown, drawn
        if isinstance(event, Note):
            drawing.print(event.text, highlight=False, markup=False, soft_wrap=True)
            return
        is_new, total = event.what != shown, event.total or None
        if is_new:  # the remaining time is estimated from here
            bar.reset(task, completed=event.done, total=total, visible=True)
        is_due = is_new or time.monotonic() - drawn > REDRAW_SECS
        shown, drawn = event.what, time.monotonic() if is_due else drawn
        bar.update(
            task,
            description=event.what,
            detail=event.detail,
            completed=event.done,
            total=total,
            refresh=is_due,
        )

    with bar:
        yield show


class _Lines:
    """A step's `progress` callback without a terminal: a line per stage, and one after a long silence.

    The latter comes from a thread: a step does not call back while TensorFlow traces or evaluates.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._said = time.monotonic()
        self._last: Doing | None = None
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self._show

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _show(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Note):
                self._say(event.text)
                return
            self._last = event
            if not event.detail:
                self._say(f"{event.what} ...")

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        say(text)

    def _go_on(self) -> None:
        while not self._ended.wait(max(0.01, self._said + QUIET_SECS - time.monotonic())):
            with self._lock:
                if time.monotonic() - self._said >= QUIET_SECS and not self._ended.is_set():
                    self._say(_still(self._last))


def _still(event: Doing | None) -> str:
    if event is None:
        return "still working ..."
    share = f" ({event.done / event.total:.0%})" if event.total else ""
    return f"{event.what}{': ' if event.detail else ''}{event.detail}{share} ..."


json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array of records."
)

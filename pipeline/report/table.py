"""The report as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.records.report_row import ReportRow
from pipeline.report.columns import CHANGE, MEDIAN, MEMORY, MODEL, SHORT, SPREAD, Column, label_columns
from pipeline.report.conditions import (
    CONDITIONS,
    LEGEND,
    STAR,
    dataset_text,
    differing,
    doubts,
    shared_conditions,
)
from pipeline.report.excerpt import Excerpt, excerpt
from pipeline.report.figures import DASH, NOT_MEASURED
from pipeline.report.terminal import line, rendered
from pipeline.store.rows import ReportRows

SETTING = ("Machine", "Runtime", "Threads")
SPARE = (MEMORY, SPREAD, CHANGE)
"""The columns to drop first in a narrow terminal."""
ROOM_FOR_NAMES = 36
GAP = 2
MOST_LINES = 200
"""A longer table shows the best and a sample."""


def terminal_table(rows: Sequence[ReportRow], *, width: int, colour: bool) -> str:
    """The table, the conditions of its figures, and the reasons of invalid measurements."""
    rows = ReportRows.of(rows)
    part = excerpt(rows, MOST_LINES)
    columns = _fitting([*SHORT, *label_columns(rows), *_keyed_columns(rows)], part.rows, width=width)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", width=1)
    for column in columns:
        justify: Literal["right", "left"] = "right" if column.numeric else "left"
        table.add_column(column.title, justify=justify, overflow="fold", no_wrap=column is not MODEL)
    for row in part.rows:
        cells = (_cell(column, row) for column in columns)
        table.add_row(STAR if row.pareto else "", *cells, style="bold" if row.pareto else "")
    return rendered(Group(table, *_notes(rows, part)), width=width, colour=colour)


def _fitting(columns: list[Column], rows: Sequence[ReportRow], *, width: int) -> list[Column]:
    """The columns that leave enough room for the models' names."""
    names = min(max(len(row.model.model_name) for row in rows), ROOM_FOR_NAMES)

    def needed() -> int:
        others = [column for column in columns if column is not MODEL]
        cells = [max(len(column.title), *(len(_cell(column, row)) for row in rows)) for column in others]
        return 1 + names + sum(cells) + GAP * (len(columns) + 1)

    for spare in SPARE:
        if needed() <= width:
            break
        columns = [column for column in columns if column is not spare]
    return columns


def _cell(column: Column, row: ReportRow) -> Text:
    text = column.text(row)
    if text == NOT_MEASURED:
        return line(DASH, style="dim")
    return line(text, style="red" if column is MEDIAN and row.latency.valid is False else "")


def _keyed_columns(rows: ReportRows) -> list[Column]:
    """Narrow columns of letters, explained below the table, for runs and conditions that differ."""
    different = differing(rows)
    columns = []
    runs = {pair for pair in zip(rows.column("model_name"), rows.column("run"), strict=True) if pair[1]}
    if len(runs) > len({model_name for model_name, _ in runs}):
        columns.append(Column(title="Run", text=_run, key=_run, numeric=False))
    if different and set(different) & {"Machine", "Runtime"}:
        columns.append(_keyed("On", _settings(rows), _setting))
    elif "Threads" in different:
        columns.append(
            Column(
                title="Threads",
                text=lambda row: str(row.conditions.num_threads or DASH),
                key=lambda row: row.conditions.num_threads,
            )
        )
    if "Data set" in different:
        columns.append(_keyed("Data", _datasets(rows), dataset_text))
    return columns


def _run(row: ReportRow) -> str:
    """'photos-2' of the run mobilenet_160-photos-2, whose model is mobilenet_160."""
    return (row.file.run or DASH).removeprefix(f"{row.model.model_name}-")


def _keyed(title: str, keys: dict[str, str], read: object) -> Column:
    assert callable(read)
    return Column(title=title, text=lambda row: keys.get(read(row) or "", DASH), key=read, numeric=False)


def _setting(row: ReportRow) -> str | None:
    """'Xeon 8481C; litert 2.3.0, cpu; 1 thread'."""
    texts = [CONDITIONS[name](row) for name in SETTING]
    return None if row.conditions.machine is None else "; ".join(text for text in texts if text)


def _settings(rows: ReportRows) -> dict[str, str]:
    found = dict.fromkeys(text for row in rows.kinds if (text := _setting(row)))
    return {text: _letter(place) for place, text in enumerate(found)}


def _datasets(rows: ReportRows) -> dict[str, str]:
    found = dict.fromkeys(text for row in rows.kinds if (text := dataset_text(row)))
    return {text: str(place + 1) for place, text in enumerate(found)}


def _letter(place: int) -> str:
    """A ... Z, AA ... AZ, BA ..."""
    letter = ascii_uppercase[place % 26]
    return letter if place < 26 else _letter(place // 26 - 1) + letter


def _notes(rows: ReportRows, part: Excerpt) -> list[RenderableType]:
    different = differing(rows)
    lines = [] if part.is_whole else [f"{part.in_words}. All: --format csv. Fewer: --top, --where, --family"]
    lines += [
        f"{name}: {texts[0]}"
        for name, texts in shared_conditions(rows).items()
        if len(texts) == 1 and not (name in SETTING and set(different) & {"Machine", "Runtime"})
    ]
    if set(different) & {"Machine", "Runtime"}:
        lines.extend(f"On {letter}: {text}" for text, letter in _settings(rows).items())
    if "Data set" in different:
        lines.extend(f"Data {number}: {text}" for text, number in _datasets(rows).items())
    if part.num_best:
        lines.append(LEGEND)
    if any(NOT_MEASURED in (column.text(row) for column in SHORT) for row in part.rows):
        lines.append(f"{DASH} {NOT_MEASURED}")
    notes: list[RenderableType] = [line(text, style="dim") for text in lines]
    return [*notes, *(line(text, style="red") for text in doubts(part.rows))]

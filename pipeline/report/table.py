"""The report as a terminal's table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.report.columns import MEDIAN, SHORT, TOP1, Column, condition_columns
from pipeline.report.conditions import LEGEND, STAR, invalid_notes, shared_conditions
from pipeline.report.figures import NOT_MEASURED
from pipeline.report.terminal import rendered
from pipeline.store.row import ReportRow


def terminal_table(rows: Sequence[ReportRow], *, width: int, colour: bool) -> str:
    """The table, the conditions that all rows share, and why a measurement does not count."""
    columns = (*SHORT, *condition_columns(rows))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("", width=1)
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=column.numeric,
        )
    for row in rows:
        style = "bold" if row.pareto else ""
        cells = [Text(_cell(column, row), style=_cell_style(column, row)) for column in columns]
        table.add_row(Text(STAR if row.pareto else "", style="green"), *cells, style=style)
    return rendered(Group(table, *_notes(rows)), width=width, colour=colour)


def _cell(column: Column, row: ReportRow) -> str:
    """The column's words; in the side columns a dash says "not measured" in less room."""
    text = column.text(row)
    return "–" if text == NOT_MEASURED and column not in (TOP1, MEDIAN) else text


def _cell_style(column: Column, row: ReportRow) -> str:
    text = column.text(row)
    if text == NOT_MEASURED:
        return "dim"
    return "red" if column is MEDIAN and row.valid is False else ""


def _notes(rows: Sequence[ReportRow]) -> list[RenderableType]:
    notes = [
        Text(f"{name}: {texts[0]}", style="dim")
        for name, texts in shared_conditions(rows).items()
        if len(texts) == 1
    ]
    if any(row.pareto for row in rows):
        notes.append(Text(LEGEND, style="dim"))
    notes.extend(Text(f"not valid: {text}", style="red") for text in invalid_notes(rows))
    return list(notes)

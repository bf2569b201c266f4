"""The report for machines and documents: JSON, CSV and Markdown. Standard library only."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import cache
from io import StringIO
from typing import Any

from pipeline.records.report_row import COLUMNS, ReportRow, row_as_json
from pipeline.report.columns import ALL, Column, condition_columns
from pipeline.report.conditions import LEGEND, STAR, doubts, shared_conditions
from pipeline.store.rows import ReportRows
from pipeline.terminal import printable

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a text begins that a spreadsheet may run (OWASP, CSV injection)."""


def json_text(rows: Sequence[ReportRow]) -> str:
    """A JSON array of records whose keys are COLUMNS."""
    return json.dumps([row_as_json(row) for row in rows], indent=2) + "\n"


def csv_text(rows: Sequence[ReportRow]) -> str:
    """A header of COLUMNS, then one line per row; a missing figure is empty, knobs are JSON.

    No cell is a formula for a spreadsheet.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    stored = ReportRows.of(rows)
    writer.writerows(zip(*(_csv_column(name, stored) for name in COLUMNS), strict=True))
    return buffer.getvalue()


def _csv_column(name: str, rows: ReportRows) -> list[Any]:
    """The cells of one figure."""
    values = rows.column(name)
    if name == "pareto":
        return ["true" if place in rows.best else "false" for place in range(len(rows))]
    if name == "valid":
        return [None if value is None else "true" if value else "false" for value in values]
    if name == "session":
        values = rows.sessions()
    elif name == "path":
        values = [rows.located(value) for value in values]
    elif name in LISTS:
        values = [LISTS[name](value) for value in values]
    cells = {value: spreadsheet_cell(value) for value in set(values) if isinstance(value, str)}
    return [cells.get(value, value) for value in values] if cells else values


@cache
def _knobs(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


@cache
def _reasons(text: str) -> str:
    return "; ".join(json.loads(text))


@cache
def _flags(text: str) -> str:
    return " ".join(json.loads(text))


LISTS = {"knobs": _knobs, "reasons": _reasons, "extra_flags": _flags}
"""Figures that the store holds as JSON -> their text in a cell."""


def spreadsheet_cell(value: Any) -> Any:  # noqa: ANN401 - a cell is what its figure is
    """The value; a text without control characters, and with an apostrophe if it would be a formula."""
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(FORMULAS) else value
    return text if text.isprintable() else printable(text)


def markdown_text(rows: Sequence[ReportRow]) -> str:
    """A Markdown table with its conditions above it."""
    columns = (*ALL, *condition_columns(rows))
    conditions = [
        f"- {name}: {'; '.join(_escaped(text) for text in texts)}"
        for name, texts in shared_conditions(rows).items()
        if texts
    ]
    header = ["", *(column.title for column in columns)]
    rule = [":-:", *("--:" if column.numeric else ":--" for column in columns)]
    body = [[STAR if row.pareto else "", *(_cell(column, row) for column in columns)] for row in rows]
    table = [f"| {' | '.join(cells)} |" for cells in (header, rule, *body)]
    notes = [LEGEND, *(_escaped(note) for note in doubts(rows))]
    parts = ["\n".join(conditions), "\n".join(table), "\n\n".join(notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(column: Column, row: ReportRow) -> str:
    return _escaped(column.text(row))


def _escaped(text: str) -> str:
    """The text as one line, with Markdown's characters escaped."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())

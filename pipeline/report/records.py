"""The report for machines and documents: JSON, CSV and Markdown. Standard library only."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

from pipeline.records.report_row import COLUMNS, ReportRow, row_as_json
from pipeline.report.columns import ALL, Column, condition_columns
from pipeline.report.conditions import LEGEND, STAR, doubts, shared_conditions
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
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        record = row_as_json(row)
        record["knobs"] = json.dumps(row.model.knobs, sort_keys=True)
        record["reasons"] = "; ".join(row.latency.reasons)
        record["extra_flags"] = " ".join(row.conditions.extra_flags)
        record |= {
            name: str(value).lower() for name in ("valid", "pareto") if (value := record[name]) is not None
        }
        writer.writerow({name: spreadsheet_cell(value) for name, value in record.items()})
    return buffer.getvalue()


def spreadsheet_cell(value: Any) -> Any:  # noqa: ANN401 - a cell is what its figure is
    """The value; a text without control characters, and with an apostrophe if it would be a formula."""
    if not isinstance(value, str):
        return value
    return printable(f"'{value}" if value.startswith(FORMULAS) else value)


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

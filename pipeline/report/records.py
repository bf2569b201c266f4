"""The report for machines and documents: JSON, CSV and Markdown. Standard library only."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from functools import cache
from io import StringIO
from itertools import pairwise
from typing import Any

from pipeline.records.report_row import COLUMNS, ReportRow, row_as_json
from pipeline.report.columns import ALL, Column, condition_columns
from pipeline.report.conditions import LEGEND, STAR, doubts, shared_conditions
from pipeline.store.rows import ReportRows, session_in, uncollected
from pipeline.terminal import printable

CUTS = tuple(
    COLUMNS.index(name)
    for name in ("model_name", "median_ms", "num_threads", "measured_utc", "phone_top1", "sha256", "pareto")
)
"""Where a row's figures divide into those of the file, the measurement, its setting, ... ."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a text begins that a spreadsheet may run (OWASP, CSV injection)."""


def json_text(rows: Sequence[ReportRow]) -> str:
    """A JSON array of records whose keys are COLUMNS."""
    return json.dumps([row_as_json(row) for row in rows], indent=2) + "\n"


def csv_text(rows: Sequence[ReportRow]) -> str:
    """A header of COLUMNS, then one line per row; a missing figure is empty, knobs are JSON.

    No cell is a formula for a spreadsheet.
    """
    stored = ReportRows.of(rows)
    parts = [(_csv_part(COLUMNS[start:stop], stored), slice(start, stop)) for start, stop in pairwise(CUTS)]
    end = _csv_part(COLUMNS[CUTS[-1] :], stored)
    texts = [",".join(COLUMNS)]
    with uncollected():
        for place, figures in enumerate(stored.figures):
            cells = [text(figures[each]) for text, each in parts]
            texts.append(",".join((*cells, end((place in stored.best, figures[-1])))))
    return "\n".join((*texts, ""))


def _csv_part(names: Sequence[str], rows: ReportRows) -> Callable[[tuple[Any, ...]], str]:
    """What makes the cells of these figures; most rows share them with others."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="")
    convert: dict[str, Callable[[Any], Any]] = {
        **LISTS, "valid": _yes_or_no, "path": rows.located, "pareto": _yes_or_no, "session": session_in,
    }  # fmt: skip
    conversions = [(place, convert[name]) for place, name in enumerate(names) if name in convert]

    def cells(figures: tuple[Any, ...]) -> str:
        values = list(figures)
        for place, conversion in conversions:
            values[place] = conversion(values[place])
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([spreadsheet_cell(value) if type(value) is str else value for value in values])
        return buffer.getvalue()

    return cells if "median_ms" in names else cache(cells)


def _yes_or_no(valid: int | None) -> str | None:
    return None if valid is None else "true" if valid else "false"


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

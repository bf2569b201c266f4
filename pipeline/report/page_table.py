"""The page's table. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from pipeline.records.report_row import ReportRow
from pipeline.report.columns import FIRST, INIT, MEDIAN, MEMORY, MODEL, SHA256, SPREAD, Column
from pipeline.report.conditions import LEGEND
from pipeline.report.figures import NOT_MEASURED

NO_STAR = '<span class="star"></span>'
PAGE_LINES = 100
"""Lines of the table that are laid out at once."""
SHOW_REST = "<noscript><style>#rest { display: table-row-group; }</style></noscript>"
TIMINGS = (SPREAD, FIRST, INIT, MEMORY)


def table_html(
    rows: Sequence[ReportRow], columns: Sequence[Column], links: Mapping[str, str] | None = None
) -> str:
    """A table that is complete without JavaScript; `data-row` is the row's index in `rows`.

    `links`: SHA-256 -> the address of the file's own page.
    """
    headers = "".join(_header(column) for column in columns)
    lines = [_line(index, row, columns, links or {}) for index, row in enumerate(rows)]
    first, rest = "".join(lines[:PAGE_LINES]), "".join(lines[PAGE_LINES:])
    hidden = f'<tbody id="rest" hidden>{rest}</tbody>' if rest else ""
    return (
        f'<table id="rows" data-page-lines="{PAGE_LINES}"><thead><tr>{headers}</tr></thead>'
        f"<tbody>{first}</tbody>{hidden}</table>{SHOW_REST if rest else ''}"
    )


def _header(column: Column) -> str:
    kind = ' class="number"' if column.numeric else ""
    title = f' title="{escape(column.explained)}"' if column.explained else ""
    first = "descending" if column.descending else "ascending"
    button = f'<button type="button"{title}>{escape(column.title)}</button>'
    return f'<th scope="col"{kind} data-first="{first}">{button}</th>'


def _line(index: int, row: ReportRow, columns: Sequence[Column], links: Mapping[str, str]) -> str:
    kinds = [name for name, holds in (("best", row.pareto), ("invalid", row.latency.valid is False)) if holds]
    cells = "".join(_cell(column, row, links.get(row.file.sha256)) for column in columns)
    return f'<tr data-row="{index}" class="{" ".join(kinds)}">{cells}</tr>'


def _cell(column: Column, row: ReportRow, link: str | None) -> str:
    if column is MODEL:
        star = f'<span class="star" title="{escape(LEGEND)}">★</span>' if row.pareto else NO_STAR
        words = escape(row.model.model_name).replace("_", "_<wbr>")
        words = words if link is None else f'<a href="{escape(quote(link))}">{words}</a>'
        name = f"<span>{words}{_reasons(row)}</span>"
        return (
            f'<th scope="row" title="{escape(row.file.path or "")}"><div class="name">{star}{name}</div></th>'
        )
    kinds = [
        name
        for name, holds in (
            ("number", column.numeric),
            ("timing", column in TIMINGS),
            ("mono", column is SHA256),
        )
        if holds
    ]
    title = f' title="{row.file.sha256}"' if column is SHA256 else ""
    return f'<td class="{" ".join(kinds)}"{title}>{_content(column, row)}</td>'


def _reasons(row: ReportRow) -> str:
    if row.latency.valid is not False:
        return ""
    return f'<small class="reason">{escape("; ".join(row.latency.reasons) or "no reason given")}</small>'


def _content(column: Column, row: ReportRow) -> str:
    if column is MEDIAN and row.latency.valid is False:
        return '<span class="bad">not valid</span>'
    text = column.text(row)
    return f'<span class="none">{text}</span>' if text == NOT_MEASURED else escape(text)

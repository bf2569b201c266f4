"""The report as one HTML file that works offline: three charts and a table with common filters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from pipeline.records.report_row import ReportRow
from pipeline.report import pick
from pipeline.report.charts import (
    ACCURACY,
    LATENCY,
    MOST_LABELS,
    TOOLTIPS,
    VIEWS,
    View,
    add_point_labels,
    chart_record,
    chart_spec,
    precision_shapes,
)
from pipeline.report.columns import Column, Key, page_columns, shared_columns
from pipeline.report.conditions import BEST, LEGEND, shared_conditions
from pipeline.report.document import document
from pipeline.report.excerpt import Excerpt, excerpt
from pipeline.report.figures import DASH, NOT_MEASURED, utc_text
from pipeline.report.page_table import table_html
from pipeline.report.pick import add_contest, picker_html
from pipeline.report.theme import vega_config
from pipeline.report.vega import vega_script
from pipeline.store.rows import ReportRows
from pipeline.terminal import printable
from spelling import counted

TITLE = "Size, latency and accuracy"
HEIGHTS = {"size-latency": 420}
SMALL_HEIGHT = 300
MOST_ROWS = 2500
"""A page of more would take seconds to load."""
MOST_CONDITIONS = 6
"""Values of one condition above the charts; the table and the filters have all."""
ALWAYS_USED = (
    "row", "drawn", "pareto", "valid", "model_name", "label", "point_label", "machine_text",
    *(LATENCY.ends or ()), *(ACCURACY.ends or ()),
)  # fmt: skip
"""Fields of a row that the page needs besides those that it filters by and draws."""
FILTERS = {
    "family": "Family",
    "precision": "Precision",
    "dataset_text": "Data set",
    "machine_text": "Machine",
    "runtime_text": "Runtime",
    "threads_text": "Threads",
}
ALWAYS_SHOWN = ("family", "precision")
GLYPHS = {
    "circle": "●",
    "square": "■",
    "triangle-up": "▲",
    "diamond": "◆",
    "cross": "✚",
    "triangle-down": "▼",
}
"""Of charts.SHAPES."""
MOST_MACHINES = 6
"""Machines with charts; the table has all."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:"
)
"""Forbids every network request; Vega compiles its expressions and needs unsafe-eval."""
PAGER = (
    '<nav id="pager" class="pager" aria-label="Pages of the table" hidden>'
    '<button type="button" class="previous">Previous</button><span aria-live="polite"></span>'
    '<button type="button" class="next">Next</button></nav>'
)
SCRIPTS = ("pick.js", "point_labels.js", "page.js")
BODY = """<div class="page">
{content}
</div>
<script type="application/json" id="report-data">{data}</script>
<script>{vega}</script>
<script>{script}</script>"""


def page_text(
    rows: Sequence[ReportRow],
    *,
    written_utc: str | None = None,
    csv_name: str | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The whole page, with Vega-Lite inline; all user text is escaped.

    Of more than MOST_ROWS it shows a part, and names the file beside it that has all. `links`: SHA-256 -> the
    address of the page of what the file gets wrong.
    """
    written_utc = written_utc or datetime.now(UTC).isoformat(timespec="seconds")
    rows = ReportRows.of(rows)
    part = excerpt(rows, MOST_ROWS)
    columns = page_columns(rows)
    shared = shared_columns(part.rows, columns) if part.is_whole else {}
    columns = tuple(column for column in columns if column not in shared)
    records = [chart_record(index, row) for index, row in enumerate(part.rows)]
    settings = add_contest(records)
    add_point_labels(records, machines=False)
    machines = _machines(records)
    content = "\n".join(
        (
            f"<h1>{TITLE}</h1>",
            f'<p class="lede">{escape(_lede(rows))}</p>',
            _part(part, csv_name),
            _conditions(rows, {column.title: text for column, text in shared.items()}),
            picker_html(),
            _filters(records),
            _figures(machines),
            _sheet(part.rows, columns, links or {}),
            _footer(written_utc),
        )
    )
    body = BODY.format(
        content=printable(content),
        data=_data(part.rows, records, columns, settings=settings, machines=machines),
        vega=vega_script(),
        script="".join(map(_resource, SCRIPTS)),
    )
    return document(title=TITLE, policy=POLICY, style=_resource("page.css"), body=body)


def json_for_script(content: Any) -> str:  # noqa: ANN401 - whatever JSON takes
    """JSON escaped for a <script> element, so that no user text can end the element or turn its direction."""
    text = printable(json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _data(
    rows: Sequence[ReportRow],
    records: list[dict[str, Any]],
    columns: Sequence[Column],
    *,
    settings: Sequence[str],
    machines: Sequence[str],
) -> str:
    drawn = {field for view in VIEWS for field in view.fields}
    used = {*FILTERS, *TOOLTIPS, *ALWAYS_USED, *pick.FIELDS, *drawn}
    keyed = [
        {
            **{name: value for name, value in record.items() if name in used},
            "keys": [_key(column, row) for column in columns],
        }
        for record, row in zip(records, rows, strict=True)
    ]

    specs = {
        view.name: chart_spec(view, records, height=_height(view, machines), precision_legend=False)
        for view in VIEWS
    }
    charts = [
        {
            "name": _chart_name(view, place),
            "view": view.name,
            "machine": machine,
            "fields": list(view.fields[:2]),
            "ends": [list(measure.ends or ()) for measure in (view.x, view.y)],
        }
        for view in VIEWS
        for place, machine in enumerate(machines or (None,))
    ]
    config = {"light": vega_config(dark=False), "dark": vega_config(dark=True)}
    return json_for_script(
        {
            "rows": keyed,
            "charts": charts,
            "specs": specs,
            "config": config,
            "groups": _groups(records),
            "settings": list(settings),
            "most_labels": MOST_LABELS,
        }
    )


def _key(column: Column, row: ReportRow) -> Key:
    """What the page sorts by: seven digits tell two figures apart."""
    key = column.key(row)
    return float(f"{key:.7g}") if isinstance(key, float) else key


def _part(part: Excerpt, csv_name: str | None) -> str:
    """Says what is shown of how many rows, and where all are."""
    if part.is_whole:
        return ""
    link = f'<a href="{escape(quote(csv_name))}">{escape(csv_name)}</a>' if csv_name else "--format csv"
    return f'<p class="part">Drawn and listed: {escape(part.in_words)}. All rows: {link}</p>'


def _lede(rows: ReportRows) -> str:
    files, models = set(rows.column("sha256")), set(rows.column("model_name"))
    best = [rows.column("sha256")[place] for place in rows.best]
    text = f"{counted(len(files), 'exported file')} of {counted(len(models), 'model')}."
    if best:
        which = "One is" if len(set(best)) == 1 else f"{len(set(best))} are"
        points = f" at {counted(len(best), 'point')}" if len(best) > len(set(best)) else ""
        text += f" {which} ringed and starred{points}: {BEST}."
    return text


def _conditions(rows: Sequence[ReportRow], shared: Mapping[str, str]) -> str:
    """The conditions, and what is the same in every line of the table."""
    told = {title: (text,) for title, text in shared.items() if text not in (NOT_MEASURED, DASH)}
    unknown = ", ".join(title for title, text in shared.items() if text == NOT_MEASURED)
    found = {**shared_conditions(rows), **told, **({"Not measured": (unknown,)} if unknown else {})}
    entries = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_listed(texts) or 'not measured')}</dd></div>"
        for name, texts in found.items()
    )
    return f'<dl class="conditions">{entries}</dl>'


def _listed(texts: Sequence[str]) -> str:
    """The texts, the first few of many."""
    more = f"; and {len(texts) - MOST_CONDITIONS} more" if len(texts) > MOST_CONDITIONS else ""
    return "; ".join(texts[:MOST_CONDITIONS]) + more


def _groups(records: Sequence[dict[str, Any]]) -> list[str]:
    """The fields to filter by: family, precision, and each condition with several values."""
    several = {field: len({record[field] for record in records} - {NOT_MEASURED}) > 1 for field in FILTERS}
    return [field for field in FILTERS if field in ALWAYS_SHOWN or several[field]]


def _filters(records: Sequence[dict[str, Any]]) -> str:
    shapes = precision_shapes(records)
    fieldsets = []
    for field in _groups(records):
        values = sorted({record[field] for record in records})
        chips = "".join(
            _chip(field, value, glyph=GLYPHS[shapes[value]] if field == "precision" else "")
            for value in values
        )
        fieldsets.append(
            f'<fieldset><legend>{FILTERS[field]}</legend><div class="chips">{chips}</div></fieldset>'
        )
    best = '<label class="chip toggle"><input type="checkbox" name="best"><span>★ best only</span></label>'
    tail = (
        '<div class="tail"><span id="count" aria-live="polite"></span>'
        '<button type="reset" class="reset" hidden>Show all</button></div>'
    )
    show = f'<fieldset><legend>Show</legend><div class="chips">{best}</div></fieldset>'
    return f'<form id="filters" class="filters" autocomplete="off">{"".join(fieldsets)}{show}{tail}</form>'


def _chip(field: str, value: str, *, glyph: str) -> str:
    mark = f'<i aria-hidden="true">{glyph}</i>' if glyph else ""
    box = f'<input type="checkbox" name="{field}" value="{escape(value)}" checked>'
    return f'<label class="chip">{box}<span>{mark}{escape(value)}</span></label>'


def _machines(records: Sequence[dict[str, Any]]) -> list[str]:
    """The machines with a chart of their own, those with most points first; none where there is one alone."""
    counts = Counter(record["machine_text"] for record in records if record["drawn"])
    return [] if len(counts) < 2 else [machine for machine, _ in counts.most_common(MOST_MACHINES)]


def _height(view: View, machines: Sequence[str]) -> int:
    return SMALL_HEIGHT if machines else HEIGHTS.get(view.name, SMALL_HEIGHT)


def _chart_name(view: View, place: int) -> str:
    return f"{view.name}-{place}" if place else view.name


def _figures(machines: Sequence[str]) -> str:
    """The charts; of several machines one a machine, with the same axes."""
    if not machines:
        return f'<div class="charts one">{"".join(_figure(view, 0, view.title) for view in VIEWS)}</div>'
    return "".join(
        f'<h2 class="view">{escape(view.title)}</h2><div class="charts">'
        + "".join(_figure(view, place, machine) for place, machine in enumerate(machines))
        + "</div>"
        for view in VIEWS
    )


def _figure(view: View, place: int, title: str) -> str:
    name = _chart_name(view, place)
    return (
        f'<figure><figcaption><h2>{escape(title)}</h2><p id="note-{name}"></p></figcaption>'
        f'<div class="chart" id="chart-{name}"></div></figure>'
    )


def _sheet(rows: Sequence[ReportRow], columns: Sequence[Column], links: Mapping[str, str]) -> str:
    return (
        '<section class="sheet"><header><h2>Every file</h2>'
        f"<p>Click a heading to sort{', a model to see what it gets wrong' if links else ''}</p>"
        "</header>"
        '<div class="table-wrap" tabindex="0" role="region" aria-label="Every file">'
        f"{table_html(rows, columns, links)}"
        f"{PAGER}"
        '<p class="nothing" id="empty" hidden>No file passes these filters.</p></div></section>'
    )


def _footer(written_utc: str) -> str:
    notes = (
        f"{LEGEND}. Files compete with the same data set, machine, runtime, delegate and threads only.",
        "A measurement that is not valid is shown with its reasons, is not drawn and takes no part.",
        "Top-1 is the exported file's own. A grey point has a latency but no accuracy yet.",
        f"Written {utc_text(written_utc)} by keras-mobile-pipeline {version('keras-mobile-pipeline')}.",
    )
    return f"<footer>{''.join(f'<p>{escape(note)}</p>' for note in notes)}</footer>"


def _resource(name: str) -> str:
    return files("pipeline.report").joinpath(name).read_text(encoding="utf-8")

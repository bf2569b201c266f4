"""The chart of size and latency as a picture for documents."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import vl_convert

from pipeline.records.report_row import ReportRow
from pipeline.report.charts import (
    DATA,
    LABELS,
    VIEWS,
    add_point_labels,
    chart_labels,
    chart_record,
    chart_spec,
)
from pipeline.report.conditions import LEGEND, shared_conditions
from pipeline.report.excerpt import excerpt
from pipeline.report.theme import vega_config
from pipeline.terminal import printable

WIDTH, HEIGHT = 760, 440
SUBTITLE_LETTERS = 120
"""Characters per line of conditions at that width."""
MOST_LINES = 4
"""Lines of conditions."""
MOST_POINTS = 2500
"""More are drawn as a sample."""
FONTS = "Liberation Sans, Arial, sans-serif"
"""vl-convert includes Liberation Sans, so that a picture is the same on every machine."""


def png_bytes(rows: Sequence[ReportRow]) -> bytes:
    """The chart as PNG, two pixels per point."""
    return drawn_png(_spec(rows))


def svg_text(rows: Sequence[ReportRow]) -> str:
    """The chart as SVG."""
    return drawn_svg(_spec(rows))


def pdf_bytes(rows: Sequence[ReportRow]) -> bytes:
    """The chart as PDF."""
    return bytes(vl_convert.vegalite_to_pdf(_drawable(_spec(rows))))


def drawn_png(spec: dict[str, Any]) -> bytes:
    """A Vega-Lite specification as PNG, two pixels per point."""
    return bytes(vl_convert.vegalite_to_png(_drawable(spec), scale=2))


def drawn_svg(spec: dict[str, Any]) -> str:
    """A Vega-Lite specification as SVG."""
    return str(vl_convert.vegalite_to_svg(_drawable(spec)))


def _drawable(part: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """The part of a specification with its texts made printable: vl-convert aborts the process otherwise."""
    if isinstance(part, dict):
        return {name: _drawable(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_drawable(value) for value in part]
    return printable(part) if isinstance(part, str) else part


def _few(lines: list[str]) -> list[str]:
    """The first lines, with an ellipsis if there are more."""
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1]} …"]


def _spec(rows: Sequence[ReportRow]) -> dict[str, Any]:
    part = excerpt(rows, MOST_POINTS)
    records = [chart_record(index, row) for index, row in enumerate(part.rows)]
    add_point_labels(records, machines=True)
    spec = chart_spec(VIEWS[0], records, height=HEIGHT, precision_legend=True)
    labels = chart_labels(VIEWS[0], records, width=WIDTH, height=HEIGHT)
    conditions = [
        "; ".join(texts) for name, texts in shared_conditions(rows).items() if texts and name != "Measured"
    ]
    return {
        **spec,
        "width": WIDTH,
        "datasets": {DATA: records, LABELS: labels},
        "title": {
            "text": VIEWS[0].title,
            "subtitle": [
                *([f"Drawn: {part.in_words}."] if not part.is_whole else []),
                *_few(textwrap.wrap(" · ".join(conditions), SUBTITLE_LETTERS)),
                LEGEND.replace("★", "Ringed:"),
            ],
            "anchor": "start",
            "fontSize": 16,
            "subtitleFontSize": 12,
            "subtitlePadding": 6,
            "offset": 14,
        },
        "config": {**vega_config(dark=False, fonts=FONTS), "background": "#ffffff", "padding": 16},
    }

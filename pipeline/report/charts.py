"""The three scatter charts as Vega-Lite: two figures as axes, the third as colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from pipeline.records.report_row import ReportRow, is_drawn, row_as_json
from pipeline.report import figures
from pipeline.report.conditions import dataset_text, machine_text, runtime_text, threads_text, top1_text

DATA = "rows"
"""The name of the charts' data set, which the page fills and filters."""
LOG_RATIO = 12.0
"""An axis is logarithmic if the largest figure is at least this many times the smallest."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
MOST_LABELS = 9
"""Points have labels if there are at most this many."""
MANY = 400
"""More points than this are small, and the rings above them."""
NO_COLOUR = "#8a8f98"
"""Colour of a point whose third figure was not measured."""
TOOLTIPS = {
    "model_name": "Model",
    "precision": "Precision",
    "size_text": "Size",
    "top1_text": "Top-1",
    "interval_text": "95% interval",
    "change_text": "Change",
    "agreement_text": "Agreement",
    "median_text": "Median",
    "spread_text": "p5–p95",
    "first_text": "First run",
    "memory_text": "Peak memory",
    "conditions_text": "Measured on",
    "dataset_text": "Data set",
    "short_sha256": "sha256",
}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure that can be an axis or the colour."""

    field: str
    title: str
    short: str
    may_be_log: bool = True


SIZE = Measure(field="size_mb", title="Size of the .tflite file (MB)", short="Size (MB)")
LATENCY = Measure(field="median_ms", title="Median latency of one image (ms)", short="Median (ms)")
ACCURACY = Measure(
    field="tflite_top1", title="Top-1 of the exported file (%)", short="Top-1 (%)", may_be_log=False
)


@dataclass(frozen=True, kw_only=True)
class View:
    """A chart's choice of axes and colour among size, latency and accuracy."""

    name: str
    x: Measure
    y: Measure
    colour: Measure

    @property
    def fields(self) -> tuple[str, str, str]:
        """The figures on the axes and as colour."""
        return self.x.field, self.y.field, self.colour.field

    @property
    def title(self) -> str:
        """'Size against latency, accuracy as colour'."""
        words = {SIZE.field: "size", LATENCY.field: "latency", ACCURACY.field: "accuracy"}
        x, y, colour = (words[measure.field] for measure in (self.x, self.y, self.colour))
        return f"{x.capitalize()} against {y}, {colour} as colour"


VIEWS = (
    View(name="size-latency", x=SIZE, y=LATENCY, colour=ACCURACY),
    View(name="size-accuracy", x=SIZE, y=ACCURACY, colour=LATENCY),
    View(name="latency-accuracy", x=LATENCY, y=ACCURACY, colour=SIZE),
)


def chart_record(index: int, row: ReportRow) -> dict[str, Any]:
    """The row's record for the charts and the page's filters: its fields, and its figures as text."""
    return {
        **row_as_json(row),
        "row": index,
        "drawn": is_drawn(row),
        "family": row.model.family or "other",
        "precision": row.file.precision or "unknown",
        "size_mb": None if row.file.size_bytes is None else row.file.size_bytes / 1e6,
        "size_text": figures.size_text(row.file.size_bytes),
        "top1_text": top1_text(row),
        "interval_text": figures.interval_text(row.accuracy.tflite_top1_low, row.accuracy.tflite_top1_high),
        "change_text": _change(row),
        "agreement_text": figures.percent_text(row.accuracy.agreement),
        "median_text": figures.latency_text(row.latency.median_ms, row.latency.avg_ms),
        "spread_text": figures.range_text(row.latency.p5_ms, row.latency.p95_ms),
        "first_text": figures.ms_text(row.latency.first_ms),
        "memory_text": figures.size_text(row.latency.peak_memory_bytes),
        "machine_text": machine_text(row) or figures.NOT_MEASURED,
        "runtime_text": runtime_text(row) or figures.NOT_MEASURED,
        "threads_text": threads_text(row) or figures.NOT_MEASURED,
        "dataset_text": dataset_text(row) or figures.NOT_MEASURED,
        "conditions_text": ", ".join(
            text for text in (machine_text(row), runtime_text(row), threads_text(row)) if text
        ),
        "label": f"{row.model.model_name} {row.file.precision or ''}".strip(),
        "short_sha256": row.file.sha256[:12],
    }


def chart_spec(
    view: View, records: Sequence[dict[str, Any]], *, height: int, family_legend: bool
) -> dict[str, Any]:
    """The view's Vega-Lite specification, as wide as its container; its data is the named set `rows`.

    Rows without a figure on an axis (no valid latency, size or accuracy) are left out. The parameter
    `highlight` is the `row` of a point to show larger, `chosen` that of the sliders; `labelled` shows the
    points' names.
    """
    drawn = [record for record in records if record["drawn"]]
    place = {"x": _axis(alt.X, view.x, drawn), "y": _axis(alt.Y, view.y, drawn)}
    base = alt.Chart(alt.NamedData(name=DATA)).transform_filter(
        f"datum.drawn && isValid(datum.{view.x.field}) && isValid(datum.{view.y.field})"
    )
    size = 120 if len(drawn) <= MANY else 40
    marks = base.mark_point(style="points", filled=True).encode(
        shape=_shape(records, legend=family_legend),
        size=alt.SizeValue({"expr": f"datum.row === highlight ? 420 : datum.row === chosen ? 280 : {size}"}),
        tooltip=[alt.Tooltip(f"{field}:N", title=title) for field, title in TOOLTIPS.items()],
    )
    points, rings = _points(marks, view.colour, drawn), _rings(base, 2.5 * size)
    layers = (*((rings, *points) if len(drawn) <= MANY else (*points, rings)), _labels(base, view.x, drawn))
    parameters = {
        "highlight": -1,
        "chosen": -1,
        "labelled": len(drawn) <= MOST_LABELS,
        "x_domain": _domain(view.x, drawn),
        "y_domain": _domain(view.y, drawn),
    }
    chart = alt.layer(*layers).encode(**place)
    chart = chart.add_params(*(alt.param(name=name, value=value) for name, value in parameters.items()))
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    spec.pop("config", None)
    return spec


def family_shapes(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Family -> mark, in order of the families' names."""
    families = sorted({record["family"] for record in records})
    return {family: SHAPES[place % len(SHAPES)] for place, family in enumerate(families)}


def is_log(measure: Measure, records: Sequence[dict[str, Any]]) -> bool:
    """Whether the figure's axis is logarithmic, by its range."""
    values = [value for record in records if (value := record[measure.field])]
    return measure.may_be_log and bool(values) and max(values) / min(values) >= LOG_RATIO


def _rings(base: alt.Chart, size: float) -> alt.Chart:
    """Rings around the Pareto-best points."""
    rings = base.transform_filter("datum.pareto")
    return rings.mark_point(style="pareto", shape="circle", filled=False, size=size).properties(name="pareto")


def _points(
    marks: alt.Chart, colour: Measure, drawn: Sequence[dict[str, Any]]
) -> tuple[alt.Chart, alt.Chart]:
    """The points without a figure for the colour, in grey, and those with one.

    Two layers: in one, Vega-Lite either leaves null out or gives it the scale's first colour.
    """
    known = f"isValid(datum.{colour.field})"
    grey = marks.transform_filter(f"!{known}").encode(color=alt.ColorValue(NO_COLOUR))
    coloured = marks.transform_filter(known).encode(color=_colour(colour, drawn))
    return grey.properties(name="points_without_colour"), coloured.properties(name="points")


def _labels(base: alt.Chart, x: Measure, drawn: Sequence[dict[str, Any]]) -> alt.Chart:
    """Names beside the points, towards the middle of the chart, if the parameter `labelled` is set."""
    alone = len({record["model_name"] for record in drawn}) <= 1
    on_the_right = f"datum.{x.field} > (x_domain[0] + x_domain[1]) / 2"
    labels = base.transform_filter("labelled").mark_text(
        style="labels",
        align={"expr": f"{on_the_right} ? 'right' : 'left'"},
        dx={"expr": f"{on_the_right} ? -14 : 14"},
        limit=190,
        tooltip=None,
    )
    return labels.encode(text=alt.Text("precision:N" if alone else "label:N")).properties(name="labels")


def _change(row: ReportRow) -> str:
    text = figures.points_text(row.accuracy.drop_points)
    return text if row.accuracy.drop_points is None else f"{text} points"


def _axis(channel: Any, measure: Measure, records: Sequence[dict[str, Any]]) -> Any:  # noqa: ANN401 - altair's
    """The channel; its domain is the parameter x_domain or y_domain, which the page's filters set."""
    logarithmic = is_log(measure, records)
    domain = {"expr": f"{channel.__name__.lower()}_domain"}
    scale = alt.Scale(type="log" if logarithmic else "linear", domain=domain, nice=False, padding=26)
    axis = alt.Axis(values=_round_values(measure, records)) if logarithmic else alt.Axis(tickCount=6)
    return channel(f"{measure.field}:Q", title=measure.title, scale=scale, axis=axis)


def _domain(measure: Measure, records: Sequence[dict[str, Any]]) -> list[float]:
    """The range of the figures; a range around a single figure. page.js does the same."""
    values = [value for record in records if (value := record[measure.field]) is not None] or [1.0]
    low, high = min(values), max(values)
    if low < high:
        return [low, high]
    return [low * 0.98, high * 1.02] if low else [-1.0, 1.0]


def _round_values(measure: Measure, records: Sequence[dict[str, Any]]) -> list[float]:
    """1, 2 and 5 times the powers of ten within the figure's range, plus one at either end."""
    values = [value for record in records if (value := record[measure.field])]
    first, last = math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 1
    steps = [float(f"{step}e{power}") for power in range(first, last + 1) for step in (1, 2, 5)]
    return [step for step in steps if min(values) / 3 <= step <= max(values) * 3]


def _legend_values(measure: Measure, records: Sequence[dict[str, Any]]) -> list[float]:
    """As many round values as fit into the legend."""
    low, high = _domain(measure, records)
    values = [value for value in _round_values(measure, records) if low <= value <= high]
    return values[:: max(1, math.ceil(len(values) / 4))]


def _colour(measure: Measure, records: Sequence[dict[str, Any]]) -> Any:  # noqa: ANN401 - altair's
    """The third figure as colour; its range is fixed, so that filters do not change colours."""
    low, high = _domain(measure, records)
    kind = "log" if is_log(measure, records) else "linear"
    scale = alt.Scale(
        type=kind, domain=[low, min(high, 100.0)] if measure is ACCURACY else [low, high], nice=False
    )
    ticks = {"values": _legend_values(measure, records)} if kind == "log" else {"tickCount": 4}
    legend = alt.Legend(title=measure.short, format="~r", **ticks)
    return alt.Color(f"{measure.field}:Q", scale=scale, legend=legend)


def _shape(records: Sequence[dict[str, Any]], *, legend: bool) -> Any:  # noqa: ANN401 - altair's
    shapes = family_shapes(records)
    scale = alt.Scale(domain=list(shapes), range=list(shapes.values()))
    return alt.Shape("family:N", scale=scale, legend=alt.Legend(title="Family") if legend else None)

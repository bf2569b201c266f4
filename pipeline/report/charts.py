"""The three scatter charts as Vega-Lite: two figures as axes, the third as colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from pipeline.records.report_row import ReportRow, is_drawn, row_as_json
from pipeline.report import figures
from pipeline.report.conditions import dataset_text, machine_text, runtime_text, threads_text, top1_text
from pipeline.report.point_labels import place_labels

DATA = "rows"
"""The name of the charts' data set, which the page fills and filters."""
LABELS = "labels"
"""That of the points' labels, by point_labels."""
LOG_RATIO = 12.0
"""An axis is logarithmic if the largest figure is at least this many times the smallest."""
SHAPES = {
    "float32": "circle",
    "float16": "square",
    "dynamic": "diamond",
    "int16x8": "cross",
    "int8": "triangle-up",
    "unknown": "triangle-down",
}
"""The mark of each precision, the same in every report."""
MOST_LABELS = 60
"""Points have labels and intervals if there are at most this many; a label has its place where it fits."""
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
    ends: tuple[str, str] | None = None
    """The fields of its interval."""


SIZE = Measure(field="size_mb", title="Size of the .tflite file (MB)", short="Size (MB)")
LATENCY = Measure(
    field="median_ms",
    title="Median latency of one image (ms)",
    short="Median (ms)",
    ends=("median_low", "median_high"),
)
ACCURACY = Measure(
    field="tflite_top1",
    title="Top-1 of the exported file (%)",
    short="Top-1 (%)",
    may_be_log=False,
    ends=("tflite_top1_low", "tflite_top1_high"),
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
        "where_text": row.conditions.where or figures.NOT_MEASURED,
        "conditions_text": ", ".join(
            text for text in (machine_text(row), runtime_text(row), threads_text(row)) if text
        ),
        "label": f"{row.model.model_name} {row.file.precision or ''}".strip(),
        **_noise(row),
        "short_sha256": row.file.sha256[:12],
    }


def add_point_labels(records: Sequence[dict[str, Any]], *, machines: bool) -> None:
    """Adds `point_label` to each record: what tells its point from the others drawn.

    The model, unless there is one alone, the precision, and threads and machine where they differ.
    """
    drawn = [record for record in records if record["drawn"]]
    beside = [
        name for name in ("threads_text", *(["where_text"] if machines else [])) if _differ(drawn, name)
    ]
    first = "label" if _differ(drawn, "model_name") else "precision"
    for record in records:
        record["point_label"] = ", ".join(record[name] for name in (first, *beside))


def _differ(records: Sequence[dict[str, Any]], name: str) -> bool:
    return len({record[name] for record in records}) > 1


def chart_spec(
    view: View, records: Sequence[dict[str, Any]], *, height: int, precision_legend: bool
) -> dict[str, Any]:
    """The view's Vega-Lite specification, as wide as its container; its data is the named set `rows`.

    Rows without a figure on an axis (no valid latency, size or accuracy) are left out. The parameter
    `highlight` is the `row` of a point to show larger, `chosen` that of the sliders; `labelled` shows the
    points' intervals.
    """
    drawn = [record for record in records if record["drawn"]]
    place = {"x": _axis(alt.X, view.x, drawn), "y": _axis(alt.Y, view.y, drawn)}
    base = alt.Chart(alt.NamedData(name=DATA)).transform_filter(
        f"datum.drawn && isValid(datum.{view.x.field}) && isValid(datum.{view.y.field})"
    )
    size = 120 if len(drawn) <= MANY else 40
    marks = base.mark_point(style="points", filled=True).encode(
        shape=_shape(records, legend=precision_legend),
        size=alt.SizeValue({"expr": f"datum.row === highlight ? 420 : datum.row === chosen ? 280 : {size}"}),
        tooltip=[alt.Tooltip(f"{field}:N", title=title) for field, title in TOOLTIPS.items()],
    )
    points, rings = _points(marks, view.colour, drawn), _rings(base, 2.5 * size)
    layers = (
        *_intervals(base, view, drawn),
        *((rings, *points) if len(drawn) <= MANY else (*points, rings)),
        _labels(),
    )
    parameters = {
        "highlight": -1,
        "chosen": -1,
        "labelled": len(drawn) <= MOST_LABELS,
        "x_domain": list(_domain(view.x, drawn)),
        "y_domain": list(_domain(view.y, drawn)),
    }
    chart = alt.layer(*layers).encode(**place)
    chart = chart.add_params(*(alt.param(name=name, value=value) for name, value in parameters.items()))
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    spec.pop("config", None)
    return spec


def chart_labels(
    view: View, records: Sequence[dict[str, Any]], *, width: int, height: int
) -> list[dict[str, Any]]:
    """The labels for a picture of that size, by point_labels.place_labels; none for many points."""
    drawn = [record for record in records if record["drawn"]]
    placed = [record for record in drawn if None not in (record[view.x.field], record[view.y.field])]
    if len(drawn) > MOST_LABELS:
        return []
    axes = [(each.field, is_log(each, drawn), _domain(each, drawn)) for each in (view.x, view.y)]
    return place_labels(placed, axes, width=width, height=height)


def precision_shapes(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Precision -> mark, of those there are."""
    found = {record["precision"] for record in records}
    return {precision: shape for precision, shape in SHAPES.items() if precision in found}


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


def _intervals(base: alt.Chart, view: View, drawn: Sequence[dict[str, Any]]) -> list[alt.Chart]:
    """Thin lines over the intervals of the figures on the axes, if the parameter `labelled` is set."""
    lines = base.transform_filter("labelled").mark_rule(style="intervals", tooltip=None)
    made = []
    for axis, far_end, measure in ((alt.X, alt.X2, view.x), (alt.Y, alt.Y2, view.y)):
        if measure.ends is not None:
            low, high = measure.ends
            name = axis.__name__.lower()
            encoding = {name: _axis(axis, measure, drawn, field=low), f"{name}2": far_end(high)}
            known = lines.transform_filter(f"isValid(datum.{low}) && isValid(datum.{high})")
            made.append(known.encode(**encoding).properties(name=f"interval_{name}"))
    return made


def _labels() -> alt.Chart:
    """Texts at the places that point_labels found for them."""
    where = {"dx": {"expr": "datum.dx"}, "dy": {"expr": "datum.dy"}, "align": {"expr": "datum.align"}}
    base = alt.Chart(alt.NamedData(name=LABELS)).mark_text(style="labels", tooltip=None, **where)
    return base.encode(text=alt.Text("label:N")).properties(name="labels")


def _noise(row: ReportRow) -> dict[str, float | None]:
    """The ends of the median's interval."""
    median, noise = row.latency.median_ms, row.latency.noise_ms
    if not median or noise is None or noise >= median:
        return {"median_low": None, "median_high": None}
    return {"median_low": median - noise, "median_high": median + noise}


def _change(row: ReportRow) -> str:
    text = figures.points_text(row.accuracy.drop_points)
    return text if row.accuracy.drop_points is None else f"{text} points"


def _axis(
    channel: Any,  # noqa: ANN401
    measure: Measure,
    records: Sequence[dict[str, Any]],
    *,
    field: str | None = None,
) -> Any:  # noqa: ANN401 - altair's
    """The channel; its domain is the parameter x_domain or y_domain, which the page's filters set."""
    logarithmic = is_log(measure, records)
    domain = {"expr": f"{channel.__name__.lower()}_domain"}
    scale = alt.Scale(type="log" if logarithmic else "linear", domain=domain, nice=False, padding=26)
    axis = alt.Axis(values=_round_values(measure, records)) if logarithmic else alt.Axis(tickCount=6)
    return channel(f"{field or measure.field}:Q", title=measure.title, scale=scale, axis=axis)


def _domain(measure: Measure, records: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The range of the figures; a range around a single figure. page.js does the same."""
    fields = (measure.field, *(measure.ends or ())) if len(records) <= MOST_LABELS else (measure.field,)
    values = [value for record in records for each in fields if (value := record[each]) is not None] or [1.0]
    low, high = min(values), max(values)
    if low < high:
        return low, high
    return (low * 0.98, high * 1.02) if low else (-1.0, 1.0)


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
    low, high = _domain(replace(measure, ends=None), records)
    kind = "log" if is_log(measure, records) else "linear"
    scale = alt.Scale(
        type=kind, domain=[low, min(high, 100.0)] if measure is ACCURACY else [low, high], nice=False
    )
    ticks = {"values": _legend_values(measure, records)} if kind == "log" else {"tickCount": 4}
    legend = alt.Legend(title=measure.short, format="~r", **ticks)
    return alt.Color(f"{measure.field}:Q", scale=scale, legend=legend)


def _shape(records: Sequence[dict[str, Any]], *, legend: bool) -> Any:  # noqa: ANN401 - altair's
    shapes = precision_shapes(records)
    scale = alt.Scale(domain=list(shapes), range=list(shapes.values()))
    return alt.Shape("precision:N", scale=scale, legend=alt.Legend(title="Precision") if legend else None)

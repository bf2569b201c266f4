"""A sustained run as a picture: latency and temperature over the minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair

from pipeline.bench.sustained import SustainedPoint
from pipeline.report.picture import FONTS, drawn_png
from pipeline.report.theme import vega_config

WIDTH, LATENCY_HEIGHT, HEAT_HEIGHT = 640, 260, 110
LATENCY, WARMTH = "#0b5cad", "#c05600"


def sustained_picture(points: Sequence[SustainedPoint], *, title: str, subtitle: str) -> bytes:
    """A PNG: each process's median (or average) above, the phone's temperature below if it reports one.

    Points at which Android reports throttling are filled red.
    """
    values = [
        {
            "minute": point.minute,
            "middle_ms": point.middle_ms,
            "celsius": point.celsius,
            "throttled": bool(point.thermal_status),
        }
        for point in points
    ]
    figure = "Average" if any(point.median_ms is None for point in points) else "Median"
    panels = [_panel(values, "middle_ms", f"{figure} latency (ms)", LATENCY, LATENCY_HEIGHT)]
    if any(point.celsius is not None for point in points):
        panels.append(_panel(values, "celsius", "°C", WARMTH, HEAT_HEIGHT))
    heading = altair.TitleParams(title, subtitle=subtitle, anchor="start", fontSize=16, subtitlePadding=6)
    spec = altair.vconcat(*panels).resolve_scale(color="independent").properties(title=heading).to_dict()
    spec["config"] = {**vega_config(dark=False, fonts=FONTS), "background": "#ffffff", "padding": 16}
    return drawn_png(spec)


def _panel(values: list[dict[str, Any]], field: str, title: str, colour: str, height: int) -> Any:  # noqa: ANN401
    base = altair.Chart(altair.Data(values=values)).encode(
        x=altair.X(
            "minute:Q", title="Minutes", axis=altair.Axis(grid=False), scale=altair.Scale(domainMin=0)
        ),
        y=altair.Y(f"{field}:Q", title=title, scale=altair.Scale(zero=False, nice=True)),
    )
    dots = base.mark_point(filled=True, size=45, opacity=1).encode(
        color=altair.Color(
            "throttled:N",
            scale=altair.Scale(domain=[False, True], range=[colour, "#d1242f"]),
            legend=None,
        )
    )
    return (base.mark_line(color=colour) + dots).properties(width=WIDTH, height=height)

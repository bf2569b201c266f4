"""The charts' colours and fonts, light and dark, for the page and for pictures. Standard library only."""

from __future__ import annotations

from typing import Any

VIRIDIS = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b")
"""Perceptually uniform, also for the colour-blind; dark colours vanish on dark pages, light ones on light."""
LABEL_SIZE = 11
FONTS = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"


def vega_config(*, dark: bool, fonts: str = FONTS) -> dict[str, Any]:
    """Vega's configuration for a light or a dark page."""
    text, faint, grid, ink = (
        ("#e6e8ec", "#a3abb8", "#2b313b", "#ffffff") if dark else ("#1b1f26", "#5a6372", "#e6e9ee", "#0b0d11")
    )
    ramp = (*VIRIDIS[2:], "#fde725") if dark else VIRIDIS[:-1]
    return {
        "background": "transparent",
        "font": fonts,
        "padding": 4,
        "view": {"stroke": None},
        "range": {"ramp": list(ramp)},
        "axis": {
            "domainColor": faint,
            "gridColor": grid,
            "tickColor": faint,
            "labelColor": faint,
            "titleColor": text,
            "labelFontSize": 12,
            "titleFontSize": 12.5,
            "titleFontWeight": 500,
            "titlePadding": 10,
            "labelOverlap": "greedy",
            "labelSeparation": 8,
            "labelBound": True,
            "domain": False,
            "tickSize": 4,
        },
        "legend": {
            "orient": "top",
            "direction": "horizontal",
            "titleOrient": "left",
            "titleColor": text,
            "labelColor": faint,
            "labelFontSize": 11.5,
            "titleFontSize": 12,
            "titleFontWeight": 500,
            "titleLimit": 120,
            "gradientLength": 150,
            "gradientThickness": 9,
            "symbolFillColor": faint,
            "symbolStrokeColor": faint,
            "offset": 12,
        },
        "style": {
            "points": {"opacity": 0.92, "stroke": ink, "strokeWidth": 0.6},
            "labels": {"color": text, "fontSize": LABEL_SIZE, "baseline": "middle"},
            "intervals": {"color": faint, "strokeWidth": 1, "opacity": 0.55},
            "pareto": {"color": "#f2a541" if dark else "#c05600", "strokeWidth": 2, "opacity": 1},
        },
    }

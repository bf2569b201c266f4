"""Top-1 against mult-adds as SVG: trained nets, their families' lines, and what was predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from pipeline.choose.state import Rung
from pipeline.report.figures import count_text

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 20, 48
NUM_STYLES = 5
"""Marks and dashes of the families, in their order."""
_SHAPES = ("circle", "square", "triangle", "diamond", "cross")
_DASHES = ("", "7 4", "2 4", "10 4 2 4", "4 2")


def rung_chart(rung: Rung, families: Mapping[str, str], macs: Mapping[str, int]) -> str:
    """The chart of a rung; `families`: net -> family."""
    nets = [name for name in (*rung.trained, *rung.predicted) if name in macs]
    tops = [
        *rung.trained.values(),
        *(end for each in rung.predicted.values() for end in (each.low, each.high)),
    ]
    if not nets or not tops:
        return ""
    logs = [math.log10(macs[name]) for name in nets]
    x = _Scale(min(logs), max(logs), LEFT, WIDTH - RIGHT)
    y = _Scale(min(tops), max(tops), HEIGHT - BOTTOM, TOP)
    styles = {family: place % NUM_STYLES for place, family in enumerate(dict.fromkeys(families.values()))}
    parts = [*_axes(x, y)]
    for family, line in rung.lines.items():
        parts.append(_line(x, y, line.intercept, line.slope, styles[family]))
    for name, predicted in rung.predicted.items():
        words = f"{name}: predicted {predicted.top1:.1f}% ({predicted.low:.1f} to {predicted.high:.1f})"
        at = x(math.log10(macs[name]))
        parts.append(
            f'<g class="predicted"><title>{escape(words)}</title>'
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(predicted.low):.1f}" y2="{y(predicted.high):.1f}"/>'
            f"{_mark(styles[families[name]], at, y(predicted.top1))}</g>"
        )
    for name, top1 in rung.trained.items():
        mark = _mark(styles[families[name]], x(math.log10(macs[name])), y(top1))
        parts.append(f'<g class="trained"><title>{escape(f"{name}: {top1:.1f}%")}</title>{mark}</g>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Top-1 against mult-adds">'
        f"{''.join(parts)}</svg>{_legend(styles, rung)}"
    )


class _Scale:
    """From figures to pixels, with a margin."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        margin = 0.06 * (high - low) or 1.0
        self.low, self.high = low - margin, high + margin
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        return self._begin + (value - self.low) / (self.high - self.low) * (self._end - self._begin)


def _axes(x: _Scale, y: _Scale) -> list[str]:
    parts = []
    for power in range(math.floor(x.low) - 1, math.ceil(x.high) + 1):
        for step in (1, 2, 5):
            value = step * 10.0**power
            if x.low <= math.log10(value) <= x.high:
                at = x(math.log10(value))
                parts.append(
                    f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                    f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                    f"{count_text(value)}</text>"
                )
    for value in _round_steps(y.low, y.high):
        at = y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g}%</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">mult-adds</text>'
    )
    return parts


def _round_steps(low: float, high: float) -> Sequence[float]:
    step = next(size for size in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if (high - low) / size <= 8)
    return [round(place * step, 6) for place in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(x: _Scale, y: _Scale, intercept: float, slope: float, style: int) -> str:
    """The part of a family's line that is inside the chart."""
    low, high = x.low, x.high
    if slope:
        ends = sorted(((y.low - intercept) / slope, (y.high - intercept) / slope))
        low, high = max(low, ends[0]), min(high, ends[1])
    if low >= high:
        return ""
    return (
        f'<line class="family" stroke-dasharray="{_DASHES[style]}" x1="{x(low):.1f}" x2="{x(high):.1f}" '
        f'y1="{y(intercept + slope * low):.1f}" y2="{y(intercept + slope * high):.1f}"/>'
    )


def _mark(style: int, x: float, y: float) -> str:
    shape = _SHAPES[style]
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    points = {
        "square": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "triangle": ((0, -6), (6, 5), (-6, 5)),
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "cross": ((-7, -4), (-4, -7), (0, -3), (4, -7), (7, -4), (3, 0), (7, 4), (4, 7), (0, 3), (-4, 7)),
    }[shape]
    return f'<polygon points="{" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in points)}"/>'


def _legend(styles: Mapping[str, int], rung: Rung) -> str:
    entries = []
    for family, style in styles.items():
        line = rung.lines.get(family)
        fit = "" if line is None or line.r_squared is None else f", R² {line.r_squared:.2f}"
        slope = "" if line is None else f": {line.slope:+.1f} points for ten times the mult-adds{fit}"
        key = f'<svg viewBox="-9 -9 18 18" class="key">{_mark(style, 0, 0)}</svg>'
        entries.append(f"<li>{key}{escape(family + slope)}</li>")
    return f'<ul class="legend">{"".join(entries)}</ul>'

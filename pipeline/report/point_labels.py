"""Labels beside points that overprint neither points nor one another. Standard library only.

For pictures, over a plot of fixed size; on the page point_labels.js does the same, and measures the letters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.theme import LABEL_SIZE

LETTER = 0.58
"""Width of a letter, as a share of the font's size; wide enough for most."""
GAP = 13
"""Pixels from a point's middle to its label."""
POINT = 9
"""Half the side of the square that a ringed point takes."""
PADDING = 26
"""Pixels between the plot's edge and the least and largest figure, as in charts.py."""

ANCHORS = ("right", "left", "top", "bottom", "top-right", "bottom-right", "top-left", "bottom-left")


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def place_labels(
    records: Sequence[dict[str, Any]],
    axes: Sequence[tuple[str, bool, tuple[float, float]]],
    *,
    width: int,
    height: int,
) -> list[dict[str, Any]]:
    """The labels that have room: text, figures on the axes, and how they stand off their points.

    `axes`: of x and y the field, whether it is logarithmic, and its domain. The best points come first.
    """
    x_axis, y_axis = axes
    points = [
        (record, _pixels(record, x_axis, width), height - _pixels(record, y_axis, height))
        for record in sorted(records, key=lambda record: not record["pareto"])
    ]
    taken = [_Box(x - POINT, y - POINT, x + POINT, y + POINT) for _, x, y in points]
    placed = []
    for record, x, y in points:
        text = record["point_label"]
        wide, high = len(text) * LETTER * LABEL_SIZE, LABEL_SIZE * 1.25
        for anchor in ANCHORS:
            dx, dy, align = _offset(anchor, high)
            left = x + dx - {"left": 0.0, "center": wide / 2, "right": wide}[align]
            box = _Box(left, y + dy - high / 2, left + wide, y + dy + high / 2)
            inside = box.left >= 0 and box.right <= width and box.top >= 0 and box.bottom <= height
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                fields = {axis: record[axis] for axis, *_ in axes}
                placed.append({"label": text, "dx": dx, "dy": dy, "align": align, **fields})
                break
    return placed


def _offset(anchor: str, high: float) -> tuple[float, float, str]:
    """Pixels from a point to its label at that place around it, and how the label is aligned there."""
    sides = anchor.split("-")
    dy = -GAP - high / 2 if "top" in sides else GAP + high / 2 if "bottom" in sides else 0.0
    if "right" in sides:
        return GAP, dy, "left"
    return (-GAP, dy, "right") if "left" in sides else (0.0, dy, "center")


def _pixels(record: dict[str, Any], axis: tuple[str, bool, tuple[float, float]], length: int) -> float:
    """The place of a figure on an axis of that length, padded as Vega does."""
    field, is_log, (low, high) = axis
    value = float(record[field])
    if is_log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return PADDING + (value - low) / (high - low) * (length - 2 * PADDING)

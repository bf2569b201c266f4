"""A net's file measured before any training, by its shape. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.records.measurement import Measurement, measurement_from_record

SAME_WORK = 0.01
"""Two shapes whose multiply-accumulates differ by less than this share take as long."""


@dataclass(frozen=True, kw_only=True)
class ShapeMeasurement:
    """The size and latency of a file with random weights: both depend on its shape alone."""

    shape: str
    """What decides the file but for its weights and number of classes, as JSON: shape_key()."""
    setting: str
    """What decides its latency besides, as JSON: machine or phone, runtime or tool, settings."""
    num_classes: int
    macs: int
    parameters: int
    size_bytes: int
    measurement: Measurement


def shape_key(family: str, knobs: Mapping[str, Any], precision: str, *, versions: Mapping[str, str]) -> str:
    """The shape of a file as text; `versions` of what exports it."""
    shape = {"family": family, "knobs": dict(knobs), "precision": precision, "versions": dict(versions)}
    return json.dumps(shape, sort_keys=True, separators=(",", ":"))


def shape_from_record(record: dict[str, Any]) -> ShapeMeasurement:
    """A ShapeMeasurement from its JSON."""
    return ShapeMeasurement(**{**record, "measurement": measurement_from_record(record["measurement"])})


def nearest(known: list[ShapeMeasurement], *, num_classes: int, macs: int) -> ShapeMeasurement | None:
    """The measurement that stands for a net of so many classes: its own, or one of the same work."""
    alike = [each for each in known if abs(each.macs - macs) <= SAME_WORK * macs]
    return min(alike, key=lambda each: abs(each.num_classes - num_classes), default=None)

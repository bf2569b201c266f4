"""A sustained run of one file on a phone: its latency over minutes, while the phone warms up."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from android_bench.phone.device import read_heat
from android_bench.phone.session import Session
from android_bench.settings import MatrixSettings
from android_bench.tool.runner import prepare, run
from pipeline.bench.fleet import FleetPhone
from pipeline.bench.phone import PhoneSeries
from pipeline.bench.statistics import drift
from pipeline.errors import PipelineError

POINT_SECS = 5.0
"""Length of a point's process in seconds; a short run has shorter points."""
MIN_POINTS = 12
FOLDER = "sustained"


@dataclass(frozen=True, kw_only=True)
class SustainedPoint:
    """One process of the tool, in a series without pauses."""

    minute: float
    """Its end, in minutes from the start of the series."""
    median_ms: float | None
    """None where the tool prints no median."""
    avg_ms: float
    p95_ms: float | None
    celsius: float | None
    thermal_status: int | None
    beside: str | None = None
    """What else ran on the phone."""

    @property
    def middle_ms(self) -> float:
        """The median, or else the average."""
        return self.avg_ms if self.median_ms is None else self.median_ms


@dataclass(frozen=True, kw_only=True)
class Sustained:
    """The points of a sustained run and their summary."""

    points: tuple[SustainedPoint, ...]
    rise: float | None
    """The last third's median (or average) over the first third's; None without a significant rise."""
    throttled_minute: float | None
    """When Android first reported throttling."""

    @property
    def figure(self) -> str:
        """What each point's latency is: median or average."""
        return "average" if any(point.median_ms is None for point in self.points) else "median"


def sustain(
    member: FleetPhone,
    series: PhoneSeries,
    matrix: MatrixSettings,
    *,
    minutes: float,
    listen: Callable[[SustainedPoint], None],
) -> Sustained:
    """Runs one file repeatedly for `minutes`; calls `listen(point)` after each point.

    PipelineError if the tool fails or a point is not valid, DeviceError if the phone is lost.
    """
    secs = min(POINT_SECS, 60 * minutes / MIN_POINTS)
    asked = series.job().rounds[0]
    request = dataclasses.replace(
        asked, num_runs=1, min_secs=secs, max_secs=secs + 30, warmup_runs=0, warmup_min_secs=0.0
    )
    points: list[SustainedPoint] = []
    with Session(member.phone, keep=matrix.keep) as session:
        flags = prepare(session, member.tool)
        session.put([request.model])
        start = time.monotonic()
        while time.monotonic() - start < 60 * minutes:
            outcome = run(session, member.tool, flags, request)
            wrong = [reason for reason in outcome.reasons if reason not in outcome.beside]
            if outcome.report is None or wrong:
                why = outcome.failure or "; ".join(wrong)
                raise PipelineError(f"{series.label} on {member.info.where} is not valid: {why}.")
            timed = outcome.report.timed
            assert timed.avg_ms is not None  # an outcome without it is a failure
            heat = read_heat(member.phone)
            point = SustainedPoint(
                minute=(time.monotonic() - start) / 60,
                median_ms=timed.median_ms,
                avg_ms=timed.avg_ms,
                p95_ms=timed.p95_ms,
                celsius=heat.celsius,
                thermal_status=heat.thermal_status,
                beside="; ".join(outcome.beside) or None,
            )
            points.append(point)
            listen(point)
    return summarize_points(points)


def summarize_points(points: list[SustainedPoint]) -> Sustained:
    """The summary of at least one point."""
    throttled = [point.minute for point in points if point.thermal_status]
    return Sustained(
        points=tuple(points),
        rise=drift([point.middle_ms for point in points]),
        throttled_minute=throttled[0] if throttled else None,
    )


def append_point(path: Path, point: SustainedPoint) -> None:
    """Appends a line to the CSV and syncs it; the first one creates the file with its header."""
    text = io.StringIO()
    writer = csv.writer(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        if not file.tell():
            writer.writerow([field.name for field in dataclasses.fields(SustainedPoint)])
        writer.writerow(dataclasses.astuple(point))
        file.write(text.getvalue().encode())
        os.fsync(file.fileno())


def first_and_last(points: tuple[SustainedPoint, ...]) -> tuple[float, float]:
    """The middle of the first third of the points and of the last, in ms."""
    third = max(1, len(points) // 3)
    return (
        median(point.middle_ms for point in points[:third]),
        median(point.middle_ms for point in points[-third:]),
    )

"""One file for minutes on end on a phone: how its latency moves while the phone grows warm."""

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
"""Each point is one process of so many seconds; a shorter run has more of them per minute."""
MIN_POINTS = 12
FOLDER = "sustained"


@dataclass(frozen=True, kw_only=True)
class SustainedPoint:
    """One process of the tool, in a row of many without a pause."""

    minute: float
    """When it ended, from the beginning."""
    median_ms: float
    p95_ms: float | None
    celsius: float | None
    thermal_status: int | None


@dataclass(frozen=True, kw_only=True)
class Sustained:
    """What became of the latency."""

    points: tuple[SustainedPoint, ...]
    rise: float | None
    """The last third's median by the first third's, where it really rose."""
    throttled_minute: float | None
    """When Android first said that it throttles."""


def sustain(
    member: FleetPhone,
    series: PhoneSeries,
    matrix: MatrixSettings,
    *,
    minutes: float,
    listen: Callable[[SustainedPoint], None],
) -> Sustained:
    """Runs one file again and again for so many minutes; calls `listen(point)` with each point as it comes.

    PipelineError where the tool fails or does not do what was asked, DeviceError where the phone goes away.
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
            if outcome.report is None or outcome.reasons:
                why = outcome.failure or "; ".join(outcome.reasons)
                raise PipelineError(f"{series.label} on {member.info.where} is not valid: {why}.")
            timed = outcome.report.timed
            middle_ms = timed.avg_ms if timed.median_ms is None else timed.median_ms
            assert middle_ms is not None  # an outcome without it is a failure
            heat = read_heat(member.phone)
            point = SustainedPoint(
                minute=(time.monotonic() - start) / 60,
                median_ms=middle_ms,
                p95_ms=timed.p95_ms,
                celsius=heat.celsius,
                thermal_status=heat.thermal_status,
            )
            points.append(point)
            listen(point)
    return summarize_points(points)


def summarize_points(points: list[SustainedPoint]) -> Sustained:
    """What the points say together; at least one."""
    throttled = [point.minute for point in points if point.thermal_status]
    return Sustained(
        points=tuple(points),
        rise=drift([point.median_ms for point in points]),
        throttled_minute=throttled[0] if throttled else None,
    )


def append_point(path: Path, point: SustainedPoint) -> None:
    """Adds a whole line to the CSV and syncs it; the first one makes the file, with its head."""
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
    """The medians of the first and of the last third, in ms."""
    third = max(1, len(points) // 3)
    return (
        median(point.median_ms for point in points[:third]),
        median(point.median_ms for point in points[-third:]),
    )

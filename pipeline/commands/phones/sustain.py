"""`pipeline bench --adb --sustained MINUTES`: one file's latency while the phone warms up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from android_bench.errors import DeviceError
from export.files import write_bytes
from pipeline.bench.fleet import planned_series
from pipeline.bench.phone import local_file
from pipeline.bench.sustained import FOLDER, append_point, first_and_last, summarize_points, sustain
from pipeline.commands.output import print_records, print_table, say, table
from pipeline.console import console
from pipeline.errors import PipelineError, UsageError
from pipeline.report.sustained import sustained_picture
from pipeline.runs import runs_folder
from spelling import counted

if TYPE_CHECKING:
    from pipeline.bench.fleet import FleetPhone
    from pipeline.bench.phone import PhoneSeries
    from pipeline.bench.settings import FleetSettings
    from pipeline.bench.sustained import Sustained, SustainedPoint

Thing = TypeVar("Thing")

MOST_LINES = 24
BARS = "▁▂▃▄▅▆▇█"


def sustain_on_phone(
    files: Sequence[Path],
    fleet: Sequence[FleetPhone],
    settings: FleetSettings,
    *,
    minutes: float,
    as_json: bool,
) -> int:
    """Runs one file on one phone for `minutes`; makes a table, a CSV and a picture.

    Each point is written to the CSV when it is measured, so that an early end does not lose it.
    """

    member = _only(fleet, "phone")
    models = [local_file(file) for file in files]
    planned = planned_series(models, member, settings)
    series = _only(planned, "file with one delegate and one number of threads")
    path = _csv_path(series, member)
    points: list[SustainedPoint] = []
    try:
        with _progress(minutes) as show:

            def listen(point: SustainedPoint) -> None:
                append_point(path, point)
                points.append(point)
                show(point)

            found = sustain(member, series, settings.matrix, minutes=minutes, listen=listen)
    except (DeviceError, PipelineError, KeyboardInterrupt):
        if points:
            duration = f"the first {points[-1].minute:.1f} minutes"
            _draw(summarize_points(points), path, f"{series.label}: {duration} on {member.info.name}")
        raise
    if as_json:
        print_records(found.points)
    else:
        click.echo(f"{series.label} on {member.info.where}: {member.info.machine}")
        _print(found)
    _draw(found, path, f"{series.label}: {counted(minutes, 'minute')} on {member.info.name}")
    return 0


def _csv_path(series: PhoneSeries, member: FleetPhone) -> Path:
    stem = f"{series.file.stem}_{member.info.serial_hash}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return runs_folder() / FOLDER / f"{stem}.csv"


def _draw(found: Sustained, path: Path, title: str) -> None:
    """Writes the picture beside the CSV atomically."""
    picture = sustained_picture(found.points, title=title, subtitle=_verdict(found))
    write_bytes(path.with_suffix(".png"), picture)
    say(f"wrote {path} and {path.with_suffix('.png').name} beside it.")


def _only(things: Sequence[Thing], what: str) -> Thing:
    if len(things) != 1:
        raise UsageError(f"--sustained runs one {what} at a time; {len(things)} were given. Name one.")
    return things[0]


def _verdict(found: Sustained) -> str:
    first_ms, last_ms = first_and_last(found.points)
    moved = f"from {first_ms:.3g} to {last_ms:.3g} ms"
    text = (
        f"the {found.figure} rose {moved} ({found.rise:.2f}x)" if found.rise else f"no steady rise ({moved})"
    )
    if found.throttled_minute is not None:
        text += f"; Android throttled from minute {found.throttled_minute:.1f} on"
    return text


def _print(found: Sustained) -> None:
    middles = [point.middle_ms for point in found.points]
    numbers = ["minute", f"{found.figure} ms", "p95 ms", "°C", "thermal status"]
    rows = table(*numbers, numbers=numbers)
    step = -(-len(found.points) // MOST_LINES)
    for point in found.points[::step]:
        rows.add_row(
            f"{point.minute:.1f}",
            f"{point.middle_ms:.3g}",
            "-" if point.p95_ms is None else f"{point.p95_ms:.3g}",
            "-" if point.celsius is None else f"{point.celsius:.1f}",
            "-" if point.thermal_status is None else str(point.thermal_status),
        )
    print_table(rows)
    click.echo(f"{min(middles):.3g} ms {_bars(middles)} {max(middles):.3g} ms")
    click.echo(f"{_verdict(found)}.")
    disturbed = [point for point in found.points if point.beside]
    if disturbed:
        click.echo(
            f"{len(disturbed)} of {len(found.points)} points are not of this file alone, such as at minute "
            f"{disturbed[0].minute:.1f}: {disturbed[0].beside}."
        )


def _bars(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)


@contextmanager
def _progress(minutes: float) -> Iterator[Callable[[SustainedPoint], None]]:
    """Progress on stderr: one live line, or a line per point without a terminal."""
    drawing = console(stderr=True)
    with drawing.status(f"running for {counted(minutes, 'minute')}") as status:

        def show(point: SustainedPoint) -> None:
            warmth = "" if point.celsius is None else f", {point.celsius:.1f} °C"
            text = f"minute {point.minute:.1f} of {minutes:g}: {point.middle_ms:.3g} ms{warmth}"
            if drawing.is_terminal:
                status.update(text)
            else:
                say(text)

        yield show

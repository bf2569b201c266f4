"""Trainings' curves as a picture: accuracy and loss of each epoch, from history.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair

from export.limits import RECORD_BYTES
from export.reading import read_text
from pipeline.errors import PipelineError
from pipeline.report.picture import drawn_png, drawn_svg
from pipeline.runs import how_to_resume
from spelling import counted

WIDTH, HEIGHT = 420, 260
MEASURES = (
    ("Top-1 (%)", "train_top1", "validation_top1"),
    ("Loss", "loss", "validation_loss"),
)
SERIES = ("training", "validation")
COLOURS = ("#9a6700", "#0b5cad")


def curve_picture(runs: Sequence[Path], *, kind: str) -> bytes:
    """The picture of runs' curves: top-1 and loss over the epochs, side by side. `kind` is 'png' or 'svg'.

    Of one run the training and the validation split, of several the validation split of each. The training
    split's figures are from augmented images, during each epoch.
    """
    histories = {run.name: list(csv.DictReader(_history(run).splitlines())) for run in runs}
    ((first, rows), *others) = histories.items()
    title = f"{first}: {counted(len(rows), 'epoch')}" if not others else f"{len(histories)} runs, validation"
    panels = [_panel(_points(histories, columns), heading) for heading, *columns in MEASURES]
    spec = altair.hconcat(*panels).properties(title=title).configure_view(stroke=None).to_dict()
    return drawn_svg(spec).encode() if kind == "svg" else drawn_png(spec)


def _points(
    histories: Mapping[str, Sequence[Mapping[str, str]]], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """The points of one panel; `of` is the split, or of several runs the run. `columns`: as of SERIES."""
    if len(histories) == 1:
        ((_, rows),) = histories.items()
        series = [(split, rows, column) for split, column in zip(SERIES, columns, strict=True)]
    else:
        series = [(run, rows, columns[-1]) for run, rows in histories.items()]
    return [
        {"epoch": int(row["epoch"]), "value": float(row[column]), "of": name}
        for name, rows, column in series
        for row in rows
    ]


def _history(run: Path) -> str:
    try:
        return read_text(run / "history.csv", at_most=RECORD_BYTES)
    except FileNotFoundError as error:
        raise PipelineError(
            f"{run} has no history.csv: no epoch is finished yet. Go on: {how_to_resume(run)}"
        ) from error
    except ValueError as error:
        raise PipelineError(f"{run / 'history.csv'} is damaged ({error}). Train the run again.") from error


def _panel(points: list[dict[str, Any]], title: str) -> Any:  # noqa: ANN401 - Altair's own
    names = list(dict.fromkeys(point["of"] for point in points))
    few = len({point["epoch"] for point in points}) <= 60
    colours = COLOURS if len(names) <= len(COLOURS) else None
    scale = altair.Scale(domain=names, range=colours[: len(names)]) if colours else altair.Scale(domain=names)
    return (
        altair.Chart(altair.Data(values=points))
        .mark_line(point=few)
        .encode(
            x=altair.X("epoch:Q", title="Epoch", axis=altair.Axis(tickMinStep=1, grid=False)),
            y=altair.Y("value:Q", title=title, scale=altair.Scale(zero=False)),
            color=altair.Color(
                "of:N",
                title=None,
                scale=scale,
                legend=altair.Legend(orient="top", columns=len(SERIES), labelLimit=WIDTH),
            ),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )

"""A training's curve as a picture: accuracy and loss of each epoch, from history.csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import altair

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


def curve_picture(run: Path, *, kind: str) -> bytes:
    """The picture of a run's curve: top-1 and loss over the epochs, side by side. `kind` is 'png' or 'svg'.

    The training split's figures are from augmented images, during each epoch.
    """

    rows = list(csv.DictReader(_history(run).splitlines()))
    panels = [_panel(rows, title, dict(zip(SERIES, columns, strict=True))) for title, *columns in MEASURES]
    chart = altair.hconcat(*panels).properties(title=f"{run.name}: {counted(len(rows), 'epoch')}")
    spec = chart.configure_view(stroke=None).to_dict()
    return drawn_svg(spec).encode() if kind == "svg" else drawn_png(spec)


def _history(run: Path) -> str:
    try:
        return (run / "history.csv").read_text()
    except FileNotFoundError as error:
        raise PipelineError(
            f"{run} has no history.csv: no epoch is finished yet. Go on: {how_to_resume(run)}"
        ) from error


def _panel(rows: list[dict[str, str]], title: str, columns: dict[str, str]) -> Any:  # noqa: ANN401 - Altair's own

    points = [
        {"epoch": int(row["epoch"]), "value": float(row[column]), "of": series}
        for row in rows
        for series, column in columns.items()
    ]
    return (
        altair.Chart(altair.Data(values=points))
        .mark_line(point=len(rows) <= 60)
        .encode(
            x=altair.X("epoch:Q", title="Epoch", axis=altair.Axis(tickMinStep=1, grid=False)),
            y=altair.Y("value:Q", title=title, scale=altair.Scale(zero=False)),
            color=altair.Color(
                "of:N",
                title=None,
                scale=altair.Scale(domain=SERIES, range=COLOURS),
                legend=altair.Legend(orient="top"),
            ),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )

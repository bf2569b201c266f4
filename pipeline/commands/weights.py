"""`pipeline weights`: the published weights that a training can start from."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from models.registry import label
from pipeline.commands.output import json_option, print_records, print_table, say, table
from pipeline.shell import quoted


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A published file of weights."""

    name: str
    family: str
    model_name: str
    knobs: dict[str, Any] = field(default_factory=dict)
    """To build its model with, pixel scaling included."""
    top1: float | None
    """Percent; None if none is printed."""
    printed: str
    size_mb: float
    licence: str
    source: str
    address: str
    path: str | None
    """Where it is on this machine; None if it is not."""


@click.command(name="weights", short_help="List published weights to start from, and fetch them.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, *, as_json: bool) -> None:
    """List published weights to start from, and fetch them.

    With NAME, that file is fetched into the cache of the library that publishes it, and its path is printed.
    The top-1 accuracy is the publisher's; --json says where it is printed.

    \b
    pipeline weights
    pipeline weights mobilenet_0.5_160
    """
    if name is not None:
        _fetch(name, as_json=as_json)
        return
    rows = _known()
    if as_json:
        print_records(rows)
        return
    listed = table("weights", "top-1", "MB", "licence", "here", "source", numbers=("top-1", "MB"))
    for row in rows:
        top1 = "" if row.top1 is None else f"{row.top1:.1f}%"
        here = "yes" if row.path else ""
        listed.add_row(row.name, top1, f"{row.size_mb:.1f}", row.licence, here, row.source)
    print_table(listed)
    say("Next: pipeline train mobilenet --alpha 0.5 --weights imagenet --data FOLDER")


def _known() -> list[PublishedWeights]:
    from models.weights.catalogue import CHECKPOINTS
    from models.weights.here import local_file  # a third of a second

    rows = []
    for name, checkpoint in CHECKPOINTS.items():
        path = local_file(checkpoint)
        rows.append(
            PublishedWeights(
                name=name,
                family=checkpoint.family,
                model_name=label(checkpoint.family, checkpoint.knobs),
                knobs=dict(checkpoint.knobs),
                top1=checkpoint.top1,
                printed=checkpoint.printed,
                size_mb=checkpoint.size_mb,
                licence=checkpoint.licence,
                source=checkpoint.source,
                address=checkpoint.url
                or (f"hf.co/{checkpoint.hub}" if checkpoint.hub else checkpoint.obtain),
                path=None if path is None else str(path),
            )
        )
    return rows


def _fetch(name: str, *, as_json: bool) -> None:
    from models.weights.catalogue import checkpoint_of

    checkpoint = checkpoint_of(name)
    from models.weights.fetch import fetched  # imports keras

    with contextlib.redirect_stdout(sys.stderr):  # Keras draws its progress on stdout
        path = fetched(name, checkpoint)
    if as_json:
        print_records([row for row in _known() if row.name == name])
        return
    click.echo(path)
    say(f"{_mb(path)}. Next: pipeline train {quoted(checkpoint.family)} --weights {quoted(name)} --data DIR")


def _mb(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"

"""The options of `pipeline train` that name a teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from export.pixel_conventions import CHANNELS
from pipeline.commands.numbers import Finite
from pipeline.commands.pixels import Numbers
from pipeline.errors import UsageError
from pipeline.records.training import TeacherConfig
from pipeline.steps.settings import TeacherSettings

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TeacherConfig)}
PREFIX = "teacher_"


def teacher_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--teacher, and what it takes."""
    options = (
        click.option(
            "--teacher",
            metavar="RUN|MODEL|NAME",
            help="Learn a larger net's scores beside the labels: a run, a model of yours, or a published "
            "file with your classes.",
        ),
        click.option(
            "--teacher-temperature",
            type=Finite(min=0, min_open=True),
            help=f"Both nets' scores are divided by it.  [default: {DEFAULTS['temperature']:g}]",
        ),
        click.option(
            "--teacher-weight",
            type=Finite(0, 1, min_open=True),
            help=f"The teacher's share of the loss.  [default: {DEFAULTS['weight']:g}]",
        ),
        click.option(
            "--teacher-labels",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Of a model from elsewhere: the names of its outputs, one a line.",
        ),
        click.option(
            "--teacher-scale",
            type=Numbers(),
            metavar="SCALE",
            help="A model from elsewhere was fed pixel * SCALE + OFFSET, as in `pipeline export`.",
        ),
        click.option("--teacher-offset", type=Numbers(), metavar="OFFSET", help="See --teacher-scale."),
        click.option("--teacher-channels", type=click.Choice(CHANNELS), help="See --teacher-scale."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def taken_teacher(options: dict[str, Any]) -> TeacherSettings | None:
    """The teacher's settings, taken out of a command's options; None if no teacher was given."""
    name = options.pop("teacher")
    details = {each.removeprefix(PREFIX): options.pop(each) for each in [*options] if each.startswith(PREFIX)}
    if name is not None:
        return TeacherSettings(teacher=name, **details)
    if given := [each for each, value in details.items() if value is not None]:
        raise UsageError(
            f"--teacher-{given[0]} is for a training with a teacher. Give --teacher too, or leave it out."
        )
    return None

"""The options that say which pixels a model from elsewhere takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from export.pixel_conventions import CHANNELS
from pipeline.commands.numbers import Finite

NAMES = ("scale", "offset", "channels")
"""The options' names, as pipeline.lineage.with_pixels takes them."""


class Numbers(click.ParamType[tuple[float, ...]]):
    """A finite number for all channels, or one for each, separated by commas."""

    name = "numbers"

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[float, ...]:
        """The numbers; click.BadParameter for anything else."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if len(parts) not in (1, 3):
            self.fail(
                f"{value!r} has {len(parts)} numbers. Expected one for all channels, or three such as 1,2,3.",
                param,
                ctx,
            )
        return tuple(Finite().convert(part.strip(), param, ctx) for part in parts)


def pixel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--scale, --offset and --channels."""
    options = (
        click.option(
            "--scale",
            type=Numbers(),
            metavar="SCALE",
            help="A model from elsewhere was fed pixel * SCALE + OFFSET; one number, or R,G,B.",
        ),
        click.option(
            "--offset",
            type=Numbers(),
            metavar="OFFSET",
            help="See --scale. 0..1: 0.00392157 and 0; -1..1: 0.00784314 and -1.",
        ),
        click.option(
            "--channels",
            type=click.Choice(CHANNELS),
            help="A model from elsewhere was fed RGB or BGR; --scale and --offset are in that order.  "
            "[default: rgb]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command

"""The options that say which pixels a model from elsewhere takes, and what its outputs are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from export.pixel_conventions import CHANNELS
from pipeline.commands.numbers import Finite

NAMES = ("scale", "offset", "channels")
"""The options' names, as pipeline.lineage.with_pixels takes them."""

labels_option = click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file from elsewhere: the names of its outputs, one a line.  [default: those inside it]",
)


class Numbers(click.ParamType[tuple[float, ...]]):
    """A finite number for all channels, or one for each, separated by commas; 1/255 is a number too."""

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
        return tuple(_number(part.strip(), param, ctx) for part in parts)


def _number(text: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
    """What '0.5', '1/255' or '-128/127.5' says."""
    above, slash, below = text.partition("/")
    number = float(Finite().convert(above.strip(), param, ctx))
    if not slash:
        return number
    divisor = float(Finite().convert(below.strip(), param, ctx))
    if divisor == 0:
        Finite().fail(f"{text} divides by 0. Give a number, such as 1/255.", param, ctx)
    return number / divisor


def pixel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--scale, --offset and --channels."""
    options = (
        click.option(
            "--scale",
            type=Numbers(),
            metavar="SCALE",
            help="A model from elsewhere was fed pixel * SCALE + OFFSET; a number, such as 1/255, or R,G,B.",
        ),
        click.option(
            "--offset",
            type=Numbers(),
            metavar="OFFSET",
            help="See --scale. 0..1: 1/255 and 0; -1..1: 1/127.5 and -1.",
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

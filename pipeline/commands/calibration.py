"""--calibration of the commands that make quantized files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Function = Callable[..., Any]


def calibration_option(command: Function) -> Function:
    """Adds the option."""
    return click.option(
        "--calibration",
        metavar="NAME|FOLDER",
        help="Any images to read the ranges from, with or without class folders.  [default: those of --data]",
    )(command)

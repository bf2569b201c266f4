"""--split, --test and --group-by of the commands that divide a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pipeline.data.split_choice import SplitChoice, address_of, read_address
from pipeline.errors import UsageError

Function = Callable[..., Any]

_OPTIONS = (
    click.option(
        "--split",
        metavar="T/V/T",
        help="Percent of the images for train, validation and test, such as 70/15/15.  "
        "[default: 80/10/10, or the folder's own]",
    ),
    click.option("--test", metavar="FOLDER", help="Another folder of class/image files: the test split."),
    click.option(
        "--group-by",
        metavar="REGEX",
        help="Keep images together for whose path below the folder it finds the same: 'video(\\d+)'.",
    ),
)


def split_options(command: Function) -> Function:
    """Adds the three options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_choice(data: str, *, split: str | None, test: str | None, group_by: str | None) -> str:
    """The address of a data set with the options' choice. UsageError if it has one already."""
    choice = SplitChoice(split=split, test=test, group_by=group_by)
    if choice == SplitChoice():
        return data
    where, there = read_address(data)
    if there != SplitChoice():
        raise UsageError(f"--data {data} says how it is divided, and so do the options. Leave one out.")
    return address_of(where, choice)

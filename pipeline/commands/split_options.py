"""--split, --test, --group-by and --classes of the commands that divide a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pipeline.data.address import LEAF, TOP, DataChoice, address_of, read_address
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
    click.option(
        "--classes",
        type=click.Choice([LEAF, TOP]),
        help="Of folders in folders: the classes are those that hold the images, or the outer ones.",
    ),
)


CHOICES = ("split", "test", "group_by", "classes")
"""The options' names in Python."""


def split_options(command: Function) -> Function:
    """Adds the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_choice(data: str, **options: str | None) -> str:
    """The address of a data set with the options' choice. UsageError if it has one already."""
    choice = DataChoice(**options)
    if choice == DataChoice():
        return data
    where, there = read_address(data)
    if there != DataChoice():
        raise UsageError(f"--data {data} says how it is divided, and so do the options. Leave one out.")
    return address_of(where, choice)

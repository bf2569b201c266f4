"""rich's output as text."""

from __future__ import annotations

import shutil
import sys
from io import StringIO

from rich.console import RenderableType
from rich.text import Text

from pipeline.console import GuardedConsole
from pipeline.terminal import REPLACEMENT, printable

PIPED_WIDTH = 100
UNFOLDED = 10_000
"""The width of lines in a file or a pipe that other programs read: a name is never broken."""


def terminal_width() -> int | None:
    """The width of the terminal in characters; None if stdout is a file or a pipe."""
    return shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if sys.stdout.isatty() else None


def line(text: str, style: str = "") -> Text:
    """The text on one line without control characters, which a model's name may contain."""
    return Text(printable(text.replace("\n", REPLACEMENT).replace("\t", " ")), style=style)


def rendered(content: RenderableType, *, width: int, colour: bool) -> str:
    """The content as drawn by rich, without trailing spaces."""
    buffer = StringIO()
    console = GuardedConsole(
        file=buffer,
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(content)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"

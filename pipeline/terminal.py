"""Standard output and standard error without control characters of others. Standard library only.

The names of files, classes, runs, tensors and phones, and what adb and TensorFlow say, are written by others:
an escape sequence in them could hide text or set a terminal's title, and an override of the direction could
swap it. All output passes through here: `guard_output` for what is printed, `pipeline.console` for what rich
draws.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of the text
    "\u2028\u2029\u2060-\u2065\u206a-\u206f"  # lines, and what is invisible
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
    "\ud800-\udfff]"  # bytes of a file's name that are not UTF-8
)


def printable(text: str) -> str:
    """The text with each control character replaced; tabs, line feeds and all letters stay."""
    return UNSAFE.sub(REPLACEMENT, text)


def printable_bytes(line: bytes) -> bytes:
    """A line of UTF-8, such as one that native code prints, with each control character replaced."""
    return printable(line.decode(errors="replace")).encode()


class GuardedStream:
    """A text stream that writes `printable` text to another one, whose other attributes it has."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Writes the text, made printable; returns the number of its characters."""
        self.unguarded.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes the lines, made printable."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        if name == "buffer":  # click writes to it where it finds one
            raise AttributeError(name)
        return getattr(self.unguarded, name)


def guard_output() -> None:
    """Makes sys.stdout and sys.stderr guarded streams, from now until the process ends."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, GuardedStream):
            continue
        stream.reconfigure(errors="backslashreplace")  # of an encoding that lacks the character
        setattr(sys, name, cast(TextIO, GuardedStream(stream)))


def unguarded(stream: TextIO) -> TextIO:
    """The stream itself, for what rich has drawn: colours and cursor movements are escape sequences too."""
    return stream.unguarded if isinstance(stream, GuardedStream) else stream

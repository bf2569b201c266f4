"""Words of the commands that messages propose, so that a shell reads them. Standard library only."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from pipeline.terminal import UNSAFE


def quoted(path: str | Path) -> str:
    """A path or name as bash and zsh read it back, whatever it holds; -x is written ./-x, to be no option.

    Control characters, which are not printed, are written as $'\\x1b'.
    """
    text = str(path)
    return quoted_value(f"./{text}" if text.startswith("-") else text)


def quoted_value(text: str) -> str:
    """The same for what is no path, such as a layer's name, which may begin with a dash."""
    if not UNSAFE.search(text) and not re.search(r"[\n\t]", text):
        return shlex.quote(text)
    return "$'" + "".join(_escaped(letter) for letter in text) + "'"


def _escaped(letter: str) -> str:
    if letter in "'\\":
        return f"\\{letter}"
    if UNSAFE.match(letter) or letter in "\n\t":
        return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
    return letter

"""Words of the commands that messages propose, so that a shell reads them. Standard library only."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from pipeline.terminal import UNSAFE


def quoted(word: str | Path) -> str:
    """The word as bash and zsh read it back, whatever it holds; a leading dash is kept from being an option.

    Control characters, which are not printed, are written as $'\\x1b'.
    """
    text = str(word)
    text = f"./{text}" if text.startswith("-") else text
    if not UNSAFE.search(text) and not re.search(r"[\n\t]", text):
        return shlex.quote(text)
    return "$'" + "".join(_escaped(letter) for letter in text) + "'"


def _escaped(letter: str) -> str:
    if letter in "'\\":
        return f"\\{letter}"
    if UNSAFE.match(letter) or letter in "\n\t":
        return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
    return letter

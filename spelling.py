"""The known name that a mistyped one means, long lists cut short, and counts with their nouns.

Standard library only: every package may import it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_names(word: str, known: Iterable[str], *, num: int = 1, cutoff: float = 0.5) -> list[str]:
    """At most `num` known names close to a word, nearest first, whatever the case of either.

    `cutoff` is the similarity from 0 to 1 that a name must reach.
    """
    names = {name.lower(): name for name in known}
    return [names[near] for near in difflib.get_close_matches(word.lower(), names, n=num, cutoff=cutoff)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the nearest known name and a space after it; empty where none is near."""
    near = nearest_names(word, known)
    return f"Did you mean '{near[0]}'? " if near else ""


def some(names: Iterable[str], *, most: int = 3, quoted: bool = False) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    first = ", ".join(f"'{name}'" if quoted else name for name in every[:most])
    return first + (f" and {len(every) - most:,} more" if len(every) > most else "")


def counted(number: float, noun: str, plural: str = "") -> str:
    """'1 image', '0.5 points', '1,000 images'; the plural is given where it is not the noun and an s."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {noun if number == 1 else plural or f'{noun}s'}"

"""The known name that a mistyped one means, and long lists cut short.

Standard library only: every package may import it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


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


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first names, quoted, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown

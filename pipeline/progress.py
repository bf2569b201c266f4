"""Progress events of the steps. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Doing:
    """The current work, and how much of it is done."""

    what: str
    detail: str = ""
    """Empty at its start."""
    done: int = 0
    total: int = 0
    """0 where nothing is counted."""


@dataclass(frozen=True)
class Note:
    """A message for the user before the step ends."""

    text: str


Event = Doing | Note
Progress = Callable[[Event], None]
"""The one callback of all steps."""


def silent(event: Event) -> None:
    """Ignores the event."""

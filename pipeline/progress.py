"""How a step says what it does while it lasts. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Doing:
    """What is done now, and how far it is."""

    what: str
    detail: str = ""
    """Empty at its start."""
    done: int = 0
    total: int = 0
    """0 where nothing is counted."""


@dataclass(frozen=True)
class Note:
    """A sentence that the user should know before the step ends."""

    text: str


Event = Doing | Note
Progress = Callable[[Event], None]
"""The one callback of all steps."""


def silent(event: Event) -> None:
    """Shows nothing."""

"""How a step says what it does while it lasts."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, str], None]
"""Called with what is done now, and how far it is: empty at its start."""


def silent(doing: str, detail: str) -> None:
    """Shows nothing."""

"""Paths that begin with a home folder. Standard library only."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with ~ replaced by a home folder, unless it exists as given or there is no such home."""
    given = Path(path)
    if given.exists():
        return given
    try:
        return given.expanduser()
    except RuntimeError:  # ~NAME of no user
        return given

"""The user's folders: paths that begin with a home folder, and the cache. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "PIPELINE_CACHE"
"""The environment variable with the folder for what can be made again."""


def expanded(path: str | Path) -> Path:
    """The path with ~ replaced by a home folder, unless it exists as given or there is no such home."""
    given = Path(path)
    if given.exists():
        return given
    try:
        return given.expanduser()
    except RuntimeError:  # ~NAME of no user
        return given


def cache_folder() -> Path:
    """The user's folder for what can be made again. RuntimeError for a user without a home."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return expanded(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "keras-mobile-pipeline"

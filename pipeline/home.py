"""The user's folders: paths that begin with a home folder, and the cache. Standard library only."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from export.partial import sweep

CACHE_VARIABLE = "PIPELINE_CACHE"
"""The environment variable with the folder for what can be made again."""


KEPT = {"scans/*.json": 0, "vega/*.js": 2, "runs/*.json": 100}
"""How many of the cached files of a kind are kept, the newest. Scans as JSON are of an earlier version."""


def sweep_cache() -> None:
    """Removes what killed commands left in the user's cache, and the oldest files of each kind."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = cache_folder()
        for place in (*(folder / name for name in ("scans", "vega", "runs")), *folder.glob("archives/*")):
            sweep(place)
        for pattern, most in KEPT.items():
            found = sorted(folder.glob(pattern), key=lambda each: each.stat().st_mtime, reverse=True)
            for each in found[most:]:
                each.unlink(missing_ok=True)


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

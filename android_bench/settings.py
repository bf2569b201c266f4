"""How phones are treated. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MatrixSettings:
    """How phones are treated."""

    max_celsius: float = 38.0
    """A phone warmer than this, or throttling, cools before the next run."""
    cool_secs: float = 120.0
    """It is waited for so long at most, each time."""
    reconnect_secs: float = 60.0
    """A phone that vanished is waited for so long."""
    keep: bool = False
    """Leaves the files on the phone, so that the next call need not push them."""

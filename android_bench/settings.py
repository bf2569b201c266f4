"""Settings for cooling, reconnecting and cleaning up phones. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MatrixSettings:
    """When phones cool, how long to wait for them, and whether files stay on them."""

    max_celsius: float = 38.0
    """A phone warmer than this, or throttling, cools before the next run."""
    cool_secs: float = 120.0
    """The longest wait for cooling, each time, in seconds."""
    reconnect_secs: float = 60.0
    """The longest wait for a phone that vanished, in seconds."""
    keep: bool = False
    """Whether to leave the files on the phone, so that the next call need not push them."""

"""The hours that a choice may take: what it has spent, and what a training is expected to take.

Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

SECS_PER_HOUR = 3600.0
FOR_RUNGS = 0.6
"""The share of the hours after which no training of a rung before the last starts."""


@dataclass
class Clock:
    """Counts the seconds of this choice over all of its calls, and learns how fast families train here."""

    hours: float | None
    spent_before: float = 0.0
    """Seconds of earlier calls."""
    begun: float = field(default_factory=time.monotonic)
    known_rates: Mapping[str, float] = field(default_factory=dict)
    """Family -> seconds for an epoch and mult-add, of earlier calls."""
    _seen: dict[str, list[float]] = field(default_factory=dict)
    """The same of this call's trainings."""

    @property
    def spent_secs(self) -> float:
        """Seconds so far."""
        return self.spent_before + time.monotonic() - self.begun

    def learn(self, family: str, *, macs: int, epochs: int, seconds: float) -> None:
        """Takes in how long a training took."""
        if macs and epochs and seconds:
            self._seen.setdefault(family, []).append(seconds / (macs * epochs))

    def expected_secs(self, family: str, *, macs: int, epochs: int) -> float | None:
        """What a training is expected to take; None before any was seen."""
        rates = self.rates
        rate = rates.get(family, median(rates.values()) if rates else None)
        return None if rate is None else rate * macs * epochs

    def has_room(self, expected_secs: float | None, *, share: float = 1.0) -> bool:
        """Whether so many more seconds end within this share of the hours; True without a limit."""
        if self.hours is None:
            return True
        return self.spent_secs + (expected_secs or 0.0) <= share * self.hours * SECS_PER_HOUR

    @property
    def rates(self) -> Mapping[str, float]:
        """Family -> seconds for an epoch and mult-add, the median."""
        return {**self.known_rates, **{family: median(found) for family, found in self._seen.items()}}

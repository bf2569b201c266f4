"""The statistics of runs in whole microseconds, as the tool prints them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """One block of runs in order; all zeros without runs."""

    each_us: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.each_us)

    @property
    def first(self) -> int:
        return self.each_us[0] if self.each_us else 0

    @property
    def least(self) -> int:
        return min(self.each_us, default=0)

    @property
    def most(self) -> int:
        return max(self.each_us, default=0)

    @property
    def mean(self) -> float:
        return sum(self.each_us) / self.count if self.each_us else 0.0

    @property
    def deviation(self) -> int:
        """The standard deviation, rounded down."""
        if not self.each_us:
            return 0
        squares = sum(each * each for each in self.each_us) / self.count
        return int(math.sqrt(max(squares - self.mean**2, 0.0)))

    def percentile(self, percent: int) -> int:
        """The sorted values' entry at that percentile, its index rounded down."""
        return sorted(self.each_us)[self.count * percent // 100] if self.each_us else 0

    def line(self, *, percentiles: bool = True) -> str:
        """count=… first=… curr=… and so on."""
        text = self._start()
        if percentiles:
            shown = {"p5": 5, "median": 50, "p95": 95}
            text += "".join(f" {name}={self.percentile(percent)}" for name, percent in shown.items())
        return text

    def _start(self) -> str:
        if not self.each_us:
            return "count=0"
        last = self.each_us[-1]
        if self.least == self.most:
            return f"count={self.count} curr={last}{'(all same)' if self.count > 1 else ''}"
        return (
            f"count={self.count} first={self.first} curr={last} min={self.least} max={self.most}"
            f" avg={self.mean:g} std={self.deviation}"
        )

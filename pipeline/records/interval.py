"""The 95% interval of a share of images. Standard library only."""

from __future__ import annotations

import math
from functools import lru_cache

STANDARD_ERRORS = 1.959964
"""Two-sided 5% point of the normal distribution."""


@lru_cache(100_000)
def wilson_interval(percent: float | None, num_samples: int | None) -> tuple[float, float] | None:
    """The 95% interval of a percentage of so many samples, in percent; None if either is not known.

    Wilson's score interval (1927): it stays within 0 and 100, also for few samples and shares near either.
    """
    if percent is None or not num_samples:
        return None
    share, z2 = percent / 100, STANDARD_ERRORS**2
    middle = share + z2 / (2 * num_samples)
    half = STANDARD_ERRORS * math.sqrt(
        max(0.0, share * (1 - share)) / num_samples + z2 / (4 * num_samples**2)
    )
    low, high = ((middle + sign * half) / (1 + z2 / num_samples) for sign in (-1, 1))
    return 100 * max(0.0, low), 100 * min(1.0, high)


def wilson_low(percent: float | None, num_samples: int | None) -> float | None:
    """The interval's lower end, for SQL."""
    interval = wilson_interval(percent, num_samples)
    return None if interval is None else interval[0]


def wilson_high(percent: float | None, num_samples: int | None) -> float | None:
    """The interval's upper end, for SQL."""
    interval = wilson_interval(percent, num_samples)
    return None if interval is None else interval[1]

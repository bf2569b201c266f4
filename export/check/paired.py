"""McNemar's exact test: do two predictions on the same images differ by more than chance?

McNemar 1947, doi:10.1007/BF02295996: only the images that one of the two gets right tell them apart, and by
chance alone each of these is as likely the one's as the other's. Standard library only at import.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CHANCE_P = 0.05
"""A difference with a smaller p is called distinguishable."""


def paired_p(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """The two-sided p of two predictions, by whether each image is right."""
    return mcnemar_p(int((one & ~other).sum()), int((other & ~one).sum()))


def mcnemar_p(only_one: int, only_other: int) -> float:
    """The two-sided p, by the numbers of images that one alone gets right."""
    total, larger = only_one + only_other, max(only_one, only_other)
    ways = term = math.comb(total, larger)
    for each in range(larger, total):
        term = term * (total - each) // (each + 1)
        ways += term
    return min(1.0, float(2 * ways / 2**total))  # whole numbers: none is too large


def fewest_images() -> int:
    """The least number of images, all right in one prediction alone, that is distinguishable: 6."""
    number = 1
    while mcnemar_p(number, 0) >= CHANCE_P:
        number += 1
    return number

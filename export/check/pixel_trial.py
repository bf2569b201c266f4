"""Tries the usual pixel conventions on labelled images: is another than the assumed one clearly better?

Each convention sees the same images, so that two are compared in pairs (McNemar's exact test). A better one
must also beat an output that is always one class, and what the assumed one would have if the outputs were in
another order: neither says anything about pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.check.paired import CHANCE_P, paired_p
from export.pixel_conventions import PixelConvention, usual_conventions, with_channels_reversed

NUM_TRIED = 200
"""Images to try."""
MARGIN_POINTS = 10.0
"""Percentage points of top-1 that another convention must gain."""
MAX_P = 0.001
"""Of McNemar's exact test, two-sided, and of the comparison with one class alone."""

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Predict = Callable[[Floats], Labels]
"""What the model is fed (n, height, width, channels) -> its labels (n,); -1 for none."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A convention, and the share of the images that the model then gets right."""

    convention: PixelConvention
    top1: float
    """Percent."""


@dataclass(frozen=True, kw_only=True)
class PixelTrial:
    """The conventions tried on some labelled images."""

    num_images: int
    assumed: Tried
    others: tuple[Tried, ...]
    """Best first; empty where the assumed one is so good that none can be clearly better."""
    better: Tried | None
    """The convention that is clearly better than the assumed one."""
    alike: tuple[Tried, ...] = ()
    """Others that these images cannot tell from the better one."""
    other_order_top1: float = 0.0
    """Percent right with the assumed pixels, if each output stood for the class that it mostly falls on."""

    @property
    def is_in_another_order(self) -> bool:
        """Whether the outputs seem to stand in another order than the classes."""
        return self.better is None and self.other_order_top1 >= self.assumed.top1 + 2 * MARGIN_POINTS

    @property
    def figures(self) -> str:
        """'0..1: 97.5%, -1..1: 80.0%, ...' of all conventions, best first."""
        tried = sorted((self.assumed, *self.others), key=lambda each: -each.top1)
        return ", ".join(f"{each.convention}: {each.top1:.1f}%" for each in tried)


def try_conventions(predict: Predict, pixels: Floats, labels: Labels, assumed: PixelConvention) -> PixelTrial:
    """The trial on (n, height, width, channels) raw 0-255 pixels and their labels (n,)."""
    found = predict(assumed(pixels))
    right = {assumed: found == labels}
    first = _tried(assumed, right)
    if first.top1 > 100 - MARGIN_POINTS:
        return PixelTrial(num_images=len(labels), assumed=first, others=(), better=None)
    for each in usual_conventions(pixels.shape[-1]):
        if not each.same_values(assumed):
            right[each] = predict(each(pixels)) == labels
    if pixels.shape[-1] == 3:
        swapped = with_channels_reversed(max(right, key=lambda each: int(right[each].sum())))
        if not any(swapped.same_values(each) for each in right):
            right[swapped] = predict(swapped(pixels)) == labels
    others = sorted(
        (_tried(each, right) for each in right if each is not assumed), key=lambda each: -each.top1
    )
    reordered = 100 * _right_in_another_order(found, labels)
    least = max(first.top1, reordered) + MARGIN_POINTS
    better = [
        each
        for each in others
        if each.top1 >= least
        and paired_p(right[each.convention], right[assumed]) < MAX_P
        and _is_more_than_one_class(right[each.convention], labels)
    ]
    best = better[0] if better else None
    alike = [
        each
        for each in better[1:]
        if best is not None
        and paired_p(right[best.convention], right[each.convention]) >= CHANCE_P
        and not each.convention.same_values(with_channels_reversed(best.convention))
    ]
    return PixelTrial(
        num_images=len(labels),
        assumed=first,
        others=tuple(others),
        better=best,
        alike=tuple(alike),
        other_order_top1=reordered,
    )


def _tried(convention: PixelConvention, right: dict[PixelConvention, npt.NDArray[np.bool_]]) -> Tried:
    return Tried(convention=convention, top1=100 * float(right[convention].mean()))


def _is_more_than_one_class(right: npt.NDArray[np.bool_], labels: Labels) -> bool:
    """Whether more are right than an output that is always the most frequent class would get."""
    largest = int(np.unique(labels, return_counts=True)[1].max()) / len(labels)
    return _at_least(int(right.sum()), len(right), largest) < MAX_P


def _at_least(count: int, total: int, share: float) -> float:
    """The probability of at least `count` of `total` at this share."""
    return math.fsum(
        math.comb(total, each) * share**each * (1 - share) ** (total - each)
        for each in range(count, total + 1)
    )


def _right_in_another_order(found: Labels, labels: Labels) -> float:
    """The share that would be right if each output stood for the class that it mostly falls on.

    Which class that is comes from the other half of the images.
    """
    halves = np.arange(len(labels)) // max(1, len(np.unique(labels))) % 2 == 0
    right = 0
    for learned in (halves, ~halves):
        classes = {
            output: np.bincount(labels[learned & (found == output)]).argmax()
            for output in np.unique(found[learned])
        }
        tested = zip(found[~learned], labels[~learned], strict=True)
        right += sum(classes.get(output) == label for output, label in tested)
    return right / len(labels)

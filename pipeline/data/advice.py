"""What to know before training on a data set: imbalance, image sizes, how much its test split can tell."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from pipeline.data.spec import DatasetSpec
from spelling import counted

MAX_IMBALANCE = 5.0
"""Training images of the largest class to those of the smallest."""
MIN_SHARE_OF_DESIGN = 1 / 8
"""Image size to the size that the net was made for: below, a net sees little."""
MAX_UNCERTAINTY = 5.0
"""Percentage points by which the test split's top-1 may differ from the truth by chance."""
ASSUMED_TOP1 = 0.9


def advice(dataset: DatasetSpec, *, image_size: int, made_for: int) -> Iterator[str]:
    """Remarks on a training of a net on the data set, a sentence each; none if nothing stands out.

    `image_size` is the side of its input, `made_for` the side in its paper.
    """
    yield from dataset.notes
    yield from advice_on_images(dataset)
    side = dataset.smaller_side
    if side is not None and image_size > side:
        yield (
            f"the photos are enlarged: their smaller side is {side} pixels (median), the net's input "
            f"{image_size}. --image-size {side} or less costs nothing"
        )
    if image_size < made_for * MIN_SHARE_OF_DESIGN:
        yield (
            f"{image_size} pixels are little for a net made for {made_for}: its later layers see one or two "
            "places. Expect a low accuracy, or give a larger --image-size"
        )


def advice_on_images(dataset: DatasetSpec) -> Iterator[str]:
    """The remarks that hold for any net, a sentence each: imbalance, a test split that can tell little."""
    yield from _imbalance(dataset)
    uncertainty = 196 * sqrt(ASSUMED_TOP1 * (1 - ASSUMED_TOP1) / max(dataset.num_test, 1))
    if uncertainty > MAX_UNCERTAINTY:
        yield (
            f"{counted(dataset.num_test, 'test image')} can tell an accuracy of 90% to within "
            f"{uncertainty:.0f} points: "
            "smaller differences between nets are chance"
        )


def _imbalance(dataset: DatasetSpec) -> Iterator[str]:
    counts = [each for each in dataset.class_counts if each.train]
    if not counts:
        return
    largest, smallest = (choose(counts, key=lambda each: each.train) for choose in (max, min))
    if largest.train < MAX_IMBALANCE * smallest.train:
        return
    share = 100 * largest.test / max(dataset.num_test, 1)
    yield (
        f"class '{largest.name}' has {largest.train:,} training images, '{smallest.name}' "
        f"{smallest.train:,}: a net that always says '{largest.name}' would have a top-1 of {share:.0f}% on "
        "the test split"
    )

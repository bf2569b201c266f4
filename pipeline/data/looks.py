"""Images that look alike: copies that were resized or saved again, and neighbouring frames of a video.

The look of an image is its difference hash: 64 bits, each saying whether a place is brighter than its right
neighbour, in 8 rows of 9 grey places (N. Krawetz, "Kind of Like That", 2013, hackerfactor.com).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_DIFFERENT_BITS = 3
"""Of 64; further apart they count as different images."""
MIN_EDGES = 8
"""Bits that must differ from a plain image's, for whose looks chance decides."""
MAX_IN_BAND = 500
"""Different looks that share a band of bits; with more the band says nothing."""
_NUM_BITS = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1)
_NUM_BANDS = MAX_DIFFERENT_BITS + 1


def look_of(image: Image.Image) -> int | None:
    """The image's 64 bits; None for one without enough structure."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (grey[:, 1:] < grey[:, :-1]).ravel()
    if not MIN_EDGES <= bits.sum() <= bits.size - MIN_EDGES:
        return None
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def in_other_parts(
    looks: npt.NDArray[np.uint64], classes: npt.NDArray[np.integer[Any]], parts: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.int64]:
    """(place, other place), (n, 2), for each image that looks like one of its class in another part.

    Parts, such as splits, are numbers from 0.
    """
    if not len(looks):
        return np.zeros((0, 2), np.int64)
    order = np.lexsort((looks, classes))
    differs = (np.diff(looks[order]) != 0) | (np.diff(classes[order]) != 0)
    which = np.empty(len(looks), np.int64)
    which[order] = np.concatenate([[0], np.cumsum(differs)])
    distinct = order[np.concatenate([[True], differs])]
    first = np.full((len(distinct), int(parts.max()) + 1), len(looks), np.int64)
    np.minimum.at(first, (which, parts), np.arange(len(looks)))
    nearest = first.copy()
    for one, other in alike(looks[distinct], classes[distinct]):
        np.minimum.at(nearest, one, first[other])
        np.minimum.at(nearest, other, first[one])
    there = nearest[which]
    there[np.arange(len(looks)), parts] = len(looks)
    found = there.min(axis=1)
    places = np.flatnonzero(found < len(looks))
    return np.stack([places, found[places]], axis=1)


def alike(
    looks: npt.NDArray[np.uint64], classes: npt.NDArray[np.integer[Any]]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """The places of pairs of different looks in a class that are of images that look alike, some twice.

    Looks that differ in three bits at most are equal in one of four bands of 16 bits.
    """
    width = 64 // _NUM_BANDS
    for band in range(_NUM_BANDS):
        bits = looks >> np.uint64(band * width) & np.uint64(2**width - 1)
        key = classes.astype(np.uint64) << np.uint64(width) | bits
        order = np.argsort(key, kind="stable")
        _, sizes = np.unique(key, return_counts=True)
        order = order[np.repeat(sizes <= MAX_IN_BAND, sizes)]
        for step in range(1, MAX_IN_BAND):
            same = np.flatnonzero(key[order[step:]] == key[order[:-step]])
            if not len(same):
                break
            one, other = order[same], order[same + step]
            different = (looks[one] ^ looks[other]).view(np.uint16).reshape(-1, 4)
            near = _NUM_BITS[different].sum(axis=1) <= MAX_DIFFERENT_BITS
            yield one[near], other[near]

"""Images that look alike: copies that were resized or saved again, and neighbouring frames of a video.

The look of an image is its difference hash: 64 bits, each saying whether a place is brighter than its right
neighbour, in 8 rows of 9 grey places (N. Krawetz, "Kind of Like That", 2013, hackerfactor.com).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_DIFFERENT_BITS = 3
"""Of 64; further apart they count as different images."""
MIN_EDGES = 8
"""Bits that must differ from a plain image's, for whose looks chance decides."""
MAX_IN_BAND = 500
"""Different looks that share a band of bits; with more the band says nothing."""
_NUM_BANDS = MAX_DIFFERENT_BITS + 1


def look_of(image: Image.Image) -> int | None:
    """The image's 64 bits; None for one without enough structure."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (grey[:, 1:] < grey[:, :-1]).ravel()
    if not MIN_EDGES <= bits.sum() <= bits.size - MIN_EDGES:
        return None
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def in_other_parts(looks: Sequence[int | None], parts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(place, other place) for each image that looks like one in another part, such as a split."""
    places: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, (look, part) in enumerate(zip(looks, parts, strict=True)):
        if look is not None:
            places[look][part].append(place)
    around: dict[int, list[int]] = {look: [look] for look in places}
    for first, second in alike(list(places)):
        around[first].append(second)
        around[second].append(first)
    for look, found in places.items():
        first_of: dict[str, int] = {}
        for near in around[look]:
            for part, there in places[near].items():
                first_of.setdefault(part, there[0])
        for part, there in found.items():
            other = next((place for other, place in first_of.items() if other != part), None)
            if other is not None:
                yield from ((place, other) for place in there)


def alike(looks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each two of different looks that are of images that look alike.

    Looks that differ in three bits at most are equal in one of four bands of 16 bits.
    """
    width = 64 // _NUM_BANDS
    values = np.asarray(looks, np.uint64)
    for band in range(_NUM_BANDS):
        bits = values >> np.uint64(band * width) & np.uint64(2**width - 1)
        order = np.argsort(bits, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(bits[order])) + 1):
            if len(group) <= MAX_IN_BAND:
                yield from _alike_in(values[group], before=range(band))


def _alike_in(values: npt.NDArray[np.uint64], *, before: range) -> Iterator[tuple[int, int]]:
    """The pairs in a group, except those that are equal in a band that was before."""
    width = 64 // _NUM_BANDS
    for place, value in enumerate(values):
        different = values[place + 1 :] ^ value
        bits = np.unpackbits(different.view(np.uint8).reshape(-1, 8), axis=1)
        near = bits.sum(axis=1) <= MAX_DIFFERENT_BITS
        for band in before:
            near &= (different >> np.uint64(band * width) & np.uint64(2**width - 1)) != 0
        yield from ((int(value), int(values[place + 1 + other])) for other in np.flatnonzero(near))

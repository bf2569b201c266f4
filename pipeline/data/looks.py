"""Images that look alike: copies that were resized or saved again, and neighbouring frames of a video.

The look of an image is its difference hash: 64 bits, each saying whether a place is brighter than its right
neighbour, in 8 rows of 9 grey places (N. Krawetz, "Kind of Like That", 2013, hackerfactor.com).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

MAX_DIFFERENT_BITS = 3
"""Of 64; further apart they count as different images."""
MIN_EDGES = 8
"""Bits that must differ from a plain image's, for whose looks chance decides."""
MAX_ALIKE = 50
"""Images that share a band of bits; with more the band says nothing."""
_NUM_BANDS = MAX_DIFFERENT_BITS + 1


def look_of(image: Image.Image) -> int | None:
    """The image's 64 bits; None for one without enough structure."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (grey[:, 1:] < grey[:, :-1]).ravel()
    if not MIN_EDGES <= bits.sum() <= bits.size - MIN_EDGES:
        return None
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def alike(looks: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """The places of each two images that look alike, the smaller first.

    Looks that differ in three bits at most are equal in one of four bands of 16 bits.
    """
    seen: set[tuple[int, int]] = set()
    width = 64 // _NUM_BANDS
    for band in range(_NUM_BANDS):
        places = defaultdict(list)
        for place, look in enumerate(looks):
            if look is not None:
                places[look >> (band * width) & (2**width - 1)].append(place)
        for group in places.values():
            if len(group) > MAX_ALIKE:
                continue
            for i, first in enumerate(group):
                for second in group[i + 1 :]:
                    different = (looks[first] or 0) ^ (looks[second] or 0)
                    if different.bit_count() <= MAX_DIFFERENT_BITS and (first, second) not in seen:
                        seen.add((first, second))
                        yield first, second

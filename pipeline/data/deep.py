"""Colour images with 16 bits a channel, of which Pillow keeps the high byte alone: all 16 bits of them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

_SWAPPED = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
}
"""With the other byte order Pillow keeps the low byte of each level."""
_SURELY_16_BITS = 2**6
"""A high byte from here on is of a level above 14 bits: the low bytes need not be read."""


def colour_levels(image: Image.Image, content: bytes) -> npt.NDArray[np.int64] | None:
    """(h, w, 3) levels of 0..65535 of a decoded image, which is decoded again; None if it has none."""
    with Image.open(io.BytesIO(content), formats=(str(image.format),)) as again:
        tiles: list[Any] = list(getattr(again, "tile", ()))
        raw = [tile.args if isinstance(tile.args, str) else tile.args[0] for tile in tiles]
        if not raw or any(mode not in _SWAPPED for mode in raw):
            return None
        again.tile = [
            tile._replace(
                args=_SWAPPED[mode] if isinstance(tile.args, str) else (_SWAPPED[mode], *tile.args[1:])
            )
            for tile, mode in zip(tiles, raw, strict=True)
        ]
        low = np.asarray(again)[..., :3].astype(np.int64)
    return np.asarray(image)[..., :3].astype(np.int64) << 8 | low


def colour_peak(image: Image.Image, content: bytes) -> int | None:
    """The highest of a colour image's 16-bit levels, or 65535 if it surely needs 16 bits; None if unknown."""
    if image.mode not in ("RGB", "RGBA"):
        return None
    if int(np.asarray(image)[..., :3].max()) >= _SURELY_16_BITS:
        return 65535
    levels = colour_levels(image, content)
    return None if levels is None else int(levels.max())


def colour_of(image: Image.Image, content: bytes, top: int) -> Image.Image:
    """The decoded colour image with levels of 0..top as 0..255; unchanged if it has no 16-bit levels."""
    levels = colour_levels(image, content)
    if levels is None:
        return image
    scaled = (np.clip(levels, 0, top) * 255 + top // 2) // top
    colour = Image.fromarray(scaled.astype(np.uint8))
    if image.mode == "RGBA":
        colour.putalpha(image.getchannel("A"))
    return colour

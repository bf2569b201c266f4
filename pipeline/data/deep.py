"""Colour images with 16 bits a channel, of which Pillow keeps the high byte alone: all 16 bits of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
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
_ROWS = 64
"""Rows of an image whose 16-bit levels are computed with at once."""
_SURELY_16_BITS = 2**6
"""A high byte from here on is of a level above 14 bits: the low bytes need not be read."""


def colour_peak(image: Image.Image, content: bytes) -> int | None:
    """The highest of a colour image's 16-bit levels, or 65535 if it surely needs 16 bits; None if unknown."""
    if image.mode not in ("RGB", "RGBA"):
        return None
    if max(high for _, high in image.getextrema()[:3]) >= _SURELY_16_BITS:  # type: ignore[misc]
        return 65535
    low = _low_bytes(image, content)
    return None if low is None else max(int(levels.max()) for _, levels in _strips(image, low))


def colour_of(image: Image.Image, content: bytes, top: int) -> Image.Image:
    """The decoded colour image with levels of 0..top as 0..255; unchanged if it has no 16-bit levels."""
    low = _low_bytes(image, content)
    if low is None:
        return image
    colour = Image.new("RGB", image.size)
    for first_row, levels in _strips(image, low):
        colour.paste(Image.fromarray(in_8_bits(levels, top)), (0, first_row))
    if image.mode == "RGBA":
        colour.putalpha(image.getchannel("A"))
    return colour


def grey_peak(image: Image.Image) -> int:
    """The highest level of a grey image stored in 16 bits."""
    return max(int(np.asarray(image.crop(box)).max()) for _, box in _boxes(image))


def grey_of(image: Image.Image, top: int) -> Image.Image:
    """A grey image stored in 16 bits with levels of 0..top as 0..255."""
    grey = Image.new("L", image.size)
    for first_row, box in _boxes(image):
        levels = np.asarray(image.crop(box)).astype(np.int64)
        grey.paste(Image.fromarray(in_8_bits(levels, top)), (0, first_row))
    return grey


def in_8_bits(levels: npt.NDArray[np.int64], top: int) -> npt.NDArray[np.uint8]:
    """Levels of 0..top as 0..255, rounded."""
    return ((np.clip(levels, 0, top) * 255 + top // 2) // top).astype(np.uint8)


def _low_bytes(image: Image.Image, content: bytes) -> Image.Image | None:
    """The low bytes of a decoded image's levels, which is decoded again; None if it has none."""
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
        again.load()
        return again.copy()


def _strips(high: Image.Image, low: Image.Image) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(first row, levels (rows, w, 3)) of an image by its two bytes: few rows at once take little memory."""
    for first_row, box in _boxes(high):
        top, bottom = (np.asarray(each.crop(box))[..., :3].astype(np.int64) for each in (high, low))
        yield first_row, top << 8 | bottom


def _boxes(image: Image.Image) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    for row in range(0, image.height, _ROWS):
        yield row, (0, row, image.width, min(row + _ROWS, image.height))

"""Small pictures of a data set's images, inside the page."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.data.pixels import UnreadableImageError, decode, quiet_pillow

SIDE = 120
"""Pixels of the longer side; twice what is shown at least, for sharp screens."""
QUALITY = 80
MOST_KEPT = 2000
"""Of one report: files of one data set are wrong on the same images."""


@lru_cache(MOST_KEPT)
def thumbnail(path: str) -> str:
    """The image as a data: address; empty if the file is gone or cannot be read."""
    quiet_pillow()
    place = Path(path)
    try:
        if not place.is_absolute() or not place.is_file():
            return ""
        image = decode(place.read_bytes(), at_least=SIDE).image
    except (OSError, ValueError, UnreadableImageError):
        return ""
    image.thumbnail((SIDE, SIDE))
    return _address(image, "JPEG", quality=QUALITY)


def drawn(pixels: npt.NDArray[np.uint8]) -> str:
    """(height, width, 1 or 3) pixels as a data: address."""
    return _address(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), "PNG")


def _address(image: Image.Image, kind: str, **options: int) -> str:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"

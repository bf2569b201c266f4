"""Turns an image into a model's pixels, the same for training, calibration, verification and the phone.

decode -> upright 8-bit RGB -> the largest central square -> resized to (image_size, image_size) with Pillow's
bilinear filter, which averages over all source pixels when it shrinks (antialiased) -> raw 0-255.

The aspect ratio is kept; parts outside the central square are lost. An app does the same with the central
square of the camera's frame.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

Image.init()

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "ICO")
"""Accepted formats; not those that start a program (EPS) or are hard to recognise by their header (TGA)."""
MAX_PIXELS = 89_478_485
"""Pillow's own limit, 256 MiB as RGB: a larger image counts as a decompression bomb."""
OVERSAMPLE = 2
"""A JPEG is decoded at 1/2, 1/4 or 1/8 if the result is at least this many times image_size."""

_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


class UnreadableImageError(ValueError):
    """The bytes are no usable image; the message is a short reason."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """An upright RGB image, its original size, and its differences from plain 8-bit RGB."""

    image: Image.Image
    width: int
    height: int
    converted: tuple[str, ...]


def from_bytes(content: bytes, image_size: int) -> Pixels:
    """The pixels of an encoded image, (image_size, image_size, 3) uint8. Raises UnreadableImageError."""
    return resize(decode(content, at_least=image_size * OVERSAMPLE).image, image_size)


def from_array(array: Pixels, image_size: int) -> Pixels:
    """The pixels of a decoded image, (h, w) grey or (h, w, 3) RGB, as (image_size, image_size, 3) uint8."""
    if array.shape[:2] == (image_size, image_size):
        return array if array.ndim == 3 else np.repeat(array[:, :, None], 3, axis=2)
    return resize(Image.fromarray(array).convert("RGB"), image_size)


def resize(image: Image.Image, image_size: int) -> Pixels:
    """The largest central square of an RGB image, resized: (image_size, image_size, 3) uint8, 0-255."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if side == image_size:
        return np.asarray(image.crop(box))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box))


def decode(content: bytes, *, at_least: int | None = None) -> Decoded:
    """An encoded image as upright 8-bit RGB; of an animation the first frame.

    With `at_least` the JPEG decoder shrinks by 2, 4 or 8 while both sides keep at least that many pixels.
    Transparent parts become white, 16-bit levels are divided by 257, and CMYK, palette, grey and 1-bit images
    are converted. Raises UnreadableImageError for anything else.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImageError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
            if at_least:
                image.draft(None, (at_least, at_least))
            sixteen_bit = _stored_in_16_bits(image)
            image.load()
            converted = _differences(image, sixteen_bit=sixteen_bit)
            upright = ImageOps.exif_transpose(image)
            if "EXIF-rotated" in converted and image.getexif()[ExifTags.Base.Orientation] >= 5:
                width, height = height, width
            return Decoded(image=_rgb(upright), width=width, height=height, converted=converted)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError(f"more than {MAX_PIXELS:,} pixels") from error
    # what Pillow's decoders raise on broken files, seen on truncated and altered ones of every format above
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
    ) as error:
        raise UnreadableImageError(f"broken ({error})") from error
    except MemoryError as error:
        raise UnreadableImageError("too large for the memory") from error


def quiet_pillow() -> None:
    """Silences Pillow's warnings about odd metadata, and makes it refuse decompression bombs."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def _differences(image: Image.Image, *, sixteen_bit: bool) -> tuple[str, ...]:
    names = []
    if image.mode == "CMYK":
        names.append("CMYK")
    if image.mode in _SIXTEEN_BIT or sixteen_bit:
        names.append("16-bit")
    if image.mode == "1":
        names.append("1-bit")
    if image.mode in ("P", "PA"):
        names.append("palette")
    if image.mode in ("L", "LA", "La"):
        names.append("grey")
    if image.has_transparency_data:
        names.append("alpha")
    if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
        names.append("EXIF-rotated")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        names.append("animated")
    return tuple(names)


def _stored_in_16_bits(image: Image.Image) -> bool:
    """Whether Pillow will reduce a 16-bit PNG or TIFF to 8 bits per channel; known only before decoding."""
    tiles: Any = getattr(image, "tile", ())
    return any(";16" in str(tile.args) for tile in tiles)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in _SIXTEEN_BIT:
        levels = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnreadableImageError("floating-point levels, whose range is not known")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")

"""Turns an image into a model's pixels, the same for training, calibration, verification and the phone.

decode -> upright 8-bit RGB -> the largest central part of the model's aspect ratio (a square for most) ->
resized to the model's height and width with Pillow's bilinear filter, which averages over all source pixels
when it shrinks (antialiased) -> for a model of one channel grey, by the weights of ITU-R 601, as Pillow's
convert("L") -> raw 0-255.

The aspect ratio is kept; parts outside the central one are lost. An app does the same with a camera's frame.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pipeline.data import deep
from pipeline.data.spec import ImageShape, shape_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

Image.init()


def _heif() -> tuple[str, ...]:
    """The format of an iPhone's photos; none where the package that reads it has no wheel."""
    try:
        import pi_heif
    except ImportError:
        return ()
    pi_heif.register_heif_opener(thumbnails=False)
    return ("HEIF",)


FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "ICO", *_heif())
"""Accepted formats; not those that start a program (EPS) or are hard to recognise by their header (TGA)."""
MAX_PIXELS = 89_478_485
"""Pillow's own limit, 256 MiB as RGB: a larger image counts as a decompression bomb."""
ALONE_PIXELS = 16_000_000
"""An image of more pixels, after a JPEG's own shrinking, is decoded by one thread at a time."""
OVERSAMPLE = 2
"""A JPEG is decoded at 1/2, 1/4 or 1/8 if the result is at least this many times the model's larger side."""

KINDS = ("CMYK", "16-bit", "1-bit", "palette", "grey", "alpha", "EXIF-rotated", "animated")
"""What an image can be besides plain 8-bit RGB."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits that an image stored in 16 may really have."""

_ALONE = threading.Lock()
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BEGINNINGS = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"8BPS", "a Photoshop file"),
    (b"%!PS", "a PostScript file"),
    (b"{", "a JSON or text file"),
)
"""What files among photos are, by their first bytes."""


class UnreadableImageError(ValueError):
    """The bytes are no usable image; the message is a short reason."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """An upright RGB image, its original size, and its differences from plain 8-bit RGB."""

    image: Image.Image
    width: int
    height: int
    converted: tuple[str, ...]
    peak: int | None = None
    """The brightest level of an image stored in 16 bits; None for others."""


def from_bytes(content: bytes, image_size: ImageShape | int, *, depth: int = 16) -> Pixels:
    """The pixels of an encoded image, (height, width, channels) uint8. Raises UnreadableImageError."""
    shape = shape_of(image_size)
    return resize(decode(content, at_least=max(shape[:2]) * OVERSAMPLE, depth=depth).image, shape)


def depth_of(peaks: Iterable[int]) -> int:
    """The bits that images stored in 16 really have, by their brightest levels: 12-bit levels end at 4095."""
    peak = max(peaks, default=65535)
    return next((bits for bits in DEPTHS if peak < 2**bits), 16)


def from_array(array: Pixels, image_size: ImageShape | int) -> Pixels:
    """The pixels of a decoded image, (h, w) grey or (h, w, 3) RGB, as (height, width, channels) uint8."""
    shape = shape_of(image_size)
    if array.shape[:2] != shape[:2]:
        return resize(Image.fromarray(array).convert("RGB"), shape)
    if array.ndim == 2:
        return np.repeat(array[:, :, None], shape.channels, axis=2)
    return array if shape.channels == 3 else _grey(Image.fromarray(array))


def resize(image: Image.Image, image_size: ImageShape | int) -> Pixels:
    """The largest central part of an RGB image, resized: (height, width, channels) uint8, 0-255."""
    shape = shape_of(image_size)
    width = min(image.width, image.height * shape.width // shape.height) or 1
    height = min(image.height, image.width * shape.height // shape.width) or 1
    left, top = (image.width - width) // 2, (image.height - height) // 2
    box = (left, top, left + width, top + height)
    if (height, width) == shape[:2]:
        resized = image.crop(box)
    else:
        resized = image.resize((shape.width, shape.height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized) if shape.channels == 3 else _grey(resized)


def decode(content: bytes, *, at_least: int | None = None, depth: int = 16) -> Decoded:
    """An encoded image as upright 8-bit RGB; of an animation the first frame.

    With `at_least` the JPEG decoder shrinks by 2, 4 or 8 while both sides keep at least that many pixels.
    Transparent parts become white, levels stored in 16 bits are scaled from `depth` bits to 8, and CMYK,
    palette, grey and 1-bit images are converted. Raises UnreadableImageError for anything else.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImageError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
            if at_least:
                image.draft(None, (at_least, at_least))
            is_large = image.width * image.height > ALONE_PIXELS
            with _ALONE if is_large else contextlib.nullcontext():
                return _decoded(image, content, (width, height), depth)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError(_what_else(content)) from error
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
        RuntimeError,
    ) as error:
        raise UnreadableImageError(f"broken ({' '.join(str(error).split())})") from error
    except MemoryError as error:
        raise UnreadableImageError("too large for the memory") from error


def _decoded(image: Image.Image, content: bytes, size: tuple[int, int], depth: int) -> Decoded:
    """An opened image, decoded; `size` is what its header says."""
    width, height = size
    sixteen_bit = _stored_in_16_bits(image)
    image.load()
    converted = _differences(image, sixteen_bit=sixteen_bit)
    upright = ImageOps.exif_transpose(image)
    if "EXIF-rotated" in converted and image.getexif()[ExifTags.Base.Orientation] >= 5:
        width, height = height, width
    peak = deep.grey_peak(image) if image.mode in _SIXTEEN_BIT else None
    if sixteen_bit and peak is None:
        peak = deep.colour_peak(image, content)
        if peak is not None and depth < 16:
            upright = _upright(image, deep.colour_of(image, content, 2**depth - 1))
    return Decoded(image=_rgb(upright, depth), width=width, height=height, converted=converted, peak=peak)


def quiet_pillow() -> None:
    """Silences Pillow's warnings about odd metadata, and makes it refuse decompression bombs."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def _grey(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("L"))[:, :, None]


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


def _upright(image: Image.Image, pixels: Image.Image) -> Image.Image:
    """The pixels turned as the image's EXIF says."""
    pixels.getexif().update(image.getexif())
    return ImageOps.exif_transpose(pixels)


def _what_else(content: bytes) -> str:
    """What the content of no image is, by its first bytes."""
    if content[4:8] == b"ftyp":
        if content[8:12] in _HEIF_BRANDS:
            return (
                "broken HEIC"
                if "HEIF" in FORMATS
                else "HEIC, and the package pi-heif, which reads it, is not installed"
            )
        return "not an image, but an MP4 or QuickTime video"
    begin = content[:256].lstrip()
    kind = next((words for first, words in _BEGINNINGS if begin.startswith(first)), None)
    return f"not an image, but {kind}" if kind else "not an image"


def _rgb(image: Image.Image, depth: int) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in _SIXTEEN_BIT:
        return deep.grey_of(image, 2**depth - 1).convert("RGB")
    if image.mode == "F":
        raise UnreadableImageError("floating-point levels, whose range is not known")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")

"""Decoding and resizing, beside TensorFlow's decoders and the arithmetic done by hand."""

import base64
import io

import numpy as np
import pytest
import tensorflow as tf
from pictures import picture
from PIL import ExifTags, Image

from pipeline.data import pixels
from pipeline.data.registry import load
from pipeline.data.spec import SPLITS, ImageShape

GREY_STEPS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encoded(image, suffix, **options):
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def colours(*, height=16, width=16):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_png_pixels_are_those_of_tensorflow():
    content = encoded(colours(), "PNG")
    assert (pixels.from_bytes(content, 16) == tf.io.decode_png(content).numpy()).all()


def test_jpeg_pixels_are_those_of_tensorflow():
    """Both use libjpeg-turbo with the accurate transform; one level allows for another version's rounding."""
    content = encoded(colours(), "JPEG", quality=95)
    reference = tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE").numpy().astype(int)
    assert np.abs(pixels.from_bytes(content, 16) - reference).max() <= 1


def test_a_wide_image_gives_its_central_square_and_is_not_squashed():
    wide = colours(height=16, width=48)
    assert (pixels.resize(wide, 16) == np.asarray(wide)[:, 16:32]).all()


def test_shrinking_averages_over_all_pixels_as_tensorflows_antialiased_resize_does():
    """One level allows for TensorFlow's floats against Pillow's 8-bit fixed point."""
    image = colours(height=96, width=96)
    reference = tf.image.resize(np.asarray(image), (32, 32), method="bilinear", antialias=True).numpy()
    assert np.abs(pixels.resize(image, 32) - reference).max() <= 1.01


def test_a_jpeg_decoded_at_a_fraction_is_the_full_one_to_within_three_levels_on_average():
    smooth = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8))
    content = encoded(smooth.resize((512, 512), Image.Resampling.BICUBIC), "JPEG", quality=95)
    full = pixels.resize(pixels.decode(content).image, 32)
    assert pixels.decode(content, at_least=64).image.size == (64, 64)
    assert np.abs(pixels.from_bytes(content, 32).astype(int) - full).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_photograph_stands_upright(orientation):
    """Red is at the top left once the viewer has turned the image as EXIF 2.32 table 'Orientation' says."""
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = (255, 0, 0)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    decoded = pixels.decode(encoded(stored, "PNG", exif=exif))
    assert (np.asarray(decoded.image) == upright).all()
    assert (decoded.width, decoded.height) == (24, 16)
    assert decoded.converted == (("EXIF-rotated",) if orientation > 1 else ())


def test_transparent_parts_lie_over_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert (pixels.from_bytes(encoded(clear, "PNG"), 8) == 255).all()
    assert (pixels.from_bytes(encoded(half, "PNG"), 8) == 127).all()
    assert pixels.decode(encoded(half, "PNG")).converted == ("alpha",)


def test_sixteen_bit_levels_become_their_share_of_255():
    deep = Image.fromarray(GREY_STEPS.astype(np.uint16) * 257)
    decoded = pixels.decode(encoded(deep, "PNG"))
    assert (np.asarray(decoded.image)[..., 1] == GREY_STEPS).all()
    assert decoded.converted == ("16-bit",)


def test_sixteen_bit_colour_is_counted_although_pillow_gives_eight():
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint16) * 257
    content = tf.io.encode_png(levels.astype(np.uint16)).numpy()
    decoded = pixels.decode(content)
    assert decoded.converted == ("16-bit",)
    assert (np.asarray(decoded.image) == levels // 257).all()


def test_cmyk_becomes_rgb():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    decoded = pixels.decode(encoded(red, "JPEG", quality=100))
    assert decoded.converted == ("CMYK",)
    assert np.abs(np.asarray(decoded.image).astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("1", (8, 8), 1), "1-bit"),
        (Image.new("L", (8, 8), 255), "grey"),
        (Image.new("RGB", (8, 8), "white").quantize(4), "palette"),
    ],
)
def test_other_modes_become_rgb_and_are_counted(image, kind):
    decoded = pixels.decode(encoded(image, "PNG"))
    assert decoded.converted == (kind,)
    assert (np.asarray(decoded.image) == 255).all()


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    decoded = pixels.decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert "animated" in decoded.converted
    assert (np.asarray(decoded.image) == (255, 0, 0)).all()


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused_with_a_reason(suffix, share):
    content = encoded(colours(height=64, width=64), suffix)
    with pytest.raises(pixels.UnreadableImageError, match=r"broken|not an image"):
        pixels.decode(content[: int(len(content) * share)])


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    pixels.quiet_pillow()
    for side in (9_500, 14_000):
        bomb = encoded(Image.new("1", (side, side)), "PNG")
        assert len(bomb) < 100_000
        with pytest.raises(pixels.UnreadableImageError, match="pixels"):
            pixels.decode(bomb)


def test_floating_point_levels_are_refused_since_their_range_is_not_known():
    with pytest.raises(pixels.UnreadableImageError, match="floating-point"):
        pixels.decode(encoded(Image.new("F", (8, 8), 0.5), "TIFF"))


def test_arrays_take_the_same_way_as_files():
    image = colours(height=24, width=32)
    for size in (24, 16, 48):
        expected = pixels.resize(image, size)
        assert (pixels.from_array(np.asarray(image), size) == expected).all()
    grey = pixels.from_array(GREY_STEPS, 16)
    assert (grey == GREY_STEPS[:, :, None]).all()


@pytest.mark.parametrize("sides", [(48, 32), (32, 48), (31, 31)])
def test_the_central_part_has_the_aspect_of_the_model(sides):
    image, (height, width) = colours(height=37, width=53), (12, 8)
    image = image.resize(sides)
    across = min(image.width, image.height * width // height)
    down = min(image.height, image.width * height // width)
    left, top = (image.width - across) // 2, (image.height - down) // 2
    box = (left, top, left + across, top + down)
    expected = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    assert (pixels.resize(image, ImageShape(height, width)) == np.asarray(expected)).all()


def test_grey_is_pillow_s_from_files_and_from_arrays():
    image = colours(height=16, width=16)
    expected = np.asarray(image.convert("L"))[:, :, None]
    shape = ImageShape(16, 16, 1)
    assert (pixels.from_bytes(encoded(image, "PNG"), shape) == expected).all()
    assert (pixels.from_array(np.asarray(image), shape) == expected).all()
    assert (pixels.from_array(expected[:, :, 0], shape) == expected).all()
    assert (pixels.from_bytes(encoded(image.convert("L"), "PNG"), shape) == expected).all()


def test_levels_of_twelve_bits_in_sixteen_fill_the_range(tmp_path):
    """The brightest level of 12 bits, 4095, is white: 255 of 255."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(4):
            levels = np.random.default_rng(index).integers(0, 4096, (16, 16)).astype(np.uint16)
            levels[0, 0], levels[0, 1] = 4095, ord(name)
            Image.fromarray(levels).save(tmp_path / name / f"{index}.png")
    dataset = load(str(tmp_path))
    found = np.concatenate(
        [images for split in SPLITS for images, _ in dataset.batches(split, image_size=16, batch_size=8)]
    )
    assert found.max() == 255
    assert found.mean() == pytest.approx(127, abs=5)
    assert any("12-bit levels in 16 bits" in note for note in dataset.spec.notes)


@pytest.mark.parametrize(
    ("peaks", "depth"), [([255], 8), ([256], 10), ([4095, 30], 12), ([4096], 14), ([65535], 16), ([], 16)]
)
def test_the_depth_is_that_of_the_brightest_level(peaks, depth):
    assert pixels.depth_of(peaks) == depth


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAb5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAADRpbG9jAAAAAERAAAIAAQAAAAAB4gABAAAAAAAAAJMAAgAAAAACdQABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVp"
    "bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZo"
    "dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAA"
    "AwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAA"
    "AAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1h"
    "AAAAAAAAAAEAAQWBAgMFhAAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAAAv21kYXQAAACPKAGvCeDjR5xU//kW7/+Jjsvc"
    "xUlMn//u2a+zXv/eyV2wc7ZpBhCE+HZzn2R/5LoJEfIXUMzX/1btf8TVf7K/7+VtLrx6nbf1099NrQZD9dT3OoGwGOHw9DHw"
    "hfFmxcxWtCrD4VNAnNdhnyyu8C/9TRDDebcbQr3GlJUPmzAii9PpuV0Nk03XUc+ERENXnnAAAAAGRXhpZgAATU0AKgAAAAgA"
    "AQESAAMAAAABAAYAAAAAAAA="
)
"""48x32 by libheif 1.23 and x265: red at the top left, blue at the bottom right, the rest black."""


def test_heic_is_read_by_its_content():
    pytest.importorskip("pi_heif", reason="pi-heif has no wheel for this machine")
    levels = np.asarray(pixels.decode(HEIC).image, int)
    assert levels.shape == (32, 48, 3)
    red, blue, black = levels[3:13, 3:21], levels[19:29, 27:45], levels[3:13, 27:45]
    for part, colour in ((red, (220, 30, 30)), (blue, (30, 30, 220)), (black, (0, 0, 0))):
        assert np.abs(part.mean(axis=(0, 1)) - colour).max() < 6
    with pytest.raises(pixels.UnreadableImageError, match=r"HEIC|broken"):
        pixels.decode(HEIC[:400])


def test_avif_and_animated_webp_are_read():
    smooth = picture(1, width=64, height=48)
    for kind, options, told in (
        ("AVIF", {"quality": 95}, ()),
        ("WEBP", {"save_all": True, "append_images": [picture(2, width=64, height=48)]}, ("animated",)),
    ):
        buffer = io.BytesIO()
        smooth.save(buffer, kind, **options)
        decoded = pixels.decode(buffer.getvalue())
        assert decoded.converted == told
        assert np.abs(np.asarray(decoded.image, int) - np.asarray(smooth, int)).mean() < 6


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"%PDF-1.7 ...", "a PDF"),
        (b"\0\0\0\x18ftypmp42....", "an MP4 or QuickTime video"),
        (b"PK\x03\x04....", "a zip archive"),
        (b"\n<svg xmlns=''>", "an SVG drawing"),
        (b"once upon a time", "not an image"),
    ],
)
def test_what_is_no_image_is_called_by_its_kind(content, told):
    with pytest.raises(pixels.UnreadableImageError, match=told):
        pixels.decode(content)


def test_a_broken_heic_says_so_or_what_to_install():
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)
    with pytest.raises(pixels.UnreadableImageError, match=r"(?i)heic|broken"):
        pixels.decode(content)


@pytest.mark.parametrize("depth", [8, 10, 12, 14])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_in_sixteen_bits_is_scaled_by_its_true_depth(depth, channels):
    """Beside TensorFlow's decoder, which gives all 16 bits of each channel."""
    levels = np.random.default_rng(0).integers(0, 2**depth, (9, 7, channels)).astype(np.uint16)
    levels[..., 3:] = 65535
    levels[0, 0, 0] = 2**depth - 1
    content = tf.io.encode_png(levels).numpy()
    decoded = pixels.decode(content, depth=depth)
    assert pixels.depth_of([decoded.peak]) == depth
    expected = tf.io.decode_png(content, dtype=tf.uint16).numpy()[..., :3] / (2**depth - 1) * 255
    assert np.abs(np.asarray(decoded.image) - expected).max() <= 1

"""What the converter is fed."""

import numpy as np

from export.quantization.calibrate import generator, with_full_range


def test_the_first_image_alone_spans_black_to_white():
    pixels = np.full((3, 8, 8, 3), 100, np.uint8)
    spanned = with_full_range(pixels)
    assert (spanned[0].min(), spanned[0].max()) == (0, 255)
    assert (spanned != pixels).sum() == 6, "one black and one white pixel"
    assert (spanned[1:] == pixels[1:]).all()
    assert (pixels == 100).all(), "the caller's pixels are not touched"


def test_images_come_one_by_one_as_float32():
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    fed = [batch for (batch,) in generator(pixels, lambda raw: raw / np.float32(2))()]
    assert [batch.shape for batch in fed] == [(1, 4, 4, 3)] * 2
    assert fed[1].dtype == np.float32
    np.testing.assert_array_equal(fed[1][0], pixels[1] / 2)

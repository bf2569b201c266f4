"""What augmentation does to pixels, beside the same done by hand."""

import numpy as np
import pytest
import tensorflow as tf

from models.registry import FAMILIES
from pipeline.data import distort
from pipeline.data.augment import NONE, Augment, preset

ROWS = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)


def test_a_shift_is_pad_and_crop():
    drawn = distort.draw(Augment(shift_pixels=3), num=64, seed=0, epoch=0)
    moved = distort.move(ROWS, drawn, fill=7)
    padded = np.pad(ROWS, ((0, 0), (3, 3), (3, 3), (0, 0)), constant_values=7)
    for image, source, (down, right) in zip(moved, padded, drawn["shift"], strict=True):
        assert (image == source[3 - down : 19 - down, 3 - right : 19 - right]).all()


def test_shifts_reach_both_ends_and_all_between():
    shifts = distort.draw(Augment(shift_pixels=2), num=1000, seed=0, epoch=0)["shift"]
    assert set(map(tuple, shifts)) == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


def test_half_of_the_images_are_mirrored_left_to_right():
    drawn = distort.draw(Augment(mirror=True), num=64, seed=0, epoch=0)
    moved = distort.move(ROWS, drawn, fill=0)
    expected = tf.where(drawn["mirror"][:, None, None, None], tf.image.flip_left_right(ROWS), ROWS)
    assert (moved == expected.numpy()).all()
    assert 16 < drawn["mirror"].sum() < 48


def test_moving_leaves_the_images_that_are_kept_in_memory_as_they_are():
    rows = ROWS.copy()
    distort.move(rows, distort.draw(Augment(mirror=True, shift_pixels=2), num=64, seed=0, epoch=0), fill=0)
    assert (rows == ROWS).all()


@pytest.mark.parametrize("min_area", [0.08, 0.5, 0.95])
def test_crops_keep_the_asked_area_and_stay_inside(min_area):
    """Float32 boxes: a millionth is allowed for."""
    boxes = distort.draw(Augment(min_crop_area=min_area), num=2000, seed=0, epoch=0)["crop"]
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-6
    area, aspect = height * width, width / height
    assert area.min() > min_area - 1e-6
    assert area.mean() == pytest.approx((min_area + 1) / 2, abs=0.02)
    assert aspect.min() > 3 / 4 - 1e-5
    assert aspect.max() < 4 / 3 + 1e-5


def test_a_crop_shows_that_part_of_the_image():
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, :, None, None] * 10, (1, 16, 16, 3))
    cropped = distort.crop_and_colour(tf.constant(ramp), {"crop": tf.constant([[0.0, 0.0, 0.5, 1.0]])})
    assert cropped.numpy()[0, :, 0, 0] == pytest.approx(np.linspace(0, 75, 16), abs=1e-3)


def test_colour_factors_of_one_change_nothing_and_no_saturation_is_grey():
    """tf.image's own grey, contrast and saturation are the reference."""
    same = distort.crop_and_colour(tf.constant(ROWS), {"colour": tf.ones((64, 3))})
    assert np.abs(same.numpy() - ROWS).max() < 0.01
    grey = distort.crop_and_colour(tf.constant(ROWS), {"colour": tf.constant([[1.0, 1.0, 0.0]] * 64)})
    reference = tf.image.rgb_to_grayscale(tf.cast(ROWS, tf.float32)).numpy()
    assert np.abs(grey.numpy() - reference).max() < 0.01


def test_switching_one_augmentation_on_leaves_the_others_draws():
    alone = distort.draw(Augment(shift_pixels=4), num=50, seed=5, epoch=2)
    both = distort.draw(Augment(shift_pixels=4, mirror=True, min_crop_area=0.5), num=50, seed=5, epoch=2)
    assert (alone["shift"] == both["shift"]).all()


def test_no_augmentation_draws_nothing():
    assert distort.draw(NONE, num=8, seed=0, epoch=0) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_small_images_are_shifted_by_four_of_32_and_mirrored(family):
    assert preset(FAMILIES[family].min_crop_area, image_size=32) == Augment(shift_pixels=4, mirror=True)


def test_mobilenet_crops_less_than_densenet():
    mobilenet, densenet = (
        preset(FAMILIES[family].min_crop_area, image_size=224) for family in ("mobilenet", "densenet")
    )
    assert mobilenet.min_crop_area > densenet.min_crop_area


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift_pixels": -1},
        {"min_crop_area": 0.0},
        {"min_crop_area": 1.1},
        {"colour_jitter": 1.0},
        {"fill": 256},
    ],
)
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Augment(**wrong)

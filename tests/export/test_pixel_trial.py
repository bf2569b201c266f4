"""Which pixel convention is clearly better: beside scipy's figures, and over nets that are right or wrong."""

import shlex

import numpy as np
import pytest

from export.check.pixel_trial import try_conventions
from export.pixel_conventions import (
    RAW_PIXELS,
    PixelConvention,
    convention_of,
    usual_conventions,
    with_channels_reversed,
)

NUM = 200


def images_of(labels, num_classes, seed=0):
    """Grey noise in which the label is a level of brightness."""
    noise = np.random.default_rng(seed).integers(-8, 9, (len(labels), 4, 4, 3))
    levels = 20 + labels * 215 // max(1, num_classes - 1)
    return np.clip(levels[:, None, None, None] + noise, 0, 255).astype(np.float32)


def tells_by_level(convention, num_classes, order=None):
    """What is right on the levels that the convention gives, and on others says the nearest class."""
    classes = np.arange(num_classes)
    wanted = convention(images_of(classes, num_classes)).mean(axis=(1, 2))

    def predict(fed):
        distances = np.abs(fed.mean(axis=(1, 2))[:, None] - wanted[None]).sum(axis=2)
        found = distances.argmin(axis=1)
        return (found if order is None else order[found]).astype(np.int64)

    return predict


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("trained", usual_conventions(3)[1:], ids=str)
def test_wrong_pixels_are_found_and_the_right_ones_named(trained, num_classes):
    labels = np.arange(NUM) % num_classes
    found = try_conventions(
        tells_by_level(trained, num_classes), images_of(labels, num_classes), labels, RAW_PIXELS
    )
    assert found.better is not None
    assert trained in [each.convention for each in (found.better, *found.alike)]
    assert found.better.top1 >= found.assumed.top1 + 10


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("trained", usual_conventions(3), ids=str)
def test_right_pixels_raise_no_alarm_also_where_the_classes_are_in_another_order(trained, num_classes):
    labels = np.arange(NUM) % num_classes
    images = images_of(labels, num_classes)
    for order in (None, np.roll(np.arange(num_classes), 1)):
        found = try_conventions(tells_by_level(trained, num_classes, order), images, labels, trained)
        assert found.better is None
    assert found.assumed.top1 < 10
    assert found.is_in_another_order


def test_an_output_that_is_always_one_class_is_no_better():
    """The assumed pixels give class 1 for all, another convention class 0, which is 85% of the images."""
    labels = (np.arange(NUM) % 20 > 16).astype(np.int64)

    def predict(fed):
        return np.full(len(fed), int(fed.max() > 100))

    found = try_conventions(predict, np.full((NUM, 4, 4, 3), 200, np.float32), labels, RAW_PIXELS)
    assert found.better is None
    assert found.others[0].top1 == pytest.approx(85)


@pytest.mark.parametrize("num", [4, 10])
def test_few_images_prove_nothing(num):
    labels = np.arange(num) % 2
    predict = tells_by_level(usual_conventions(3)[1], 2)
    assert try_conventions(predict, images_of(labels, 2), labels, RAW_PIXELS).better is None


def test_where_the_assumed_pixels_are_good_nothing_else_is_tried():
    labels = np.arange(NUM) % 2
    calls = []

    def predict(fed):
        calls.append(fed)
        return labels

    found = try_conventions(predict, images_of(labels, 2), labels, RAW_PIXELS)
    assert (len(calls), found.others) == (1, ())


def test_caffe_s_bgr_is_what_its_preprocessing_computes():
    """keras.applications' preprocess_input for VGG and ResNet50."""
    from keras.applications.resnet50 import preprocess_input

    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    (caffe,) = [each for each in usual_conventions(3) if each.channels == "bgr"]
    np.testing.assert_allclose(caffe(images), preprocess_input(images.copy()), atol=1e-4)


def test_imagenet_s_mean_and_deviation_is_what_torch_preprocessing_computes():
    from keras.applications.densenet import preprocess_input

    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    (torch,) = [each for each in usual_conventions(3) if "ImageNet" in each.name]
    np.testing.assert_allclose(torch(images), preprocess_input(images.copy()), atol=1e-5)


@pytest.mark.parametrize("convention", [*usual_conventions(3), *usual_conventions(1)], ids=str)
def test_what_a_sidecar_records_is_the_same_convention(convention):
    assert convention_of(convention.knobs).same_values(convention)


def test_channels_reversed_give_each_colour_the_same_value():
    given = PixelConvention(name="", scale=(1.0, 2.0, 3.0), offset=(0.5,))
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(with_channels_reversed(given)(images), given(images)[..., ::-1])


@pytest.mark.parametrize("convention", usual_conventions(3), ids=str)
def test_the_exact_options_hold_every_digit_and_the_order_of_the_channels(convention):
    words = shlex.split(convention.exact_options)
    given = dict(zip(words[::2], words[1::2], strict=True))
    read = {name: tuple(map(float, given[f"--{name}"].split(","))) for name in ("scale", "offset")}
    assert read == {"scale": convention.scale, "offset": convention.offset}
    assert given.get("--channels", "rgb") == convention.channels


@pytest.mark.parametrize("convention", usual_conventions(3), ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["", "other channel order"])
def test_undone_gives_the_pixels_back(convention, turned):
    convention = with_channels_reversed(convention) if turned else convention
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(convention.undone(convention(pixels)), pixels, atol=1e-3)

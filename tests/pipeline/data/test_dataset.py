"""Batches for training and evaluation, and pixels for calibration."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.data.augment import NONE, Augment
from pipeline.data.registry import load
from pipeline.errors import PipelineError, UsageError

SHIFT = Augment(shift_pixels=4, mirror=True, fill=0)


def epoch_of(dataset, *, augment=SHIFT, seed=1, epoch=0, batch_size=256, image_size=32):
    batches = list(
        dataset.training_batches(
            image_size=image_size, batch_size=batch_size, augment=augment, seed=seed, epoch=epoch
        )
    )
    return (
        np.concatenate([images.numpy() for images, _ in batches]),
        np.concatenate([labels.numpy() for _, labels in batches]),
    )


def test_batches_are_float32_raw_pixels_and_int32_labels(digits):
    images, labels = next(iter(digits.batches("test", image_size=32, batch_size=100)))
    assert (images.dtype.name, images.shape) == ("float32", (100, 32, 32, 3))
    assert (labels.dtype.name, labels.shape) == ("int32", (100,))
    assert 200 < images.numpy().max() <= 255
    assert images.numpy().min() == 0


def test_evaluation_has_one_order_and_a_limit_takes_its_beginning(digits):
    def labels_of(**settings):
        batches = digits.batches("test", image_size=32, **settings)
        return np.concatenate([labels.numpy() for _, labels in batches]).tolist()

    whole = labels_of(batch_size=100)
    assert len(whole) == digits.spec.num_test
    assert labels_of(batch_size=7) == whole
    assert labels_of(batch_size=7, limit=30) == whole[:30]


def test_a_mistyped_split_gets_the_nearest_name(digits):
    with pytest.raises(UsageError, match="Did you mean 'validation'"):
        digits.batches("validatoin", image_size=32, batch_size=8)


def test_equal_seed_and_epoch_give_equal_pixels_whatever_the_batch_size(digits):
    images, labels = epoch_of(digits)
    for batch_size in (256, 50):
        again, labels_again = epoch_of(digits, batch_size=batch_size)
        assert (again == images).all()
        assert (labels_again == labels).all()


@pytest.mark.parametrize("changed", [{"epoch": 1}, {"seed": 2}])
def test_another_epoch_or_seed_gives_another_order_of_the_same_images(digits, changed):
    _, labels = epoch_of(digits)
    _, others = epoch_of(digits, **changed)
    assert (labels != others).any()
    assert sorted(labels) == sorted(others)
    plain, _ = epoch_of(digits, augment=NONE)
    again, _ = epoch_of(digits, augment=NONE, **changed)
    assert (plain != again).any()
    assert {image.tobytes() for image in plain} == {image.tobytes() for image in again}


def test_every_augmentation_is_repeated_exactly(digits):
    everything = Augment(shift_pixels=2, mirror=True, min_crop_area=0.5, colour_jitter=0.3)
    first, _ = epoch_of(digits, augment=everything)
    again, _ = epoch_of(digits, augment=everything)
    assert (first == again).all()
    assert first.min() >= 0
    assert first.max() <= 255


def test_a_training_epoch_holds_every_image_once(digits):
    images, labels = epoch_of(digits, augment=NONE)
    assert len(labels) == digits.spec.num_train
    assert np.bincount(labels).tolist() == [count.train for count in digits.spec.class_counts]
    del images


def test_no_image_of_the_test_split_is_trained_on(digits):
    trained = {image.tobytes() for image in epoch_of(digits, augment=NONE)[0]}
    for split in ("validation", "test"):
        for images, _ in digits.batches(split, image_size=32, batch_size=512):
            assert trained.isdisjoint(image.tobytes() for image in images.numpy())


@pytest.mark.parametrize("num_samples", [10, 25, 200])
def test_calibration_is_class_balanced_training_pixels(digits, num_samples):
    pixels, calibration = digits.calibration_pixels(image_size=32, num_samples=num_samples, seed=3)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (num_samples, 32, 32, 3))
    counts = calibration.samples_per_class.values()
    assert sum(counts) == calibration.num_samples == num_samples
    assert max(counts) - min(counts) <= 1
    assert calibration.sha256 == hashlib.sha256(pixels.tobytes()).hexdigest()
    trained = {image.astype(np.uint8).tobytes() for image in epoch_of(digits, augment=NONE)[0]}
    assert all(image.tobytes() in trained for image in pixels)


def test_calibration_depends_on_its_seed_alone(digits):
    first, again, other = (
        digits.calibration_pixels(image_size=32, num_samples=40, seed=seed)[1].sha256 for seed in (1, 1, 2)
    )
    assert first == again != other


def test_calibration_takes_all_there_are_and_says_how_many(digits):
    pixels, calibration = digits.calibration_pixels(image_size=32, num_samples=10**6, seed=0)
    assert len(pixels) == calibration.num_samples == digits.spec.num_train
    assert calibration.samples_per_class == {c.name: c.train for c in digits.spec.class_counts}


def test_no_calibration_samples_is_a_mistake(digits):
    with pytest.raises(UsageError, match="1 or more"):
        digits.calibration_pixels(image_size=32, num_samples=0, seed=0)


def test_a_program_that_ends_in_the_middle_of_an_epoch_ends():
    """An iterator that lives until exit once kept Python from ending: TensorFlow's threads called back."""
    code = (
        "from pipeline.data.registry import load\n"
        "from pipeline.data.augment import NONE\n"
        "settings = {'image_size': 224, 'batch_size': 64, 'augment': NONE, 'seed': 0, 'epoch': 0}\n"
        "batches = iter(load('digits').training_batches(**settings))\n"
        "next(batches); print('leaving')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert ended.stdout == "leaving\n"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["one\ntwo", "one\rtwo", " "])
def test_class_name_that_no_labels_file_holds_is_refused_before_a_training(tmp_path, name):
    for label in (name, "other"):
        (tmp_path / label).mkdir()
        for number in range(12):
            Image.new("RGB", (16, 16), (number * 20, 90, 7)).save(tmp_path / label / f"{number}.png")
    with pytest.raises(PipelineError, match=r"the class .* Rename it, then train\."):
        load(str(tmp_path)).check_trainable()

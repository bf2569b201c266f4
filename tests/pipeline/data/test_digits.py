"""The data set that is embedded: what it holds, and how its batches come."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.data import augment
from pipeline.data.registry import load


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_every_digit_of_scikit_learn_stands_in_one_split(digits):
    spec = digits.spec
    published = np.bincount(load_digits().target)
    counted = [count.train + count.validation + count.test for count in spec.class_counts]
    assert counted == published.tolist()
    assert spec.num_train + spec.num_validation + spec.num_test == 1797


def test_digits_are_never_mirrored(digits):
    preset = augment.preset("densenet", image_size=32)
    assert preset.mirror
    spec = digits.spec
    fitting = augment.suited(
        preset, mirror_keeps_labels=spec.mirror_keeps_labels, background=spec.background
    )
    assert fitting == augment.Augment(shift_pixels=4, mirror=False, fill=0)


def test_drawing_keeps_the_levels_of_the_8x8_original(digits):
    """Averaged back over 4x4 blocks a drawn digit correlates with its original; 0.95 allows for the filter."""
    drawn = np.concatenate(
        [
            images.numpy()[..., 0]
            for split in ("train", "validation", "test")
            for images, _ in digits.batches(split, image_size=32, batch_size=512)
        ]
    )
    blocks = drawn.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(1797, 64)
    originals = load_digits().images.reshape(1797, 64) * (255 / 16)
    assert abs(blocks.mean() - originals.mean()) < 1.0
    middles = np.corrcoef(np.sort(blocks.sum(axis=1)), np.sort(originals.sum(axis=1)))[0, 1]
    assert middles > 0.95

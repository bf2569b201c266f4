"""The data set that is embedded: what it holds, and how its batches come."""

import numpy as np
from sklearn.datasets import load_digits

from models.registry import FAMILIES
from pipeline.data import augment


def test_every_digit_of_scikit_learn_stands_in_one_split(digits):
    spec = digits.spec
    published = np.bincount(load_digits().target)
    counted = [count.train + count.validation + count.test for count in spec.class_counts]
    assert counted == published.tolist()
    assert spec.num_train + spec.num_validation + spec.num_test == 1797


def test_digits_are_never_mirrored(digits):
    preset = augment.preset(FAMILIES["densenet"].min_crop_area, image_size=32)
    assert preset.mirror
    spec = digits.spec
    fitting = augment.suited(preset, mirror_keeps_labels=spec.mirror_keeps_labels, background=spec.background)
    assert fitting == augment.Augment(shift_pixels=4, mirror=False, fill=0)


def test_each_test_digit_is_a_drawing_of_an_original_with_its_label(digits):
    """Averaged over 4x4 blocks a drawn digit is nearest to its own original, and nearly equal to it.

    0.95 allows for the enlarging filter's blur.
    """
    found = load_digits()
    originals = found.images.reshape(-1, 64)
    originals = originals - originals.mean(axis=1, keepdims=True)
    originals /= np.linalg.norm(originals, axis=1, keepdims=True)
    for images, labels in digits.batches("test", image_size=32, batch_size=512):
        blocks = images.numpy()[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(-1, 64)
        blocks -= blocks.mean(axis=1, keepdims=True)
        blocks /= np.linalg.norm(blocks, axis=1, keepdims=True)
        alike = blocks @ originals.T
        assert alike.max(axis=1).min() > 0.95
        assert (found.target[alike.argmax(axis=1)] == labels.numpy()).all()
        assert len(set(alike.argmax(axis=1))) == digits.spec.num_test

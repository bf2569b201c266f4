"""McNemar's exact test beside scipy's binomial test, and probabilities beside TensorFlow's functions."""

import random

import numpy as np
import pytest

from export.check.paired import fewest_images, mcnemar_p, paired_p
from export.check.predictions import PredictionLog, class_probabilities
from export.head import HALF, Head, HeadKind

special, stats = (pytest.importorskip(f"scipy.{name}") for name in ("special", "stats"))
CLASSES = Head(kind=HeadKind.CLASSES, num_outputs=3)
BINARY = Head(kind=HeadKind.BINARY, num_outputs=1, threshold=HALF)
LABELS = Head(kind=HeadKind.LABELS, num_outputs=3, threshold=HALF)


def pairs(number):
    draw = random.Random(0)
    return [(draw.randrange(0, 80), draw.randrange(1, 80)) for _ in range(number)]


@pytest.mark.parametrize("pair", [(0, 1), (7, 7), (150, 50), (2600, 2400), (9000, 1000), *pairs(30)], ids=str)
def test_paired_test_is_mcnemar_s_exact_one(pair):
    """Also of so many images that a power of 0.5 is no float any more."""
    assert mcnemar_p(*pair) == pytest.approx(stats.binomtest(pair[0], sum(pair)).pvalue, rel=1e-9, abs=1e-300)


def test_images_on_which_both_are_right_or_wrong_say_nothing():
    one = np.array([True] * 11 + [True] * 50 + [False] * 7)
    other = np.array([False] * 11 + [True] * 50 + [False] * 7)
    assert paired_p(one, other) == pytest.approx(stats.binomtest(11, 11).pvalue)
    assert paired_p(one, one) == 1.0


def test_six_images_are_the_fewest_that_tell_two_files_apart():
    assert stats.binomtest(6, 6).pvalue < 0.05 < stats.binomtest(5, 5).pvalue
    assert fewest_images() == 6


def test_scores_become_probabilities_and_probabilities_stay():
    scores = np.random.default_rng(0).normal(0, 4, (20, 3)).astype(np.float32)
    expected = special.softmax(scores.astype(np.float64), axis=1)
    found = class_probabilities(CLASSES, scores, are_probabilities=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for known in (True, False):  # a softmax that another operator follows is not known as one
        again = class_probabilities(CLASSES, found, are_probabilities=known)
        np.testing.assert_array_equal(again, found)


def test_one_sigmoid_is_the_second_class_s_probability():
    outputs = np.array([[0.9], [0.5], [0.1]], np.float32)
    found = class_probabilities(BINARY, outputs, are_probabilities=True)
    np.testing.assert_allclose(found, [[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]], atol=1e-6)
    logits = Head(kind=HeadKind.BINARY, num_outputs=1)
    again = class_probabilities(logits, special.logit(outputs), are_probabilities=False)
    np.testing.assert_allclose(again, found, atol=1e-6)


def test_outputs_that_are_no_number_name_no_class():
    log = PredictionLog()
    outputs = np.array([[0.2, 0.7, 0.1], [np.nan, 0, 0]], np.float32)
    log.add(CLASSES, outputs, outputs, np.array([1, 2]), are_probabilities=True)
    found = log.predictions()
    assert found.keras is not None
    assert found.file.label.tolist() == found.keras.label.tolist() == [1, -1]
    assert found.file.probability[0] == pytest.approx(0.7)
    assert np.isnan(found.file.probability[1])


def test_several_sigmoids_are_kept_label_by_label():
    log = PredictionLog()
    outputs = np.array([[0.9, 0.6, 0.1], [0.2, 0.3, 0.4]], np.float32)
    log.add(LABELS, None, outputs, np.array([[1, 1, 0], [0, 0, 1]]), are_probabilities=True)
    found = log.predictions()
    assert found.keras is None
    assert found.held is not None
    assert found.file.said is not None
    assert found.held.tolist() == [[True, True, False], [False, False, True]]
    assert found.file.said.tolist() == [[True, True, False], [False, False, False]]

"""What a file gets wrong, beside scikit-learn, and a reliability curve worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from report_records import predictions_of_photos
from sklearn.metrics import confusion_matrix as sklearn_matrix
from sklearn.metrics import precision_recall_fscore_support

from export.check.predictions import Predictions, Side
from pipeline.commands.confusion import matrix_lines
from pipeline.report import confusion
from pipeline.store.predictions import KeptPredictions


def kept(truth, label, probability=None, *, num_classes=None, keras=None) -> KeptPredictions:
    truth, label = np.asarray(truth, np.int64), np.asarray(label, np.int64)
    given = np.full(len(truth), 0.5) if probability is None else np.asarray(probability)
    number = num_classes or int(max(truth.max(), label.max())) + 1
    return predictions_of_photos(
        Predictions(
            truth=truth,
            file=Side(label=label, probability=given.astype(np.float32)),
            keras=None if keras is None else Side(label=np.asarray(keras), probability=given),
        ),
        class_names=tuple(f"class {each}" for each in range(number)),
    )


@pytest.mark.parametrize("num_classes", [2, 7, 100])
def test_matrix_precision_and_recall_are_scikit_learn_s(num_classes):
    random = np.random.default_rng(num_classes)
    truth = random.integers(0, num_classes, 900)
    label = np.where(random.random(900) < 0.7, truth, random.integers(0, num_classes, 900))
    found = kept(truth, label, num_classes=num_classes)
    every = range(num_classes)
    np.testing.assert_array_equal(
        confusion.confusion_matrix(found)[:, :-1], sklearn_matrix(truth, label, labels=every)
    )
    precision, recall, _, count = precision_recall_fscore_support(
        truth, label, labels=every, zero_division=np.nan
    )
    figures = confusion.class_figures(found)
    none = [float("nan") if each.precision is None else each.precision for each in figures]
    np.testing.assert_allclose(none, 100 * precision)
    np.testing.assert_allclose([each.recall for each in figures], 100 * recall)
    assert [each.count for each in figures] == count.tolist()


def test_labels_of_their_own_have_scikit_learn_s_precision_and_recall():
    random = np.random.default_rng(1)
    held, said = random.random((60, 4)) < 0.4, random.random((60, 4)) < 0.4
    blank = np.full(60, -1)
    side = Side(label=blank, probability=np.full(60, 0.5, np.float32), said=said)
    found = predictions_of_photos(
        Predictions(truth=blank, file=side, keras=None, held=held), class_names=("a", "b", "c", "d")
    )
    precision, recall, _, count = precision_recall_fscore_support(held, said)
    figures = confusion.class_figures(found)
    np.testing.assert_allclose([each.precision for each in figures], 100 * precision)
    np.testing.assert_allclose([each.recall for each in figures], 100 * recall)
    assert [each.count for each in figures] == count.tolist()


def test_pairs_are_sorted_by_how_often_they_are_confused():
    found = kept([0, 0, 0, 1, 1, 2, 2], [1, 1, 0, 0, 1, 0, 2])
    pairs = [(each.truth, each.label, each.count) for each in confusion.confused_pairs(found)]
    assert pairs == [(0, 1, 2), (1, 0, 1), (2, 0, 1)]


def test_answers_that_are_no_number_have_a_column_of_their_own():
    matrix = confusion.confusion_matrix(kept([0, 1, 1], [0, -1, 1]))
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 1]]


def test_calibration_error_is_the_one_worked_by_hand():
    """(2 * |0.5 - 0.95| + |1 - 0.65| + |0 - 0.55|) / 4 = 0.45."""
    found = kept([0, 0, 0, 0], [0, 1, 0, 1], [0.95, 0.95, 0.65, 0.55])
    bins = confusion.reliability(found)
    assert [(each.low, each.count, each.share_right) for each in bins] == [
        (0.5, 1, 0.0), (0.6, 1, 1.0), (0.9, 2, 0.5),
    ]  # fmt: skip
    assert confusion.calibration_error(bins) == pytest.approx(0.45)


def test_probabilities_at_the_ends_are_in_the_first_and_the_last_bin():
    bins = confusion.reliability(kept([0, 0, 0], [0, 0, 0], [0.0, 1.0, 0.0625]))
    assert [(each.low, each.count) for each in bins] == [(0.0, 2), (0.9, 1)]


def test_surest_mistakes_and_disagreements_come_first():
    found = kept([0, 0, 0, 0], [1, 0, 1, 1], [0.6, 0.99, 0.9, 0.7], keras=[1, 1, 0, 1])
    assert confusion.confident_mistakes(found, 2) == [2, 3]
    assert found.found.keras is not None
    assert confusion.disagreements(found, found.found.keras) == [1, 2]


def test_change_says_how_many_images_and_whether_chance_would_do_it():
    truth = np.zeros(338, int)
    worse = truth.copy()
    worse[5] = 1
    found = kept(truth, worse, num_classes=2, keras=truth)
    assert found.found.keras is not None
    change = confusion.paired_change(found, found.found.keras)
    assert change is not None
    assert change.against("Keras") == (
        "loses 0.30 points against Keras: 1 of 338 images (1 lost, 0 gained; p = 1), not distinguishable"
    )
    worse[:20] = 1
    change = confusion.paired_change(kept(truth, worse, num_classes=2), found.found.keras)
    assert change is not None
    assert "20 of 338 images" in change.against("Keras")
    assert change.against("Keras").endswith("p = below 0.0001), distinguishable")


def test_matrix_is_printed_where_it_fits():
    random = np.random.default_rng(0)
    found = kept(random.integers(0, 12, 500), random.integers(0, 12, 500), num_classes=12)
    lines = matrix_lines(found, width=120)
    assert lines is not None
    assert len({len(line.rstrip()) for line in lines[1:-1]} | {0}) <= 4
    assert max(map(len, lines)) <= 120
    assert matrix_lines(found, width=60) is None

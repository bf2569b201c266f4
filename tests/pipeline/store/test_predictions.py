"""Predictions in the store: what goes in comes out, newer ones replace as many or fewer."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_records import export_artifact, predictions_of_photos, sha256, verification

from export.check.paired import mcnemar_p
from export.check.predictions import Predictions, Side
from pipeline.report.columns import change_text
from pipeline.store.predictions import KeptPredictions, unpacked
from pipeline.store.store import open_store


def kept_of(num_images: int, num_classes: int = 300, seed: int = 0) -> KeptPredictions:
    random = np.random.default_rng(seed)

    def side() -> Side:
        label = random.integers(-1, num_classes, num_images)
        return Side(label=label, probability=random.random(num_images).astype(np.float32))

    found = Predictions(truth=random.integers(0, num_classes, num_images), file=side(), keras=side())
    names = tuple(f"class {number} é" for number in range(num_classes))
    return predictions_of_photos(found, class_names=names)


def read(folder: Path, kept: KeptPredictions) -> KeptPredictions | None:
    with open_store(folder) as store:
        return store.predictions(
            kept.artifact_sha256, dataset_fingerprint=kept.dataset_fingerprint, split=kept.split
        )


def assert_equal(one: KeptPredictions | None, other: KeptPredictions) -> None:
    assert one is not None
    assert one.found.keras is not None
    assert other.found.keras is not None
    assert (one.images, one.class_names, one.where) == (other.images, other.class_names, other.where)
    np.testing.assert_array_equal(one.found.truth, other.found.truth)
    for ours, theirs in ((one.found.file, other.found.file), (one.found.keras, other.found.keras)):
        np.testing.assert_array_equal(ours.label, theirs.label)
        np.testing.assert_array_equal(ours.probability, theirs.probability)


def test_what_goes_in_comes_out(tmp_path):
    kept = kept_of(101)
    with open_store(tmp_path) as store:
        store.add_verification(verification(), kept)
        assert store.predicted() == {kept.artifact_sha256}
    assert_equal(read(tmp_path, kept), kept)


def test_newer_ones_replace_as_many_and_fewer_not_more(tmp_path):
    whole, again, part = kept_of(101), kept_of(101, seed=1), kept_of(20, seed=2)
    with open_store(tmp_path) as store:
        for number, each in enumerate((part, whole, again, part)):
            found = verification(
                num_samples=each.num_images, verified_utc=f"2026-11-23T10:0{number}:00+00:00"
            )
            store.add_verification(found, each)
    assert_equal(read(tmp_path, whole), again)
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        sizes = connection.execute("SELECT num_samples FROM predictions ORDER BY 1").fetchall()
    assert sizes == [(20,), (101,)]


def test_files_of_one_split_share_the_names_of_its_images(tmp_path):
    kept = kept_of(101)
    with open_store(tmp_path) as store:
        for number in range(3):
            sha = sha256(f"file {number}")
            store.add_verification(verification(sha), replace(kept, artifact_sha256=sha))
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM image_names").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (3,)


def test_a_file_verified_by_an_older_version_has_none(tmp_path):
    with open_store(tmp_path) as store:
        store.add_verification(verification())
        assert store.predicted() == set()
    assert read(tmp_path, kept_of(3)) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_broken_arrays_are_refused(content):
    with pytest.raises(ValueError, match="no predictions"):
        unpacked(content)


def test_pictures_of_an_array_s_images_come_out_as_they_went_in(tmp_path):
    random = np.random.default_rng(0)
    pictures = {place: random.integers(0, 256, (8, 8, 1)).astype(np.uint8) for place in (3, 0, 77)}
    kept = replace(kept_of(101), pictures=pictures)
    with open_store(tmp_path) as store:
        store.add_verification(verification(), kept)
    found = read(tmp_path, kept)
    assert found is not None
    assert list(found.pictures) == [3, 0, 77]
    for place, picture in pictures.items():
        np.testing.assert_array_equal(found.pictures[place], picture)


@pytest.mark.parametrize(
    ("only_keras", "only_file", "text"),
    [(2, 1, "-0.50 (noise)"), (12, 1, "-0.50"), (None, None, "-0.50")],
)
def test_row_says_whether_chance_alone_would_often_change_as_much(tmp_path, only_keras, only_file, text):
    found = verification(num_only_keras_right=only_keras, num_only_tflite_right=only_file)
    with open_store(tmp_path) as store:
        store.add_artifact(export_artifact(), tmp_path)
        store.add_verification(found)
        (row,) = store.rows()
    expected = None if only_keras is None else mcnemar_p(only_keras, only_file)
    assert row.accuracy.drop_p == expected
    assert change_text(row) == text

"""Which split an image belongs to."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.splits import THREE_WAY, Example, assign, fingerprint, split_of

CONTENTS = st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=60, unique=True)


def example(content, *, label=0, path=None, fixed=None):
    return Example(
        path=path or content.hex(), digest=hashlib.sha256(content).digest(), label=label, fixed=fixed
    )


def splits_by_path(examples):
    assigned = assign(examples, ("cat", "dog"), THREE_WAY)
    return {item.path: split for item, split in zip(examples, assigned.splits, strict=True)}


@given(CONTENTS, st.randoms(use_true_random=False))
def test_a_file_never_changes_split_when_others_come_or_go(contents, shuffler):
    before = splits_by_path([example(content) for content in contents])
    rest = [content for content in contents if shuffler.random() < 0.5]
    shuffler.shuffle(rest)
    after = splits_by_path([example(content) for content in [b"new", b"newer", *rest]])
    assert all(after[content.hex()] == before[content.hex()] for content in rest)


@given(CONTENTS, st.integers(1, 5))
def test_duplicates_never_straddle_two_splits(contents, copies):
    examples = [
        example(content, path=f"{content.hex()}-{copy}") for copy in range(copies) for content in contents
    ]
    places = splits_by_path(examples)
    for content in contents:
        assert len({places[f"{content.hex()}-{copy}"] for copy in range(copies)}) == 1


def test_shares_are_kept_over_many_images():
    """10,000 images: the standard deviation of a tenth is 30, five of them are allowed."""
    found = [split_of(hashlib.sha256(str(number).encode()).digest(), THREE_WAY) for number in range(10_000)]
    assert found.count("train") == pytest.approx(8000, abs=200)
    assert found.count("validation") == pytest.approx(1000, abs=150)
    assert found.count("test") == pytest.approx(1000, abs=150)


def test_the_same_image_under_two_classes_is_left_out_of_both():
    assigned = assign(
        [example(b"x", path="cat/1"), example(b"x", path="dog/1", label=1), example(b"y", path="cat/2")],
        ("cat", "dog"),
        THREE_WAY,
    )
    assert assigned.splits[:2] == (None, None)
    assert assigned.splits[2] is not None
    assert [item.path for item in assigned.left_out] == ["cat/1", "dog/1"]
    assert "in the classes 'cat' and 'dog'" in assigned.left_out[0].reason


def test_a_training_image_that_is_in_the_test_split_too_is_left_out_of_training():
    assigned = assign(
        [example(b"x", path="train/1", fixed="train"), example(b"x", path="test/1", fixed="test")],
        ("cat", "dog"),
        THREE_WAY,
    )
    assert assigned.splits == (None, "test")
    assert "test/1" in assigned.left_out[0].reason


def test_the_fingerprint_depends_on_content_class_and_split_but_not_on_order():
    rows = [("train", "cat", b"1"), ("test", "cat", b"2"), ("train", "dog", b"3")]
    same = rows.copy()
    random.Random(0).shuffle(same)
    assert fingerprint(rows) == fingerprint(same)
    for changed in (("train", "cat", b"9"), ("test", "cat", b"1"), ("train", "cow", b"1")):
        assert fingerprint([changed, *rows[1:]]) != fingerprint(rows)
    assert fingerprint(rows[1:]) != fingerprint(rows)

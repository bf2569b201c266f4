"""Which split an image belongs to."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.spec import SPLITS
from pipeline.data.splits import NONE, THREE_WAY, Examples, assign, by_content, fingerprint

CONTENTS = st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=60, unique=True)


def example(content, *, label=0, path=None, fixed=None):
    return path or content.hex(), hashlib.sha256(content).digest(), label, fixed


def assigned_to(examples):
    """What assign() says of examples, and the name of each one's split."""
    paths, digests, labels, fixed = zip(*examples, strict=True)
    assigned = assign(
        Examples(
            digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
            labels=np.asarray(labels),
            fixed=np.asarray([NONE if each is None else SPLITS.index(each) for each in fixed], np.int8),
            path=paths.__getitem__,
        ),
        ("cat", "dog"),
        THREE_WAY,
    )
    return assigned, [None if code == NONE else SPLITS[code] for code in assigned.splits]


def splits_by_path(examples):
    _, found = assigned_to(examples)
    return {path: split for (path, *_), split in zip(examples, found, strict=True)}


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
    digests = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(10_000))
    codes = by_content(np.frombuffer(digests, np.uint8).reshape(-1, 32), THREE_WAY)
    found = [SPLITS[code] for code in codes]
    assert found.count("train") == pytest.approx(8000, abs=200)
    assert found.count("validation") == pytest.approx(1000, abs=150)
    assert found.count("test") == pytest.approx(1000, abs=150)


def test_the_same_image_under_two_classes_is_left_out_of_both():
    assigned, splits = assigned_to(
        [example(b"x", path="cat/1"), example(b"x", path="dog/1", label=1), example(b"y", path="cat/2")]
    )
    assert splits[:2] == [None, None]
    assert splits[2] is not None
    assert [item.path for item in assigned.left_out] == ["cat/1", "dog/1"]
    assert "in the classes 'cat' and 'dog'" in assigned.left_out[0].reason


def test_a_training_image_that_is_in_the_test_split_too_is_left_out_of_training():
    assigned, splits = assigned_to(
        [example(b"x", path="train/1", fixed="train"), example(b"x", path="test/1", fixed="test")]
    )
    assert splits == [None, "test"]
    assert "test/1" in assigned.left_out[0].reason


def digests_of(content):
    return np.frombuffer(content, np.uint8).reshape(-1, 1)


def test_the_fingerprint_depends_on_content_class_and_split_but_not_on_order():
    """Compared with SHA-256 over the sorted rows."""
    rows = [("test", "cat", b"2"), ("train", "cat", b"1"), ("train", "cat", b"4"), ("train", "dog", b"3")]
    parts = {
        ("train", "dog"): digests_of(b"3"),
        ("train", "cat"): digests_of(b"41"),
        ("test", "cat"): digests_of(b"2"),
    }
    text = b"".join(f"{split}\0{name}\0".encode() + digest for split, name, digest in rows)
    assert fingerprint(parts) == hashlib.sha256(text).hexdigest()
    for changed in ({("train", "dog"): digests_of(b"9")}, {("test", "dog"): digests_of(b"3")}):
        assert fingerprint({**parts, **changed}) != fingerprint(parts)
    del parts["train", "dog"]
    assert fingerprint(parts) != hashlib.sha256(text).hexdigest()


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20))
def test_the_share_in_which_a_digest_falls_is_that_of_its_first_eight_bytes(digests):
    def split_of(digest):
        place = int.from_bytes(digest[:8], "big") / 2**64
        return next((split for split in SPLITS if (place := place - THREE_WAY[split]) < 0), SPLITS[-1])

    codes = by_content(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), THREE_WAY)
    assert [SPLITS[code] for code in codes] == [split_of(digest) for digest in digests]

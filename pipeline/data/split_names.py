"""Which split a name means: of a folder, or in a table's column."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from pipeline.data.tree import GENERIC

SPLIT_WORDS = {
    "train": ("train", "training", "trainset", "trn"),
    "validation": ("validation", "val", "valid", "valset", "dev", "development"),
    "test": ("test", "testing", "testset", "tst"),
}
"""The words by which a folder's name says which split it holds: train, Training_set, seg_test, valid."""
MAX_WORDS = 3
"""A name of more words, such as "train of the old line", is no split's."""


def split_of_name(name: str) -> str | None:
    """The split that a folder's name means, or None."""
    words = [word for word in re.split(r"[^a-z]+", re.sub(r"set\b", "", name.lower())) if word]
    roles = {split for split, known in SPLIT_WORDS.items() for word in words if word in known}
    return roles.pop() if len(roles) == 1 and len(words) <= MAX_WORDS else None


def only_a_split(name: str) -> bool:
    """Whether nothing in a split's name could be a class's, as in "test tube"."""
    known = {*itertools.chain(*SPLIT_WORDS.values()), *GENERIC, "seg", "set", "split", "folder"}
    return {*re.split(r"[^a-z]+", name.lower())} - {""} <= known


def parted_by_split(names: Iterable[str]) -> bool:
    """Whether names say a split beside something else, as in cats_train and cats_test."""
    words = [set(re.split(r"[^a-z]+", name.lower())) for name in names]
    found = [{split for split, known in SPLIT_WORDS.items() if each & {*known}} for each in words]
    return len(set().union(*found)) > 1 and 2 * sum(map(bool, found)) >= len(found)

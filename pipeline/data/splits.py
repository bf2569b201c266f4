"""Assigns images to splits, and computes the data set's fingerprint."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.spec import SPLITS, LeftOut

if TYPE_CHECKING:
    import numpy.typing as npt

VALIDATION_OF_TRAIN = {"train": 0.9, "validation": 0.1}
"""Shares that the training part of a published data set is divided into."""
THREE_WAY = {"train": 0.8, "validation": 0.1, "test": 0.1}


def shares_of(given: Collection[str]) -> dict[str, float]:
    """The shares that training images are divided into, by the splits that a data set gives itself."""
    if not given:
        return THREE_WAY
    missing = [split for split in ("validation", "test") if split not in given]
    return {"train": 1.0 - 0.1 * len(missing), **dict.fromkeys(missing, 0.1)}


def by_content(digests: npt.NDArray[np.uint8], shares: Mapping[str, float]) -> npt.NDArray[np.int8]:
    """The place in SPLITS of each image, by its SHA-256 taken as a number in 0..1 that the shares divide.

    It depends on the image alone: an image keeps its split when others come or go, and equal images are in
    the same split.
    """
    place = np.ascontiguousarray(digests[:, :8]).view(">u8").ravel().astype(np.float64) / 2**64
    found = np.full(len(digests), SPLITS.index(list(shares)[-1]), np.int8)
    is_open = np.ones(len(digests), np.bool_)
    for split, share in shares.items():
        here = is_open & (place < share)
        found[here] = SPLITS.index(split)
        is_open &= ~here
        place -= share
    return found


def fingerprint(parts: Mapping[tuple[str, str], npt.NDArray[np.uint8]]) -> str:
    """SHA-256 as 64 hexadecimal digits over the images' SHA-256, (n, 32), of each (split, class name)."""
    total = hashlib.sha256()
    for (split, class_name), digests in sorted(parts.items(), key=lambda part: part[0]):
        begin = np.frombuffer(f"{split}\0{class_name}\0".encode("utf-8", "backslashreplace"), np.uint8)
        rows = np.empty((len(digests), len(begin) + digests.shape[1]), np.uint8)
        rows[:, : len(begin)] = begin
        rows[:, len(begin) :] = digests[in_order(digests)]
        total.update(rows.data)
    return total.hexdigest()


def in_order(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """The places of (n, bytes) in the order of their bytes; of equal ones in that of their places."""
    whole = np.ascontiguousarray(digests).view(f"S{digests.shape[1]}").ravel()
    return np.argsort(whole, kind="stable")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Images before they are assigned to splits, one a row of each array."""

    digests: npt.NDArray[np.uint8]
    """(n, 32), the SHA-256 of each."""
    labels: npt.NDArray[np.int64]
    fixed: npt.NDArray[np.int8]
    """The place in SPLITS of its publisher's split, or NONE."""
    path: Callable[[int], str]
    """The path of an example, for messages."""
    groups: Sequence[str | None] | None = None
    """Images of one group are in one split; None: alone."""
    looks: npt.NDArray[np.uint64] | None = None
    """64 bits that nearly equal images share (`looks.py`)."""
    has_look: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.labels)


NONE = -1
"""In the place of a split: none."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Each example's place in SPLITS, NONE if it is left out; the reasons; and the number of extra copies."""

    splits: npt.NDArray[np.int8]
    left_out: tuple[LeftOut, ...]
    num_copies: int


def assign(examples: Examples, class_names: Sequence[str], shares: Mapping[str, float]) -> Assignment:
    """Puts each example in its fixed split, or in one by its content.

    An image in two classes is left out of both. Of an image in two fixed splits only the copy in test stays,
    or else in validation, since training on it would make the accuracy too high.
    """
    splits = np.where(examples.fixed == NONE, by_content(examples.digests, shares), examples.fixed)
    if examples.groups is not None:
        of_group = _splits_of_groups(examples, shares)
        for place in np.flatnonzero(examples.fixed == NONE).tolist():
            if (group := examples.groups[place]) is not None:
                splits[place] = SPLITS.index(of_group[group])
    left_out: list[LeftOut] = []
    num_copies = 0
    for group in _copies(examples.digests):
        dropped, reason = _conflict(group, examples, splits, class_names)
        left_out += [LeftOut(path=examples.path(place), reason=reason) for place in dropped]
        splits[dropped] = NONE
        num_copies += max(len(group) - len(dropped) - 1, 0)
    return Assignment(splits=splits, left_out=tuple(left_out), num_copies=num_copies)


def _copies(digests: npt.NDArray[np.uint8]) -> list[list[int]]:
    """The places of each group of equal digests, in the order of their first."""
    order = in_order(digests)
    same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    places = np.unique(np.concatenate([order[1:][same], order[:-1][same]]))
    groups: dict[bytes, list[int]] = defaultdict(list)
    for place in places.tolist():
        groups[digests[place].tobytes()].append(place)
    return list(groups.values())


def _splits_of_groups(examples: Examples, shares: Mapping[str, float]) -> dict[str, str]:
    """The split of each group without a fixed one, so that the images are divided by the shares.

    The groups are taken in the order of their hashes; each goes where its middle image would.
    """
    free = (examples.fixed == NONE).tolist()
    sizes = Counter(
        group
        for group, is_free in zip(examples.groups or (), free, strict=True)
        if group is not None and is_free
    )
    found: dict[str, str] = {}
    whole, before = sizes.total(), 0
    for group in sorted(sizes, key=lambda name: hashlib.sha256(str(name).encode()).digest()):
        place = (before + sizes[group] / 2) / whole
        before += sizes[group]
        for split, share in shares.items():
            found[group] = split
            if place < share:
                break
            place -= share
    return found


def _conflict(
    group: list[int], examples: Examples, splits: npt.NDArray[np.int8], class_names: Sequence[str]
) -> tuple[list[int], str]:
    """Those of a group of equal images to leave out, and why."""
    labels = np.unique(examples.labels[group]).tolist()
    if len(labels) > 1:
        names = " and ".join(f"'{class_names[label]}'" for label in labels)
        return group, f"the same image is in the classes {names}"
    kept = splits[group].max()
    stays = group[int(splits[group].argmax())]
    dropped = [place for place in group if splits[place] != kept]
    return dropped, f"the same image is in the {SPLITS[kept]} split: {examples.path(stays)}"

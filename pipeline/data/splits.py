"""Assigns images to splits, and computes the data set's fingerprint."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.spec import SPLITS, LeftOut

VALIDATION_OF_TRAIN = {"train": 0.9, "validation": 0.1}
"""Shares that the training part of a published data set is divided into."""
THREE_WAY = {"train": 0.8, "validation": 0.1, "test": 0.1}


def shares_of(given: Collection[str]) -> dict[str, float]:
    """The shares that training images are divided into, by the splits that a data set gives itself."""
    if not given:
        return THREE_WAY
    missing = [split for split in ("validation", "test") if split not in given]
    return {"train": 1.0 - 0.1 * len(missing), **dict.fromkeys(missing, 0.1)}


def split_of(digest: bytes, shares: Mapping[str, float]) -> str:
    """The split of an image with this SHA-256, taken as a number in 0..1 that the shares divide.

    It depends on the image alone: an image keeps its split when others come or go, and equal images are in
    the same split.
    """
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return list(shares)[-1]


def fingerprint(rows: Iterable[tuple[str, str, bytes]]) -> str:
    """SHA-256 as 64 hexadecimal digits over (split, class name, image's SHA-256), in any order."""
    total = hashlib.sha256()
    for split, class_name, digest in sorted(rows):
        total.update(f"{split}\0{class_name}\0".encode("utf-8", "backslashreplace"))
        total.update(digest)
    return total.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Example:
    """An image before it is assigned to a split. `fixed` is its publisher's split, or None."""

    path: str
    digest: bytes
    label: int
    fixed: str | None = None
    group: str | None = None
    """Images of one group are in one split; None: alone."""
    look: int | None = None
    """64 bits that nearly equal images share (`looks.py`); None if unknown."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Each example's split, or None if it is left out; the reasons; and the number of extra copies."""

    splits: tuple[str | None, ...]
    left_out: tuple[LeftOut, ...]
    num_copies: int


def assign(
    examples: Sequence[Example], class_names: Sequence[str], shares: Mapping[str, float]
) -> Assignment:
    """Puts each example in its fixed split, or in one by its content.

    An image in two classes is left out of both. Of an image in two fixed splits only the copy in test stays,
    or else in validation, since training on it would make the accuracy too high.
    """
    of_group = _splits_of_groups(examples, shares)
    splits: list[str | None] = [
        example.fixed or of_group.get(example.group) or split_of(example.digest, shares)
        for example in examples
    ]
    copies: dict[bytes, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        copies[example.digest].append(index)
    left_out: list[LeftOut] = []
    num_copies = 0
    for group in copies.values():
        if len(group) == 1:
            continue
        dropped, reason = _conflict(
            [examples[i] for i in group], [str(splits[i]) for i in group], class_names
        )
        for place in dropped:
            left_out.append(LeftOut(path=examples[group[place]].path, reason=reason))
            splits[group[place]] = None
        num_copies += max(len(group) - len(dropped) - 1, 0)
    return Assignment(splits=tuple(splits), left_out=tuple(left_out), num_copies=num_copies)


def _splits_of_groups(examples: Sequence[Example], shares: Mapping[str, float]) -> dict[str | None, str]:
    """The split of each group without a fixed one, so that the images are divided by the shares.

    The groups are taken in the order of their hashes; each goes where its middle image would.
    """
    sizes = Counter(each.group for each in examples if each.group is not None and each.fixed is None)
    found: dict[str | None, str] = {}
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


def _conflict(group: list[Example], splits: list[str], class_names: Sequence[str]) -> tuple[list[int], str]:
    """The positions in a group of equal images to leave out, and why."""
    labels = sorted({example.label for example in group})
    if len(labels) > 1:
        names = " and ".join(f"'{class_names[label]}'" for label in labels)
        return list(range(len(group))), f"the same image is in the classes {names}"
    kept = max(splits, key=SPLITS.index)
    dropped = [place for place, split in enumerate(splits) if split != kept]
    return dropped, f"the same image is in the {kept} split: {group[splits.index(kept)].path}"

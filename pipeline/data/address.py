"""How the user wants images read and divided, and the address that holds the choice. Standard library only.

An address is what --data takes and a run records: a name or a path, and after a question mark the choice:
`photos?split=70/15/15&group-by=video(\\d+)`. So every later command sees the same images and splits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from pipeline.errors import UsageError, unknown_name
from pipeline.home import expanded

SPLITS = ("train", "validation", "test")
EXAMPLE = "70/15/15"
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")
"""What tables of files and labels end in."""
ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""What archives of folders end in."""
LEAF, TOP = "leaf", "top"
"""Which of nested folders are the classes: those that hold the images, or the outer ones."""


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """How images are read and divided. Raises UsageError for a choice that cannot be."""

    split: str | None = None
    """Percent of the images in train, validation and test, such as 70/15/15."""
    test: str | None = None
    """Another folder of class/image files, which becomes the test split."""
    group_by: str | None = None
    """A regular expression on an image's path below the folder. What it finds names the image's group, which
    stays in one split."""
    classes: str | None = None
    """LEAF or TOP: which of nested folders are the classes; None: those that can be told."""
    file: str | None = None
    """A table's column with the files; None: the one that is called so."""
    label: str | None = None
    """A table's column with the labels."""
    separator: str | None = None
    """What stands between several labels in a cell: a text, or space, comma, semicolon, none."""
    images: str | None = None
    """The folder, seen from the table's, that its files are in."""

    def __post_init__(self) -> None:
        self.shares  # noqa: B018 - checks it
        if self.classes not in (None, LEAF, TOP):
            raise unknown_name("value of classes=", self.classes, (LEAF, TOP))
        try:
            re.compile(self.group_by or "")
        except re.error as error:
            raise UsageError(
                f"--group-by '{self.group_by}' is no regular expression: {error}. Expected one that finds "
                r"what the images of a group have in common, such as 'video(\d+)'."
            ) from error

    @property
    def shares(self) -> dict[str, float] | None:
        """The share of each split, of 1; None if not chosen."""
        if self.split is None:
            return None
        try:
            numbers = [float(each) for each in re.split(r"[/,:]", self.split)]
        except ValueError:
            numbers = []
        wanted = 2 if self.test else len(SPLITS)
        whole = sum(numbers)
        adds_up = any(abs(whole - expected) < 0.01 for expected in (1, 100))
        if len(numbers) != wanted or min(numbers) <= 0 or not adds_up:
            raise UsageError(
                f"--split {self.split}: {wanted} numbers above 0 that add up to 100 were expected, for "
                f"{', '.join(SPLITS[:wanted])}, such as {'80/20' if self.test else EXAMPLE}."
            )
        return {split: number / whole for split, number in zip(SPLITS, numbers, strict=False)}

    def group_of(self, path: str) -> str | None:
        """What the expression finds in the path: its groups, or else the whole; None if it finds nothing."""
        if self.group_by is None:
            return None
        match = re.search(self.group_by, path)
        return None if match is None else "\0".join(filter(None, match.groups())) or match[0]


NAMES = {
    "split": "split",
    "test": "test",
    "group-by": "group_by",
    "classes": "classes",
    **{name: name for name in ("file", "label", "separator", "images")},
}
"""A part of an address -> the field of the choice."""


def read_address(address: str) -> tuple[str, DataChoice]:
    """The name or path, and the choice behind it. A path with a question mark that exists is a path."""
    where, mark, rest = address.rpartition("?")
    if not mark or expanded(address).exists():
        return address, DataChoice()
    values = dict(parse_qsl(rest.replace("+", "%2B"), keep_blank_values=True))
    for name in values:
        if name not in NAMES:
            raise unknown_name("part of --data behind the question mark", name, NAMES)
    return where, DataChoice(**{NAMES[name]: value for name, value in values.items()})


def address_of(where: str, choice: DataChoice) -> str:
    """The address of a folder and a choice; the folder alone for no choice."""
    chosen = {name: getattr(choice, field) for name, field in NAMES.items()}
    parts = [f"{name}={quote(value, safe='/()')}" for name, value in chosen.items() if value is not None]
    return f"{where}?{'&'.join(parts)}" if parts else where

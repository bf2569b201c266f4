"""The images of a source and their labels, before any file is opened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.spec import LeftOut


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file before it is opened. `fixed` is the split that its source gives it, or None."""

    path: Path
    labels: tuple[str, ...]
    """The names of its classes: one, or any number in a listing of several labels."""
    fixed: str | None

    @property
    def class_name(self) -> str:
        """The one class of a file that has one."""
        return self.labels[0]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files of the same classes and split."""

    paths: list[str]
    labels: tuple[str, ...]
    fixed: str | None


class Files:
    """Files in groups, so that one of a million takes no more memory than its path's text."""

    def __init__(self) -> None:
        self.groups: list[Group] = []

    def add(self, paths: Iterable[str], labels: tuple[str, ...], fixed: str | None) -> None:
        """Appends files of these classes and this split."""
        last = self.groups[-1] if self.groups else None
        if last and (last.labels, last.fixed) == (labels, fixed):
            last.paths.extend(paths)
        else:
            self.groups.append(Group(paths=list(paths), labels=labels, fixed=fixed))

    def __len__(self) -> int:
        return sum(len(group.paths) for group in self.groups)

    def __iter__(self) -> Iterator[Found]:
        for group in self.groups:
            for path in group.paths:
                yield Found(path=Path(path), labels=group.labels, fixed=group.fixed)


@dataclass(kw_only=True)
class Listing:
    """The files of a source, by class and split."""

    files: Files = field(default_factory=Files)
    left_out: list[LeftOut] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    class_order: tuple[str, ...] | None = None
    """All classes in the order of their labels; None: those with images, by name."""
    has_several_labels: bool = False
    """Whether an image can have several of them, or none."""
    splits: set[str] = field(default_factory=set)
    """The splits that the source gives."""
    decomposed: set[str] = field(default_factory=set)
    """Classes of which a folder's name is in decomposed Unicode."""
    notes: list[str] = field(default_factory=list)
    """How the source was read, where it is not plain CLASS/image."""


def spelled_alike(classes: Iterable[str]) -> list[list[str]]:
    """The groups of class names that differ only in case, blanks, hyphens or underscores."""
    groups: dict[str, list[str]] = {}
    for name in sorted(classes):
        groups.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(name)
    return [names for names in groups.values() if len(names) > 1]

"""The images of a source and their labels, before any file is opened."""

from __future__ import annotations

import re
from collections.abc import Iterable
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


@dataclass(kw_only=True)
class Listing:
    """The files of a source, by class and split."""

    files: list[Found] = field(default_factory=list)
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

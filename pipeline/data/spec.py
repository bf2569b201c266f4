"""What is known about a data set, and how it is read. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

SPLITS = ("train", "validation", "test")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How pixels are read and kept."""

    cache_fraction: float = 0.25
    """A data set whose resized pixels fit in this share of the available memory is kept there."""
    num_threads: int | None = None
    """Threads that decode and resize; None is one a processor."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file or a folder that is no part of the data set, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How many images of a class stand in each split."""

    name: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What is known about a data set without reading its pixels again."""

    name: str
    source: str
    """Where the pixels came from: a path, or what it is embedded in."""
    class_names: tuple[str, ...]
    """In the order of the labels."""
    image_size: int | None
    """The side in pixels; None where images are not square or of several sizes."""
    num_train: int
    num_validation: int
    num_test: int
    class_counts: tuple[ClassCount, ...]
    licence: str
    fingerprint: str
    """SHA-256 over every image's content, class and split: changes if and only if the data do."""
    mirror_keeps_labels: bool = True
    """Whether an image mirrored left to right is still of its class; a mirrored digit is not."""
    background: int = 128
    """The grey level that an image is continued with beyond its border."""
    left_out: tuple[LeftOut, ...] = ()
    converted: dict[str, int] = field(default_factory=dict)
    """How many images were not plain 8-bit RGB, such as {'CMYK': 2, 'EXIF-rotated': 1}."""
    notes: tuple[str, ...] = ()
    """What a user should know before training, such as copies of one image."""

"""The description of a data set, and the settings for reading it. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pipeline.data.address import SPLITS as SPLITS
from pipeline.data.address import DataChoice

if TYPE_CHECKING:
    import keras

Progress = Callable[[str, int, int], None]
"""Called with the current work in words, the number done, and the total."""


class ImageShape(NamedTuple):
    """The shape of an image as a model takes it."""

    height: int
    width: int
    channels: int = 3
    """3 is RGB, 1 is grey."""


def shape_of(size: ImageShape | int) -> ImageShape:
    """The shape; a number is the side of a square RGB image."""
    return ImageShape(size, size) if isinstance(size, int) else size


def image_shape_of(model: keras.Model) -> ImageShape:
    """The shape of the images that the model takes."""
    return ImageShape(*map(int, model.input_shape[1:]))


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How pixels are read and kept."""

    cache_fraction: float = 0.25
    """A data set is kept in memory if its resized pixels fit in this share of the available memory."""
    num_threads: int | None = None
    """Threads that decode and resize; None is one per processor."""
    choice: DataChoice = field(default_factory=DataChoice)
    """How the images are read and divided."""
    only_pixels: bool = False
    """Whether a folder without classes will do, as for calibration."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file or folder that is not part of the data set, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """The number of images of a class in each split."""

    name: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The description of a data set."""

    name: str
    source: str
    """Where the pixels come from: a path, or the package that embeds them."""
    class_names: tuple[str, ...]
    """In the order of the labels."""
    has_several_labels: bool = False
    """Whether an image can have several of them, or none."""
    image_size: int | None
    """The side in pixels; None if images are not square or have several sizes."""
    smaller_side: int | None = None
    """Median of the images' smaller sides, in pixels; None if unknown."""
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
    """The grey level beyond an image's border."""
    left_out: tuple[LeftOut, ...] = ()
    converted: dict[str, int] = field(default_factory=dict)
    """The number of images that were not plain 8-bit RGB, by kind, such as {'CMYK': 2, 'EXIF-rotated': 1}."""
    hint_to_classes: str = ""
    """What to do about a single class, if the source tells."""
    notes: tuple[str, ...] = ()
    """Remarks for the user before training, such as on copies of one image."""

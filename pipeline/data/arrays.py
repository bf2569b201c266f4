"""Data sets that are arrays of pixels in memory, and reading them from a .npz file."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.limits import CLASSES
from export.npz import opened_npz
from export.reading import ARCHIVE_ERRORS, size_in_words
from pipeline.data import pixels, splits
from pipeline.data.assembly import Described, assemble
from pipeline.data.dataset import Dataset
from pipeline.data.memory import available_bytes
from pipeline.data.spec import SPLITS, ImageShape, ReadSettings
from pipeline.errors import PipelineError
from spelling import some

if TYPE_CHECKING:
    import numpy.typing as npt

    Images = npt.NDArray[np.uint8]
    Parts = Mapping[str, tuple[Images, npt.NDArray[np.integer[Any]]]]

KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "validation": (("x_val", "y_val"), ("x_valid", "y_valid"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
"""Part of a .npz file -> the names of its images and labels, in Keras's files and in MedMNIST's."""
WHOLE = (("x", "y"), ("images", "labels"))
"""The names in a file that is not divided."""
EXPECTED = (
    "x_train and y_train, with x_test and y_test (and x_val and y_val) beside them or without, or x and y "
    "alone; images uint8 (n, h, w), (n, h, w, 1) or (n, h, w, 3) of 0-255, labels integers 0..classes-1 of "
    "shape (n,), or for several labels an image 0 and 1 of shape (n, classes)"
)


class ArraySource:
    """Images of one size in memory, (n, h, w) grey or (n, h, w, 3) RGB."""

    def __init__(self, images: Images, paths: Sequence[str]) -> None:
        self._images = images
        self._paths = paths

    def __len__(self) -> int:
        return len(self._images)

    def path(self, index: int) -> str:
        """Such as 'train[17]', with the index in the published array."""
        return self._paths[index]

    def file(self, index: int) -> None:
        """None: the images are parts of an array."""
        del index

    def read(self, index: int, shape: ImageShape) -> Images:
        """(height, width, channels) uint8."""
        return pixels.from_array(self._images[index], shape)

    def whole(self, shape: ImageShape) -> Images | None:
        """The array itself if it has this shape."""
        images = self._images if self._images.ndim == 4 else self._images[..., np.newaxis]
        return images if images.shape[1:] == shape else None


def dataset(
    described: Described, parts: Parts, *, shares: Mapping[str, float], settings: ReadSettings
) -> Dataset:
    """A data set of one or more parts, each (images, labels).

    The parts test and validation are these splits; the other is divided by content into `shares`, unless
    both are there.
    """
    whole = {"validation", "test"} <= {*parts}
    images = np.concatenate([of_part for of_part, _ in parts.values()])
    described, parts = _with_label_sets(described, parts)
    paths = [f"{part}[{index}]" for part, (of_part, _) in parts.items() for index in range(len(of_part))]
    digests = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images)
    fixed = [
        np.full(
            len(labels),
            SPLITS.index(part) if whole or part in ("validation", "test") else splits.NONE,
            np.int8,
        )
        for part, (_, labels) in parts.items()
    ]
    examples = splits.Examples(
        digests=np.frombuffer(digests, np.uint8).reshape(-1, 32),
        labels=np.concatenate([labels for _, labels in parts.values()]).astype(np.int64),
        fixed=np.concatenate(fixed),
        path=paths.__getitem__,
    )

    def source_of(places: Sequence[int]) -> ArraySource:
        if len(places) == len(images):
            return ArraySource(images, paths)
        return ArraySource(images[list(places)], [paths[place] for place in places])

    return assemble(described, examples, source_of, shares=shares, settings=settings)


def num_classes(parts: Parts) -> int:
    """One more than the largest label, or the number of columns."""
    first = next(iter(parts.values()))[1]
    if first.ndim == 2:
        return int(first.shape[1])
    return 1 + max(int(labels.max()) for _, labels in parts.values())


def read_npz(path: Path) -> Parts:
    """The parts of a .npz file: train, and validation and test if it has them. It is not unpickled.

    Raises PipelineError if it has none.
    """
    try:
        with opened_npz(path) as arrays:
            names = _names_of_parts(path, list(arrays))
            _check_memory(path, arrays.unpacked_bytes)
            parts = {part: (arrays[images], arrays[labels]) for part, (images, labels) in names.items()}
    except ARCHIVE_ERRORS as error:
        raise PipelineError(
            f"{path} cannot be read as a .npz file ({_why(path, error)}). Expected were {EXPECTED}; "
            "it may be truncated: get it again."
        ) from error
    return checked(str(path), parts)


def _names_of_parts(path: Path, there: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The names of each part's images and labels among those in a file."""
    found: dict[str, tuple[str, str]] = {}
    for part, known in (*KEYS.items(), ("train", WHOLE)):
        for names in known:
            if part not in found and any(name in there for name in names):
                found[part] = names
    missing = [name for names in found.values() for name in names if name not in there]
    if "train" not in found:
        missing = [*KEYS["train"][0], *missing]
    if missing:
        raise PipelineError(
            f"{path} has no {', '.join(missing)} (it has {some(there) or 'nothing'}). Expected were "
            f"{EXPECTED}."
        )
    return found


def checked(source: str, parts: Mapping[str, tuple[Any, Any]]) -> Parts:
    """The parts, with images (n, h, w) or (n, h, w, 3) and labels (n,), or (n, classes) for several an image.

    Raises PipelineError for others. One-hot labels, a single 1 in every row, become numbers.
    """
    result = {}
    is_one_hot = all(_holds_one(labels) for _, labels in parts.values())
    for part, (images, labels) in parts.items():
        if images.ndim == 4 and images.shape[-1] == 1:
            images = images[..., 0]
        if labels.ndim not in (1, 2) or 0 in labels.shape:
            raise _unsound(source, part, images, labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        elif labels.ndim == 2 and np.isin(labels, (0, 1)).all():
            labels = labels.argmax(axis=1) if is_one_hot else labels.astype(np.int64)
        sound = (
            images.dtype == np.uint8
            and (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3))
            and 0 not in images.shape
            and labels.shape in ((len(images),), (len(images), labels.shape[-1]))
            and np.issubdtype(labels.dtype, np.integer)
            and labels.min() >= 0
        )
        if not sound:
            raise _unsound(source, part, images, labels)
        largest = labels.shape[1] - 1 if labels.ndim == 2 else int(labels.max())
        if largest >= CLASSES:
            raise PipelineError(
                f"{source} holds the label {largest:,}, and {CLASSES:,} classes at most are read. Number the "
                "classes 0, 1, 2 ..."
            )
        result[part] = (images, labels.astype(np.int64))
    if len({labels.shape[1:] for _, labels in result.values()}) > 1:
        raise PipelineError(f"{source} holds labels of different shapes. Expected were {EXPECTED}.")
    if len({images.shape[1:] for images, _ in result.values()}) > 1:
        raise PipelineError(
            f"{source} holds training and test images of different sizes; one size was expected."
        )
    return result


def _unsound(source: str, part: str, images: Any, labels: Any) -> PipelineError:  # noqa: ANN401
    return PipelineError(
        f"{source} holds {part} images {images.dtype} {images.shape} and labels {labels.dtype} "
        f"{labels.shape}. Expected were {EXPECTED}."
    )


def _check_memory(path: Path, num_bytes: int) -> None:
    """Raises PipelineError for arrays that do not fit into the memory, twice as they are put together."""
    available = available_bytes()
    if 2 * num_bytes > available:
        raise PipelineError(
            f"{path} unpacks to {size_in_words(num_bytes)}, and {size_in_words(available)} of memory are "
            "available, of which half is taken. Expected a smaller file: write the images into folders, "
            "which are read one by one."
        )


def _why(path: Path, error: Exception) -> str:
    """Why a file is no .npz file; a single array is one by a close name."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            return "it is a single array"
    return f"{error}" or type(error).__name__


def _holds_one(labels: Any) -> bool:  # noqa: ANN401
    """Whether every row of labels is one-hot."""
    return labels.ndim == 2 and labels.shape[1] > 1 and bool(((labels == 1).sum(axis=1) == 1).all())


def _with_label_sets(described: Described, parts: Parts) -> tuple[Described, Parts]:
    """The same, images of several labels with the number of their set of labels."""
    held = [labels for _, labels in parts.values()]
    if held[0].ndim == 1:
        return described, parts
    rows, numbers = np.unique(np.concatenate(held), axis=0, return_inverse=True)
    places = np.split(numbers.ravel(), np.cumsum([len(each) for each in held])[:-1])
    sets = tuple(tuple(map(int, np.flatnonzero(row))) for row in rows)
    numbered = {
        part: (images, place) for (part, (images, _)), place in zip(parts.items(), places, strict=True)
    }
    return replace(described, label_sets=sets), numbered

"""Any folder of class/image files as a data set; `layout.py` says which layouts are recognised.

Without folders for the splits the content of each file decides its split, 80% train, 10% validation, 10%
test. With them the folders decide; for a split without a folder a tenth of train is taken, by content.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pipeline.data import pixels, splits
from pipeline.data.assembly import Described, assemble
from pipeline.data.dataset import Dataset
from pipeline.data.layout import EXAMPLE, Found, Listing, list_folder, shown, within
from pipeline.data.scan import Scanned, scan
from pipeline.data.spec import ImageShape, LeftOut, Progress, ReadSettings
from pipeline.errors import PipelineError, some

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
MIN_NAMED_ALIKE = 3
MAX_NAMED_ALIKE = 100
"""How many files must begin alike, and in how many ways at most, to propose these beginnings as classes."""


class FileSource:
    """Image files, decoded on each read."""

    def __init__(self, paths: Sequence[Path], *, depth: int = 16) -> None:
        """`depth`: the bits that images stored in 16 really have."""
        self._paths = paths
        self._depth = depth

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, index: int) -> str:
        """The file's path, for messages."""
        return shown(self._paths[index])

    def read(self, index: int, shape: ImageShape) -> npt.NDArray[np.uint8]:
        """(height, width, channels) uint8. Raises OSError or UnreadableImageError."""
        return pixels.from_bytes(self._paths[index].read_bytes(), shape, depth=self._depth)

    def whole(self, shape: ImageShape) -> None:
        """None: the images are not in memory."""
        del shape


def load(path: Path, *, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set in the folder; every file is decoded once, so that no epoch meets a broken one.

    The images are ordered by the hashes of their contents, which mixes the classes. Raises PipelineError for
    a folder without images, with one class, or with an empty split.
    """
    listing = list_folder(path)
    scanned = scan(
        path, [file.path for file in listing.files], num_threads=settings.num_threads, progress=progress
    )
    pairs = [(file, found) for file, found in zip(listing.files, scanned, strict=True)]
    broken = [
        LeftOut(path=within(path, file.path), reason=found) for file, found in pairs if isinstance(found, str)
    ]
    images = [(file, found) for file, found in pairs if isinstance(found, Scanned)]
    images.sort(key=lambda pair: (pair[1].sha256, str(pair[0].path)))
    class_names = tuple(sorted({file.class_name for file, _ in images}))
    empty = [
        LeftOut(path=name, reason="a folder without an image") for name in listing.classes - {*class_names}
    ]
    left_out = sorted([*listing.left_out, *broken, *empty], key=lambda item: item.path)
    _check_classes(path, class_names, left_out)
    peaks = [found.peak for _, found in images if found.peak is not None]
    depth = pixels.depth_of(peaks)
    if peaks and depth < 16:
        listing.notes.append(
            f"{len(peaks):,} images store {depth}-bit levels in 16 bits (the brightest is {max(peaks):,}): "
            f"scaled by {depth} bits"
        )
    return assemble(
        _described(path, images, listing, left_out),
        [
            splits.Example(
                path=within(path, file.path),
                digest=bytes.fromhex(found.sha256),
                label=class_names.index(file.class_name),
                fixed=_fixed(file, listing),
            )
            for file, found in images
        ],
        lambda places: FileSource([images[place][0].path for place in places], depth=depth),
        shares=_shares(listing),
        settings=settings,
    )


def _check_classes(root: Path, class_names: Sequence[str], left_out: Sequence[LeftOut]) -> None:
    if len(class_names) > 1:
        return
    without = some([f"{item.path}: {item.reason}" for item in left_out])
    without = f" Left out: {without}." if without else ""
    begin = f"{shown(root)} has no image in a class folder."
    if class_names:
        begin = f"{shown(root)} has one class, '{class_names[0]}'; two or more are needed."
    raise PipelineError(f"{begin}{_hint(root, class_names)}{without} {EXAMPLE}")


def _hint(root: Path, class_names: Sequence[str]) -> str:
    """What to do about a folder without two classes, if its content tells."""
    archives = [file.name for file in root.iterdir() if file.suffix.lower() in ARCHIVES]
    if archives:
        return f" Unpack {some(archives)} first."
    inner = root / class_names[0] if class_names else root
    if not inner.is_dir():
        return ""
    folders = sorted(entry.name for entry in inner.iterdir() if entry.is_dir())
    if folders:
        return f" If its folders {some(folders)} are the classes, give {shown(inner)}." if class_names else ""
    begins = Counter(
        match[1] for file in inner.iterdir() if (match := re.match(r"(\D*?)[._ -]?\d", file.name))
    )
    classes = sorted(name for name, count in begins.items() if name and count >= MIN_NAMED_ALIKE)
    if not 1 < len(classes) <= MAX_NAMED_ALIKE:
        return ""
    return f" Its files are called {some(classes)}: if these are the classes, make a folder of each."


def _described(
    root: Path, images: Sequence[tuple[Found, Scanned]], listing: Listing, left_out: Sequence[LeftOut]
) -> Described:
    sizes = {(found.width, found.height) for _, found in images}
    width, height = next(iter(sizes))
    kinds = Counter(kind for _, found in images for kind in found.converted)
    missing = sorted({"validation", "test"} - listing.splits) if listing.splits else []
    return Described(
        name=shown(root.resolve().name),
        source=shown(root),
        class_names=tuple(sorted({file.class_name for file, _ in images})),
        image_size=width if len(sizes) == 1 and width == height else None,
        smaller_side=int(median(min(found.width, found.height) for _, found in images)),
        left_out=tuple(left_out),
        converted=dict(sorted(kinds.items())),
        notes=(
            *listing.notes,
            *(f"no {split} folder: a tenth of train is taken, by content" for split in missing),
        ),
    )


def _shares(listing: Listing) -> dict[str, float]:
    if not listing.splits:
        return splits.THREE_WAY
    missing = [split for split in ("validation", "test") if split not in listing.splits]
    return {"train": 1.0 - 0.1 * len(missing), **dict.fromkeys(missing, 0.1)}


def _fixed(file: Found, listing: Listing) -> str | None:
    """The split of the file's folder; None if its content decides."""
    whole = listing.splits >= {"validation", "test"}
    return None if file.fixed == "train" and not whole else file.fixed

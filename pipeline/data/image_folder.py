"""Any folder of class/image files as a data set; `layout.py` says which layouts are recognised.

Without folders for the splits the content of each file decides its split, 80% train, 10% validation, 10%
test. With them the folders decide; for a split without a folder a tenth of train is taken, by content.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pipeline.data import pixels, splits
from pipeline.data.assembly import Described, assemble
from pipeline.data.dataset import Dataset
from pipeline.data.layout import EXAMPLE, Found, Listing, list_folder, shown, within
from pipeline.data.scan import Scanned, scan
from pipeline.data.spec import ImageShape, LeftOut, Progress, ReadSettings
from pipeline.data.split_choice import SplitChoice
from pipeline.errors import PipelineError, UsageError, some

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


@dataclass(frozen=True, kw_only=True)
class _Image:
    """An image that was read. `shown` is its path below the folder, or whole if it is from another."""

    shown: str
    file: Found
    scanned: Scanned


def load(path: Path, *, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set in the folder; every file is decoded once, so that no epoch meets a broken one.

    The images are ordered by the hashes of their contents, which mixes the classes. Raises PipelineError for
    a folder without images, or with one class.
    """
    choice = settings.split
    listing = list_folder(path)
    _check_choice(path, listing, choice)
    images = _read(path, listing, settings, progress)
    if choice.test:
        images += _read_test(Path(choice.test).expanduser(), listing, settings, progress)
    images.sort(key=lambda image: (image.scanned.sha256, str(image.file.path)))
    class_names = tuple(sorted({image.file.class_name for image in images}))
    listing.left_out += [
        LeftOut(path=name, reason="a folder without an image") for name in listing.classes - {*class_names}
    ]
    left_out = sorted(listing.left_out, key=lambda item: item.path)
    _check_classes(path, class_names, left_out)
    depth = _depth(images, listing)
    return assemble(
        _described(path, images, listing, left_out),
        [
            splits.Example(
                path=image.shown,
                digest=bytes.fromhex(image.scanned.sha256),
                label=class_names.index(image.file.class_name),
                fixed=_fixed(image.file, listing),
                group=choice.group_of(image.shown),
                look=image.scanned.look,
            )
            for image in images
        ],
        lambda places: FileSource([images[place].file.path for place in places], depth=depth),
        shares=_shares(listing, choice),
        settings=settings,
    )


def _read(
    root: Path, listing: Listing, settings: ReadSettings, progress: Progress | None, *, below: bool = True
) -> list[_Image]:
    """The images of the listing; files that are none are listed as left out."""
    files = listing.files
    images = []
    scanned = scan(root, [each.path for each in files], num_threads=settings.num_threads, progress=progress)
    for file, found in zip(files, scanned, strict=True):
        name = within(root, file.path) if below else shown(file.path)
        if isinstance(found, Scanned):
            images.append(_Image(shown=name, file=file, scanned=found))
        else:
            listing.left_out.append(LeftOut(path=name, reason=found))
    return images


def _read_test(
    root: Path, listing: Listing, settings: ReadSettings, progress: Progress | None
) -> list[_Image]:
    """The images of --test's folder, all in the test split."""
    if not root.is_dir():
        raise UsageError(f"--test {root} is no folder. Expected one of class/image files.")
    found = list_folder(root)
    unknown = sorted(found.classes - listing.classes)
    if unknown:
        raise PipelineError(
            f"--test {shown(root)} has {len(unknown)} classes that the training folder lacks: "
            f"{some(unknown, quoted=True)}. Expected some of {some(sorted(listing.classes), quoted=True)}."
        )
    found.files = [replace(file, fixed="test") for file in found.files]
    images = _read(root, found, settings, progress, below=False)
    listing.left_out += found.left_out
    listing.notes.append(f"the test split is {shown(root)}")
    listing.splits |= {"train", "test"}
    return images


def _check_choice(root: Path, listing: Listing, choice: SplitChoice) -> None:
    """Raises UsageError for a choice that the folders' own splits contradict."""
    if listing.splits and choice.split:
        raise UsageError(
            f"{shown(root)} has folders for its splits ({', '.join(sorted(listing.splits))}), so --split has "
            "nothing to divide. Leave it out, or give a folder of classes."
        )
    if "test" in listing.splits and choice.test:
        raise UsageError(f"{shown(root)} has a test folder, and --test gives another. Leave one out.")


def _depth(images: Sequence[_Image], listing: Listing) -> int:
    """The bits that the images stored in 16 really have."""
    peaks = [image.scanned.peak for image in images if image.scanned.peak is not None]
    depth = pixels.depth_of(peaks)
    if peaks and depth < 16:
        listing.notes.append(
            f"{len(peaks):,} images store {depth}-bit levels in 16 bits (the brightest is {max(peaks):,}): "
            f"scaled by {depth} bits"
        )
    return depth


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
    root: Path, images: Sequence[_Image], listing: Listing, left_out: Sequence[LeftOut]
) -> Described:
    sizes = {(image.scanned.width, image.scanned.height) for image in images}
    width, height = next(iter(sizes))
    kinds = Counter(kind for image in images for kind in image.scanned.converted)
    missing = sorted({"validation", "test"} - listing.splits) if listing.splits else []
    return Described(
        name=shown(root.resolve().name),
        source=shown(root),
        class_names=tuple(sorted({image.file.class_name for image in images})),
        image_size=width if len(sizes) == 1 and width == height else None,
        smaller_side=int(median(min(image.scanned.width, image.scanned.height) for image in images)),
        left_out=tuple(left_out),
        converted=dict(sorted(kinds.items())),
        notes=(
            *listing.notes,
            *(f"no {split} folder: a tenth of train is taken, by content" for split in missing),
        ),
    )


def _shares(listing: Listing, choice: SplitChoice) -> dict[str, float]:
    if choice.shares:
        return choice.shares
    if not listing.splits:
        return splits.THREE_WAY
    missing = [split for split in ("validation", "test") if split not in listing.splits]
    return {"train": 1.0 - 0.1 * len(missing), **dict.fromkeys(missing, 0.1)}


def _fixed(file: Found, listing: Listing) -> str | None:
    """The split of the file's folder; None if its content decides."""
    whole = listing.splits >= {"validation", "test"}
    return None if file.fixed == "train" and not whole else file.fixed

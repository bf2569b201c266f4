"""Any folder of class/image files as a data set; `layout.py` says which layouts are recognised.

Without folders for the splits the content of each file decides its split, 80% train, 10% validation, 10%
test. With them the folders decide; for a split without a folder a tenth of train is taken, by content.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data import pixels, splits
from pipeline.data.address import DataChoice
from pipeline.data.archive import name_of, unpacked
from pipeline.data.assembly import Described, assemble
from pipeline.data.dataset import Dataset
from pipeline.data.label_table import list_table
from pipeline.data.layout import EXAMPLE, list_folder, list_images, shown
from pipeline.data.listing import Listing
from pipeline.data.scan import kinds_of
from pipeline.data.scanned_images import ScannedImages, scanned_images
from pipeline.data.spec import ImageShape, LeftOut, Progress, ReadSettings
from pipeline.errors import PipelineError, UsageError
from pipeline.home import expanded
from pipeline.shell import quoted
from spelling import counted, some

if TYPE_CHECKING:
    import numpy.typing as npt


ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
SURE_TABLES = (".csv", ".tsv", ".jsonl")
"""Endings of files that are tables of labels more often than anything else."""
MIN_NAMED_ALIKE = 3
MAX_NAMED_ALIKE = 100
"""How many files must begin alike, and in how many ways at most, to propose these beginnings as classes."""


class FileSource:
    """Image files, decoded on each read."""

    def __init__(self, paths: Sequence[str], *, depth: int = 16) -> None:
        """`depth`: the bits that images stored in 16 really have."""
        self._paths = paths
        self._depth = depth

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, index: int) -> str:
        """The file's path, for messages."""
        return shown(self._paths[index])

    def file(self, index: int) -> Path:
        """The file."""
        return Path(self._paths[index])

    def read(self, index: int, shape: ImageShape) -> npt.NDArray[np.uint8]:
        """(height, width, channels) uint8. Raises OSError or UnreadableImageError."""
        return pixels.from_bytes(Path(self._paths[index]).read_bytes(), shape, depth=self._depth)

    def whole(self, shape: ImageShape) -> None:
        """None: the images are not in memory."""
        del shape


def load(path: Path, *, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set in the folder. Raises PipelineError for one without images in a class folder."""
    choice = settings.choice
    listing = list_images(path) if settings.only_pixels else list_folder(path, classes=choice.classes)
    return load_listing(path, path, listing, settings=settings, progress=progress)


def load_archive(path: Path, *, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set in a .zip or .tar of a folder."""
    root = unpacked(path, progress=progress)
    if settings.only_pixels:
        listing = list_images(root, name=name_of(path))
    else:
        listing = list_folder(root, classes=settings.choice.classes, given=path)
    return load_listing(path, root, listing, settings=settings, progress=progress)


def load_table(path: Path, *, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set that a table of files and labels names."""
    listing = list_table(path, settings.choice)
    return load_listing(path, path.parent, listing, settings=settings, progress=progress)


def load_listing(
    source: Path, root: Path, listing: Listing, *, settings: ReadSettings, progress: Progress | None = None
) -> Dataset:
    """The data set of the listed files, which are below `root`; `source` is what the user gave.

    Every file is decoded once, so that no epoch meets a broken one. The images are ordered by the hashes of
    their contents, which mixes the classes. Raises PipelineError if there is no image.
    """
    choice = settings.choice
    _check_choice(source, listing, choice)
    images = scanned_images(listing, root, settings, progress, source=source)
    if choice.test:
        images = images.with_others(_read_test(expanded(choice.test), listing, settings, progress))
    images = images.in_order()
    class_names = listing.class_order or images.class_names
    listing.left_out += [
        LeftOut(path=name, reason="a folder without an image") for name in listing.classes - {*class_names}
    ]
    left_out = sorted(listing.left_out, key=lambda item: item.path)
    _check_any(source, images, left_out)
    sets, labels = images.numbered(class_names)
    depth = _depth(images, listing)
    described = replace(
        _described(source, images, class_names, listing, left_out),
        label_sets=sets if listing.has_several_labels else None,
        hint_to_classes=_hint(root, class_names) if len(class_names) == 1 else "",
    )
    return assemble(
        described,
        splits.Examples(
            digests=images.rows["sha256"],
            labels=labels,
            fixed=images.fixed(may_divide_train=not listing.splits >= {"validation", "test"}),
            path=images.shown,
            groups=[choice.group_of(images.shown(place)) for place in range(len(images))]
            if choice.group_by
            else None,
            looks=images.rows["look"],
            has_look=images.rows["has_look"],
        ),
        lambda places: FileSource([images.paths[place] for place in places], depth=depth),
        shares=choice.shares or splits.shares_of(listing.splits),
        settings=settings,
    )


def _read_test(
    root: Path, listing: Listing, settings: ReadSettings, progress: Progress | None
) -> ScannedImages:
    """The images of --test's folder, all in the test split."""
    if not root.is_dir():
        raise UsageError(f"--test {root} is no folder. Expected one of class/image files.")
    found = list_folder(root)
    unknown = sorted(found.classes - listing.classes)
    if unknown:
        raise PipelineError(
            f"--test {shown(root)} has {counted(len(unknown), 'class', 'classes')} that the training "
            "folder lacks: "
            f"{some(unknown, quoted=True)}. Expected some of {some(sorted(listing.classes), quoted=True)}."
        )
    found.files.groups = [replace(group, fixed="test") for group in found.files.groups]
    images = scanned_images(found, root, settings, progress, below=False)
    listing.left_out += found.left_out
    listing.notes.append(f"the test split is {shown(root)}")
    listing.splits |= {"train", "test"}
    return images


def _check_choice(root: Path, listing: Listing, choice: DataChoice) -> None:
    """Raises UsageError for a choice that the folders' own splits contradict."""
    if listing.splits and choice.split:
        raise UsageError(
            f"{shown(root)} has folders for its splits ({', '.join(sorted(listing.splits))}), so --split has "
            "nothing to divide. Leave it out, or give a folder of classes."
        )
    if "test" in listing.splits and choice.test:
        raise UsageError(f"{shown(root)} has a test folder, and --test gives another. Leave one out.")


def _depth(images: ScannedImages, listing: Listing) -> int:
    """The bits that the images stored in 16 really have."""
    peaks = images.rows["peak"][images.rows["peak"] >= 0].tolist()
    depth = pixels.depth_of(peaks)
    if peaks and depth < 16:
        listing.notes.append(
            f"{depth}-bit levels in 16 bits in {counted(len(peaks), 'image')} (the brightest is "
            f"{max(peaks):,}): "
            f"scaled by {depth} bits"
        )
    return depth


def _check_any(source: Path, images: ScannedImages, left_out: Sequence[LeftOut]) -> None:
    if len(images):
        return
    without = some([f"{item.path}: {item.reason}" for item in left_out])
    without = f" Left out: {without}." if without else ""
    if source.is_file():
        raise PipelineError(f"{shown(source)} gives no class an image that can be read.{without}")
    raise PipelineError(
        f"{shown(source)} has no image in a class folder.{_hint(source, ())}{without} {EXAMPLE}"
    )


def _hint(root: Path, class_names: Sequence[str]) -> str:
    """What to do about a folder without two classes, if its content tells."""
    archives = [file.name for file in root.iterdir() if file.suffix.lower() in ARCHIVES]
    if archives:
        return f" Give {some(archives)}, or unpack it first."
    tables = [
        shown(file) for file in sorted(root.iterdir()) if file.suffix.lower() in (".csv", ".tsv", ".jsonl")
    ]
    if tables and not class_names:
        return f" If {some(tables)} names the labels: --data {quoted(tables[0])}."
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
    source: Path,
    images: ScannedImages,
    class_names: tuple[str, ...],
    listing: Listing,
    left_out: Sequence[LeftOut],
) -> Described:
    widths, heights = images.rows["width"], images.rows["height"]
    side = int(widths[0])
    is_one_square = bool((widths == side).all() and (heights == side).all())
    missing = sorted({"validation", "test"} - listing.splits) if listing.splits else []
    return Described(
        name=shown(name_of(source) if source.is_file() else source.resolve().name),
        source=shown(source),
        class_names=class_names,
        image_size=side if is_one_square else None,
        smaller_side=int(np.median(np.minimum(widths, heights))),
        left_out=tuple(left_out),
        converted=kinds_of(images.rows),
        notes=(
            *listing.notes,
            *(f"no {split} folder: a tenth of train is taken, by content" for split in missing),
        ),
    )

"""Any folder of class/image files as a data set.

FOLDER/CLASS/**/image: the content of each file decides its split, 80% train, 10% validation, 10% test.
FOLDER/train/CLASS/**/image, with validation (or val, valid) or test beside it: the folders decide; for a
split without a folder a tenth of train is taken, by content.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data import pixels, splits
from pipeline.data.assembly import Described, assemble
from pipeline.data.dataset import Dataset
from pipeline.data.scan import Scanned, scan
from pipeline.data.spec import ImageShape, LeftOut, Progress, ReadSettings
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
LITTER = ("Thumbs.db", "desktop.ini", "__MACOSX")
LAYOUT = "A folder of class/image files was expected, such as flowers/daisy/1.jpg and flowers/rose/2.jpg."
NAMED_IN_ERROR = 3
"""Number of left out files that an error names; `pipeline data` names all."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file before it is opened. `fixed` is the split whose folder it is in, or None."""

    path: Path
    class_name: str
    fixed: str | None


@dataclass(kw_only=True)
class Listing:
    """The folders' content, before any file is opened."""

    files: list[Found] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)
    """The splits that have a folder."""


class FileSource:
    """Image files, decoded on each read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, index: int) -> str:
        """The file's path, for messages."""
        return _shown(self._paths[index])

    def read(self, index: int, shape: ImageShape) -> npt.NDArray[np.uint8]:
        """(height, width, channels) uint8. Raises OSError or UnreadableImageError."""
        return pixels.from_bytes(self._paths[index].read_bytes(), shape)

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
        LeftOut(path=_within(path, file.path), reason=found)
        for file, found in pairs
        if isinstance(found, str)
    ]
    images = [(file, found) for file, found in pairs if isinstance(found, Scanned)]
    images.sort(key=lambda pair: (pair[1].sha256, str(pair[0].path)))
    class_names = tuple(sorted({file.class_name for file, _ in images}))
    empty = [
        LeftOut(path=name, reason="a folder without an image") for name in listing.classes - {*class_names}
    ]
    left_out = sorted([*listing.left_out, *broken, *empty], key=lambda item: item.path)
    _check_classes(path, class_names, left_out)
    return assemble(
        _described(path, images, listing, left_out),
        [
            splits.Example(
                path=_within(path, file.path),
                digest=bytes.fromhex(found.sha256),
                label=class_names.index(file.class_name),
                fixed=_fixed(file, listing),
            )
            for file, found in images
        ],
        lambda places: FileSource([images[place][0].path for place in places]),
        shares=_shares(listing),
        settings=settings,
    )


def list_folder(root: Path) -> Listing:
    """The files below root by class and split, and those left out. Links are followed, except loops."""
    listing = Listing()
    folders, loose = _entries(root, listing, root)
    listing.left_out += [LeftOut(path=_within(root, file), reason="not in a class folder") for file in loose]
    split_names = {folder: SPLIT_FOLDERS.get(folder.name.lower()) for folder in folders}
    if len(folders) > 1 and "train" in split_names.values() and None not in split_names.values():
        listing.splits = {str(name) for name in split_names.values()}
        for folder, split in split_names.items():
            classes, loose = _entries(folder, listing, root)
            listing.left_out += [
                LeftOut(path=_within(root, file), reason="not in a class folder") for file in loose
            ]
            for class_folder in classes:
                _walk(class_folder, listing, root, split)
        return listing
    for folder in folders:
        _walk(folder, listing, root, None)
    return listing


def _walk(class_folder: Path, listing: Listing, root: Path, split: str | None) -> None:
    name = _shown(class_folder.name)
    listing.classes.add(name)
    waiting, seen = [class_folder], set()
    while waiting:
        folder = waiting.pop()
        identity = os.path.realpath(folder)
        if identity in seen:
            listing.left_out.append(
                LeftOut(path=_within(root, folder), reason="a link to a folder that was read already")
            )
            continue
        seen.add(identity)
        folders, files = _entries(folder, listing, root)
        waiting += reversed(folders)
        listing.files += [Found(path=file, class_name=name, fixed=split) for file in files]


def _entries(folder: Path, listing: Listing, root: Path) -> tuple[list[Path], list[Path]]:
    """The folder's subfolders and regular files, by name; hidden and other entries are listed as left out."""
    folders, files = [], []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        entries = []
        listing.left_out.append(
            LeftOut(path=_within(root, folder), reason=f"cannot be read ({error.strerror})")
        )
    for entry in entries:
        kind = _kind(entry)
        if kind == "folder":
            folders.append(entry)
        elif kind == "file":
            files.append(entry)
        else:
            listing.left_out.append(LeftOut(path=_within(root, entry), reason=kind))
    return folders, files


def _kind(entry: Path) -> str:
    """'folder', 'file', or why it is neither."""
    if entry.name.startswith(".") or entry.name in LITTER:
        return "hidden"
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return "a link that leads nowhere" if entry.is_symlink() else f"cannot be read ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "not a regular file"


def _check_classes(root: Path, class_names: Sequence[str], left_out: Sequence[LeftOut]) -> None:
    if len(class_names) > 1:
        return
    named = "; ".join(f"{item.path}: {item.reason}" for item in left_out[:NAMED_IN_ERROR])
    more = f" and {len(left_out) - NAMED_IN_ERROR} more" if len(left_out) > NAMED_IN_ERROR else ""
    without = f" Left out: {named}{more}." if named else ""
    if not class_names:
        raise PipelineError(f"{_shown(root)} has no image in a class folder.{without} {LAYOUT}")
    inner = root / class_names[0]
    within = [entry.name for entry in inner.iterdir() if entry.is_dir()] if inner.is_dir() else []
    hint = f" If its folders {', '.join(sorted(within)[:3])} are the classes, give {inner}." if within else ""
    raise PipelineError(
        f"{_shown(root)} has one class, '{class_names[0]}'; two or more are needed.{hint}{without} {LAYOUT}"
    )


def _described(
    root: Path, images: Sequence[tuple[Found, Scanned]], listing: Listing, left_out: Sequence[LeftOut]
) -> Described:
    sizes = {(found.width, found.height) for _, found in images}
    width, height = next(iter(sizes))
    kinds = Counter(kind for _, found in images for kind in found.converted)
    missing = sorted({"validation", "test"} - listing.splits) if listing.splits else []
    return Described(
        name=_shown(root.resolve().name),
        source=_shown(root),
        class_names=tuple(sorted({file.class_name for file, _ in images})),
        image_size=width if len(sizes) == 1 and width == height else None,
        left_out=tuple(left_out),
        converted=dict(sorted(kinds.items())),
        notes=tuple(f"no {split} folder: a tenth of train is taken, by content" for split in missing),
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


def _within(root: Path, path: Path) -> str:
    return _shown(path.relative_to(root))


def _shown(path: Path | str) -> str:
    """A path as printable text, even if its name is no valid text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")

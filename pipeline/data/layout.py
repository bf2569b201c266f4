"""What a folder of images holds: its splits, its classes, the files of each, and what is left out and why.

Recognised: CLASS/**/image; train/CLASS/**/image with validation and test beside it, under any of their usual
names; a single level around or between that means nothing (photos/flower_photos/daisy, train/images/daisy). A
folder whose classes cannot be told is refused.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from pipeline.data.spec import SPLITS, LeftOut
from pipeline.errors import PipelineError, some

SPLIT_WORDS = {
    "train": ("train", "training", "trainset", "trn"),
    "validation": ("validation", "val", "valid", "valset", "dev", "development"),
    "test": ("test", "testing", "testset", "tst"),
}
"""The words by which a folder's name says which split it holds: train, Training_set, seg_test, valid."""
MAX_WORDS = 3
"""A name of more words, such as "train of the old line", is no split's."""
GENERIC = ("images", "image", "imgs", "img", "jpegimages", "photos", "pictures", "data", "dataset")
"""Names of folders between a split and its classes, or its images."""
LITTER = ("Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")
"""What operating systems leave in folders, besides names that begin with a dot."""
EXAMPLE = "A folder of class/image files was expected, such as flowers/daisy/1.jpg and flowers/rose/2.jpg."
NOT_IN_CLASS = "not in a class folder"

_ENDINGS = frozenset({*Image.registered_extensions(), ".heic", ".heif", ".hif", ".avif", ""})


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
    decomposed: set[str] = field(default_factory=set)
    """Classes of which a folder's name is in decomposed Unicode."""
    notes: list[str] = field(default_factory=list)
    """How the layout was read, where it is not plain CLASS/image."""


@dataclass(eq=False)
class _Folder:
    path: Path
    folders: list[_Folder] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    num_images: int = 0
    """By their names, in it and below."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def holders(self) -> list[_Folder]:
        """The folders in it that hold images."""
        return [each for each in self.folders if each.num_images]

    @property
    def is_flat(self) -> bool:
        """Whether all its images are directly in it, or in one folder called images."""
        holders = self.holders
        return not holders or (len(holders) == 1 and holders[0].means_nothing and holders[0].is_flat)

    @property
    def means_nothing(self) -> bool:
        """Whether its name only says that it holds images."""
        return self.name.lower() in GENERIC

    def below(self) -> Iterator[_Folder]:
        """This folder and all below, depth first, in order of their names."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders)


def list_folder(root: Path) -> Listing:
    """The files below root by class and split, and those left out. Links are followed, except loops.

    Raises PipelineError where it cannot be told which folders are the classes.
    """
    listing = Listing()
    whole = _read(root, listing)
    top = _descend(whole, root, listing)
    parts = _split_folders(top, root, listing)
    parts_or_all: Sequence[tuple[str | None, _Folder]] = parts or [(None, top)]
    for split, folder in parts_or_all:
        level = _descend(folder, root, listing) if split else folder
        _check_not_deeper(level)
        _leave_out(level.files, root, NOT_IN_CLASS, listing)
        for each in level.folders:
            _take(each, split, listing)
        if split in (None, "train"):
            _note_deeper(level, listing)
    listing.splits = {split for split, _ in parts}
    _note_parts(parts, root, listing)
    _note_names(listing)
    return listing


def shown(path: Path | str) -> str:
    """A path as printable text, even if its name is no valid text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def within(root: Path, path: Path) -> str:
    """A path below root, for messages."""
    return shown(path.relative_to(root))


def split_of_name(name: str) -> str | None:
    """The split that a folder's name means, or None."""
    words = [word for word in re.split(r"[^a-z]+", re.sub(r"set\b", "", name.lower())) if word]
    roles = {split for split, known in SPLIT_WORDS.items() for word in words if word in known}
    return roles.pop() if len(roles) == 1 and len(words) <= MAX_WORDS else None


def class_name_of(folder: str) -> str:
    """The class of a folder's name: composed Unicode, which a Mac decomposes in its zip files."""
    return unicodedata.normalize("NFC", shown(folder))


def _take(folder: _Folder, split: str | None, listing: Listing) -> None:
    name = class_name_of(folder.name)
    if name != shown(folder.name):
        listing.decomposed.add(name)
    listing.classes.add(name)
    for each in folder.below():
        listing.files += [Found(path=file, class_name=name, fixed=split) for file in each.files]


def _descend(folder: _Folder, root: Path, listing: Listing) -> _Folder:
    """The folder in which the classes or splits are, behind levels that are alone and mean nothing."""
    inner = folder
    while len(inner.holders) == 1 and not _images(inner.files):
        inner = inner.holders[0]
    if len(inner.holders) < 2:
        return folder
    while folder is not inner:
        _leave_out(folder.files, root, NOT_IN_CLASS, listing)
        below = folder.holders[0]
        beside = [each for each in folder.folders if each is not below]
        _leave_out_folders(beside, root, "a folder without an image", listing)
        folder = below
    if folder.path != root and split_of_name(folder.name) is None:
        listing.notes.append(f"the classes are the folders in {within(root, folder.path)}")
    return folder


def _split_folders(top: _Folder, root: Path, listing: Listing) -> list[tuple[str, _Folder]]:
    """(split, folder) where the folders in `top` are splits with classes in them; else none."""
    named = {each: split_of_name(each.name) for each in top.holders}
    parts = [(split, each) for each, split in named.items() if split and not each.is_flat]
    others = [each for each in top.holders if each not in {folder for _, folder in parts}]
    kinds = {split for split, _ in parts}
    if not kinds or (others and "train" not in kinds):
        return []
    if "train" not in kinds:
        raise PipelineError(
            f"{shown(root)} holds {_names(each for _, each in parts)}, and no folder to train on. Expected "
            f"train, with {' and '.join(sorted(kinds))} beside it, or folders of classes alone."
        )
    _check_others(others, parts, root)
    _leave_out(top.files, root, NOT_IN_CLASS, listing)
    for each in others:
        split = named[each]
        reason = f"the {split} images are in no class folder" if split else "not in a split's folder"
        _leave_out_folders([each], root, reason, listing)
        listing.notes.append(f"{_names([each])} left out: {each.num_images:,} images, {reason}")
    empty = [each for each in top.folders if each not in named]
    _leave_out_folders(empty, root, "a folder without an image", listing)
    return sorted(parts, key=lambda part: SPLITS.index(part[0])) if len(parts) > 1 or others else parts


def _check_others(others: Sequence[_Folder], parts: Sequence[tuple[str, _Folder]], root: Path) -> None:
    """Raises PipelineError if folders beside the splits may be classes."""
    unnamed = [each for each in others if split_of_name(each.name) is None]
    if len(unnamed) > len(parts):
        splits = _names(each for _, each in parts)
        raise PipelineError(
            f"{shown(root)} holds {splits}, which look like splits, and {_names(unnamed)}, which do not. "
            f"If all are classes, rename {splits}; if not, give a folder that holds train, validation and "
            "test alone."
        )


def _check_not_deeper(level: _Folder) -> None:
    """Raises PipelineError if the folders in `level` look like groups that repeat the same classes."""
    holders = level.holders
    if len(holders) < 2 or any(_images(each.files) or len(each.holders) < 2 for each in holders):
        return
    inner = Counter(inside.name.lower() for each in holders for inside in each.holders)
    repeated = [name for name, count in inner.items() if count > 1]
    if 2 * len(repeated) > len(inner):
        raise PipelineError(
            f"{shown(level.path)} holds {_names(holders)}, and each of these holds {some(repeated)}: the "
            f"classes seem to lie one level deeper. Give one of the folders, such as "
            f"{shown(holders[0].path)}, or put the images of each class into one folder."
        )


def _note_deeper(level: _Folder, listing: Listing) -> None:
    deeper = [each for each in level.holders if len(each.holders) > 1 and not _images(each.files)]
    if deeper and len(deeper) == len(level.holders):
        first = deeper[0]
        listing.notes.append(
            f"the folders in a class folder are read as one class: {shown(first.name)} holds "
            f"{_names(first.holders)}; if those are the classes, put them side by side"
        )


def _note_parts(parts: Sequence[tuple[str, _Folder]], root: Path, listing: Listing) -> None:
    if parts:
        words = ", ".join(f"{within(root, folder.path)} ({split})" for split, folder in parts)
        listing.notes.append(f"the splits are folders: {words}")


def _note_names(listing: Listing) -> None:
    if listing.decomposed:
        listing.notes.append(
            "folder names in decomposed Unicode, as a Mac writes them, are read in their composed form: "
            + some(sorted(listing.decomposed), quoted=True)
        )
    for names in spelled_alike(listing.classes):
        listing.notes.append(
            f"the classes {some(names, quoted=True)} differ only in case or blanks. To make them one: "
            "pipeline data FOLDER --merge-classes NEW_FOLDER"
        )


def spelled_alike(classes: Iterable[str]) -> list[list[str]]:
    """The groups of class names that differ only in case, blanks, hyphens or underscores."""
    groups: dict[str, list[str]] = {}
    for name in sorted(classes):
        groups.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _read(root: Path, listing: Listing) -> _Folder:
    """The tree of folders; hidden and other entries are listed as left out."""
    whole = _Folder(root)
    waiting, seen, every = [whole], {os.path.realpath(root)}, []
    while waiting:
        folder = waiting.pop()
        every.append(folder)
        folder.folders, folder.files = _entries(folder.path, listing, root)
        new = []
        for each in folder.folders:
            identity = os.path.realpath(each.path)
            if identity in seen:
                reason = "a link to a folder that was read already"
                listing.left_out.append(LeftOut(path=within(root, each.path), reason=reason))
            else:
                seen.add(identity)
                new.append(each)
        folder.folders = new
        waiting += reversed(new)
    for folder in reversed(every):
        folder.num_images = len(_images(folder.files)) + sum(each.num_images for each in folder.folders)
    return whole


def _entries(folder: Path, listing: Listing, root: Path) -> tuple[list[_Folder], list[Path]]:
    folders, files = [], []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        entries = []
        reason = f"cannot be read ({error.strerror})"
        listing.left_out.append(LeftOut(path=within(root, folder), reason=reason))
    for entry in entries:
        kind = _kind(entry)
        if kind == "folder":
            folders.append(_Folder(entry))
        elif kind == "file":
            files.append(entry)
        else:
            listing.left_out.append(LeftOut(path=within(root, entry), reason=kind))
    return folders, files


_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
)


def _kind(entry: Path) -> str:
    """'folder', 'file', or why it is neither."""
    if entry.name.startswith(".") or entry.name in LITTER:
        return "hidden"
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if entry.is_symlink():
            return "a link to itself" if "symbolic links" in str(error) else "a link that leads nowhere"
        return f"cannot be read ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else next(words for is_it, words in _SPECIAL if is_it(mode))


def _images(files: Iterable[Path]) -> list[Path]:
    """Those whose names may be an image's."""
    return [file for file in files if file.suffix.lower() in _ENDINGS]


def _names(folders: Iterable[_Folder]) -> str:
    return some([f"{shown(each.name)}/" for each in folders])


def _leave_out(files: Iterable[Path], root: Path, reason: str, listing: Listing) -> None:
    listing.left_out += [LeftOut(path=within(root, file), reason=reason) for file in files]


def _leave_out_folders(folders: Iterable[_Folder], root: Path, reason: str, listing: Listing) -> None:
    listing.left_out += [LeftOut(path=within(root, each.path), reason=reason) for each in folders]

"""What a folder of images holds: its splits, its classes, the files of each, and what is left out and why.

Recognised: CLASS/**/image; train/CLASS/**/image with validation and test beside it, under any of their usual
names; a single level around or between that means nothing (photos/flower_photos/daisy, train/images/daisy). A
folder whose classes cannot be told is refused.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.spec import SPLITS, LeftOut
from pipeline.data.tree import GENERIC, Folder, images, read_tree
from pipeline.data.tree import shown as shown
from pipeline.data.tree import within as within
from pipeline.errors import PipelineError, some

SPLIT_WORDS = {
    "train": ("train", "training", "trainset", "trn"),
    "validation": ("validation", "val", "valid", "valset", "dev", "development"),
    "test": ("test", "testing", "testset", "tst"),
}
"""The words by which a folder's name says which split it holds: train, Training_set, seg_test, valid."""
MAX_WORDS = 3
"""A name of more words, such as "train of the old line", is no split's."""
EXAMPLE = "A folder of class/image files was expected, such as flowers/daisy/1.jpg and flowers/rose/2.jpg."
NOT_IN_CLASS = "not in a class folder"


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


def list_folder(root: Path) -> Listing:
    """The files below root by class and split, and those left out. Links are followed, except loops.

    Raises PipelineError where it cannot be told which folders are the classes.
    """
    listing = Listing()
    whole = read_tree(root, listing.left_out)
    top = _descend(whole, root, listing)
    if top is not whole and split_of_name(top.name):
        listing.notes.append(f"{within(root, top.path)}/ is the only split: content divides its images")
    parts = _split_folders(top, root, listing)
    parts_or_all: Sequence[tuple[str | None, Folder]] = parts or [(None, top)]
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


def split_of_name(name: str) -> str | None:
    """The split that a folder's name means, or None."""
    words = [word for word in re.split(r"[^a-z]+", re.sub(r"set\b", "", name.lower())) if word]
    roles = {split for split, known in SPLIT_WORDS.items() for word in words if word in known}
    return roles.pop() if len(roles) == 1 and len(words) <= MAX_WORDS else None


def class_name_of(folder: str) -> str:
    """The class of a folder's name: composed Unicode, which a Mac decomposes in its zip files."""
    return unicodedata.normalize("NFC", shown(folder))


def _take(folder: Folder, split: str | None, listing: Listing) -> None:
    name = class_name_of(folder.name)
    if name != shown(folder.name):
        listing.decomposed.add(name)
    listing.classes.add(name)
    for each in folder.below():
        listing.files += [Found(path=file, class_name=name, fixed=split) for file in each.files]


def _descend(folder: Folder, root: Path, listing: Listing) -> Folder:
    """The folder in which the classes or splits are, behind levels that are alone and mean nothing."""
    inner = folder
    while len(inner.holders) == 1 and not images(inner.files):
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


def _split_folders(top: Folder, root: Path, listing: Listing) -> list[tuple[str, Folder]]:
    """(split, folder) where the folders in `top` are splits with classes in them; else none."""
    named = {each: split_of_name(each.name) for each in top.holders}
    parts = [(split, each) for each, split in named.items() if split and not each.is_flat]
    others = [each for each in top.holders if each not in {folder for _, folder in parts}]
    kinds = {split for split, _ in parts}
    if not kinds or (others and "train" not in kinds):
        return _beside_classes(top, parts, others, root, listing)
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


def _beside_classes(
    top: Folder,
    parts: Sequence[tuple[str, Folder]],
    others: Sequence[Folder],
    root: Path,
    listing: Listing,
) -> list[tuple[str, Folder]]:
    """The splits where no folder holds training classes: those beside the class folders, or none.

    Raises PipelineError if a folder is called as a split is, and may be none.
    """
    classes = {each.name for each in others}
    if parts and all({each.name for each in folder.holders} <= classes for _, folder in parts):
        _leave_out(top.files, root, NOT_IN_CLASS, listing)
        train = Folder(top.path, folders=list(others), num_images=sum(each.num_images for each in others))
        return [("train", train), *parts]
    if len(top.holders) < 2:
        return []
    split_of = {each.name: split_of_name(each.name) for each in top.holders if _only_a_split(each.name)}
    split_of = {each.name: split_of.get(each.name) for each in top.holders}
    doubtful = [name for name, split in split_of.items() if split]
    if not doubtful and _parted_by_split(split_of):
        doubtful = list(split_of)
    if len(split_of) - len(doubtful) > 1 and all(split_of[name] == "train" for name in doubtful):
        listing.notes += [f"{shown(name)}/ is read as a class, not as a split" for name in doubtful]
    elif doubtful:
        inside = ", without class folders in it" if split_of[doubtful[0]] else ""
        look = "look like splits" if len(doubtful) > 1 else "looks like a split"
        raise PipelineError(
            f"{shown(top.path)} holds {_names(top.holders)}: {some(map(shown, doubtful))} {look}{inside}."
            f"{_first_file(top)} Sort the images into train/CLASS and test/CLASS folders, or CLASS folders "
            "alone; if it is a class, call its folder otherwise."
        )
    return []


def _only_a_split(name: str) -> bool:
    """Whether nothing in a split's name could be a class's, as in "test tube"."""
    known = {*itertools.chain(*SPLIT_WORDS.values()), *GENERIC, "seg", "set", "split", "folder"}
    return {*re.split(r"[^a-z]+", name.lower())} - {""} <= known


def _parted_by_split(names: Iterable[str]) -> bool:
    """Whether names say a split beside something else, as in cats_train and cats_test."""
    words = [set(re.split(r"[^a-z]+", name.lower())) for name in names]
    found = [{split for split, known in SPLIT_WORDS.items() if each & {*known}} for each in words]
    return len(set().union(*found)) > 1 and 2 * sum(map(bool, found)) >= len(found)


def _first_file(top: Folder) -> str:
    """The name of an image in the first of the folders, which may say its class."""
    folder = next(each for each in sorted(top.holders, key=lambda each: each.name != "train"))
    file = next(file for each in folder.below() for file in images(each.files))
    return f" An image is {within(top.path, file)}."


def _check_others(others: Sequence[Folder], parts: Sequence[tuple[str, Folder]], root: Path) -> None:
    """Raises PipelineError if folders beside the splits may be classes."""
    unnamed = [each for each in others if split_of_name(each.name) is None]
    if len(unnamed) > len(parts):
        splits = _names(each for _, each in parts)
        raise PipelineError(
            f"{shown(root)} holds {splits}, which look like splits, and {_names(unnamed)}, which do not. "
            f"If all are classes, rename {splits}; if not, give a folder that holds train, validation and "
            "test alone."
        )


def _check_not_deeper(level: Folder) -> None:
    """Raises PipelineError if the folders in `level` look like groups that repeat the same classes."""
    holders = level.holders
    if len(holders) < 2 or any(images(each.files) or len(each.holders) < 2 for each in holders):
        return
    inner = Counter(inside.name.lower() for each in holders for inside in each.holders)
    repeated = [name for name, count in inner.items() if count > 1]
    if 2 * len(repeated) > len(inner):
        raise PipelineError(
            f"{shown(level.path)} holds {_names(holders)}, and each of these holds {some(repeated)}: the "
            f"classes seem to lie one level deeper. Give one of the folders, such as "
            f"{shown(holders[0].path)}, or put the images of each class into one folder."
        )


def _note_deeper(level: Folder, listing: Listing) -> None:
    deeper = [each for each in level.holders if len(each.holders) > 1 and not images(each.files)]
    if deeper and len(deeper) == len(level.holders):
        first = deeper[0]
        listing.notes.append(
            f"the folders in a class folder are read as one class: {shown(first.name)} holds "
            f"{_names(first.holders)}; if those are the classes, put them side by side"
        )


def _note_parts(parts: Sequence[tuple[str, Folder]], root: Path, listing: Listing) -> None:
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


def _names(folders: Iterable[Folder]) -> str:
    return some([f"{shown(each.name)}/" for each in folders])


def _leave_out(files: Iterable[Path], root: Path, reason: str, listing: Listing) -> None:
    listing.left_out += [LeftOut(path=within(root, file), reason=reason) for file in files]


def _leave_out_folders(folders: Iterable[Folder], root: Path, reason: str, listing: Listing) -> None:
    listing.left_out += [LeftOut(path=within(root, each.path), reason=reason) for each in folders]

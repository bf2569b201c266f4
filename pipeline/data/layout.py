"""What a folder of images holds: its splits, its classes, the files of each, and what is left out and why.

Recognised: CLASS/**/image; train/CLASS/**/image with validation and test beside it, under any of their usual
names; a single level around or between that means nothing (photos/flower_photos/daisy, train/images/daisy). A
folder whose classes cannot be told is refused.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.data.address import LEAF, DataChoice
from pipeline.data.label_table import list_table
from pipeline.data.listing import Listing, spelled_alike
from pipeline.data.nested import check_not_nested, leaves, repeated_leaves
from pipeline.data.spec import SPLITS, LeftOut
from pipeline.data.split_names import only_a_split, parted_by_split, split_of_name
from pipeline.data.tree import Folder, names_of, read_tree
from pipeline.data.tree import shown as shown
from pipeline.data.tree import within as within
from pipeline.errors import PipelineError
from spelling import counted, some

EXAMPLE = "A folder of class/image files was expected, such as flowers/daisy/1.jpg and flowers/rose/2.jpg."
NOT_IN_CLASS = "not in a class folder"


def list_folder(root: Path, *, classes: str | None = None, given: Path | None = None) -> Listing:
    """The files below root by class and split, and those left out. Links are followed, except loops.

    `classes` says which of nested folders are the classes; `given` is what the user named, if it is not the
    folder itself. Raises PipelineError where the classes cannot be told.
    """
    listing = Listing()
    whole = read_tree(root, listing.left_out)
    top = _descend(whole, root, listing)
    if top is not whole and split_of_name(top.name):
        listing.notes.append(f"{within(root, top.path)}/ is the only split: content divides its images")
    if _is_labelled_by_table(top):
        _take_table(top, None, root, listing)
        return listing
    parts = _split_folders(top, root, listing)
    parts_or_all: Sequence[tuple[str | None, Folder]] = parts or [(None, top)]
    for split, folder in parts_or_all:
        if split and folder.is_flat:
            _take_table(folder, split, root, listing)
            continue
        level = _descend(folder, root, listing) if split else folder
        if classes is None:
            check_not_nested(level, shown(given or root))
        _leave_out(level.paths(), root, NOT_IN_CLASS, listing)
        for each in level.folders:
            if classes == LEAF and each.num_images:
                for name, leaf in leaves(each):
                    _take(name, leaf.paths(), split, listing)
            else:
                _take(each.name, _below(each), split, listing)
        if classes == LEAF and (repeated := repeated_leaves(level)):
            listing.notes.append(f"folders at several places are one class: {some(repeated, quoted=True)}")
    listing.splits |= {split for split, _ in parts}
    _note_parts(parts, root, listing)
    _note_names(listing)
    return listing


def class_name_of(folder: str) -> str:
    """The class of a folder's name: composed Unicode, which a Mac decomposes in its zip files."""
    return unicodedata.normalize("NFC", shown(folder))


def _below(folder: Folder) -> Iterable[str]:
    return itertools.chain.from_iterable(each.paths() for each in folder.below())


def _take(folder: str, files: Iterable[str], split: str | None, listing: Listing) -> None:
    """Takes the files as the class that a folder's name says."""
    name = class_name_of(folder)
    if name != shown(folder):
        listing.decomposed.add(name)
    listing.classes.add(name)
    listing.files.add(files, (name,), split)


def _is_labelled_by_table(top: Folder) -> bool:
    """Whether a table in the folder gives the labels, since no folders in it do."""
    if top.label_table is None:
        return False
    return top.is_flat or all(each.is_flat and split_of_name(each.name) for each in top.holders)


def _take_table(folder: Folder, split: str | None, root: Path, listing: Listing) -> None:
    """Takes the images that the folder's table names; the others are left out."""
    table = folder.label_table
    assert table is not None
    choice = DataChoice()
    if table.suffix == ".txt":  # Tiny ImageNet's: file, class, and a box
        choice = DataChoice(file="1", label="2", images="images")
    found = list_table(table, choice)
    listing.notes.append(f"the labels of {within(root, folder.path)}/ are those of {table.name}")
    listing.notes += found.notes
    for group in found.files.groups:
        listing.files.add(group.paths, group.labels, split or group.fixed)
    listing.classes |= found.classes
    listing.splits |= found.splits
    listing.has_several_labels |= found.has_several_labels
    named = {str(table), *itertools.chain.from_iterable(group.paths for group in found.files.groups)}
    rest = [file for file in _below(folder) if file not in named]
    _leave_out(rest, root, f"not named in {table.name}", listing)


def _descend(folder: Folder, root: Path, listing: Listing) -> Folder:
    """The folder in which the classes or splits are, behind levels that are alone and mean nothing."""
    inner = folder
    while len(inner.holders) == 1 and not inner.images:
        inner = inner.holders[0]
    if len(inner.holders) < 2:
        return folder
    while folder is not inner:
        _leave_out(folder.paths(), root, NOT_IN_CLASS, listing)
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
    parts = [
        (split, each) for each, split in named.items() if split and (not each.is_flat or each.label_table)
    ]
    others = [each for each in top.holders if each not in {folder for _, folder in parts}]
    kinds = {split for split, _ in parts}
    if not kinds or (others and "train" not in kinds):
        return _beside_classes(top, parts, others, root, listing)
    if "train" not in kinds:
        raise PipelineError(
            f"{shown(root)} holds {names_of(each for _, each in parts)}, and no folder to train on. Expected "
            f"train, with {' and '.join(sorted(kinds))} beside it, or folders of classes alone."
        )
    _check_others(others, parts, root)
    _leave_out(top.paths(), root, NOT_IN_CLASS, listing)
    for each in others:
        split = named[each]
        reason = f"the {split} images are in no class folder" if split else "not in a split's folder"
        _leave_out_folders([each], root, reason, listing)
        listing.notes.append(f"{names_of([each])} left out: {counted(each.num_images, 'image')}, {reason}")
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
        _leave_out(top.paths(), root, NOT_IN_CLASS, listing)
        train = Folder(top.path, folders=list(others), num_images=sum(each.num_images for each in others))
        return [("train", train), *parts]
    if len(top.holders) < 2:
        return []
    split_of = {each.name: split_of_name(each.name) for each in top.holders if only_a_split(each.name)}
    split_of = {each.name: split_of.get(each.name) for each in top.holders}
    doubtful = [name for name, split in split_of.items() if split]
    if not doubtful and parted_by_split(split_of):
        doubtful = list(split_of)
    if len(split_of) - len(doubtful) > 1 and all(split_of[name] == "train" for name in doubtful):
        listing.notes += [f"{shown(name)}/ is read as a class, not as a split" for name in doubtful]
    elif doubtful:
        inside = ", without class folders in it" if split_of[doubtful[0]] else ""
        look = "look like splits" if len(doubtful) > 1 else "looks like a split"
        raise PipelineError(
            f"{shown(top.path)} holds {names_of(top.holders)}: {some(map(shown, doubtful))} {look}{inside}."
            f"{_first_file(top)} Sort the images into train/CLASS and test/CLASS folders, or CLASS folders "
            "alone; if it is a class, call its folder otherwise."
        )
    return []


def _first_file(top: Folder) -> str:
    """The name of an image in the first of the folders, which may say its class."""
    folder = next(each for each in sorted(top.holders, key=lambda each: each.name != "train"))
    file = next(each.path / name for each in folder.below() for name in each.images)
    return f" An image is {within(top.path, file)}."


def _check_others(others: Sequence[Folder], parts: Sequence[tuple[str, Folder]], root: Path) -> None:
    """Raises PipelineError if folders beside the splits may be classes."""
    unnamed = [each for each in others if split_of_name(each.name) is None]
    if len(unnamed) > len(parts):
        splits = names_of(each for _, each in parts)
        raise PipelineError(
            f"{shown(root)} holds {splits}, which look like splits, and {names_of(unnamed)}, which do not. "
            f"If all are classes, rename {splits}; if not, give a folder that holds train, validation and "
            "test alone."
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


def _leave_out(files: Iterable[str], root: Path, reason: str, listing: Listing) -> None:
    listing.left_out += [LeftOut(path=within(root, Path(file)), reason=reason) for file in files]


def _leave_out_folders(folders: Iterable[Folder], root: Path, reason: str, listing: Listing) -> None:
    listing.left_out += [LeftOut(path=within(root, each.path), reason=reason) for each in folders]


def list_images(root: Path, *, name: str | None = None) -> Listing:
    """Every image below root, for calibration: by class where the classes can be told, else as one class.

    `name` is that of the one class; default: the folder's.
    """
    try:
        listing = list_folder(root)
    except PipelineError:
        listing = Listing()
    if len(listing.files):
        return listing
    flat = Listing()
    whole = read_tree(root, flat.left_out)
    name = class_name_of(name or root.resolve().name)
    _take(name, _below(whole), "train", flat)
    flat.splits = {"train", "validation", "test"}
    flat.notes.append("there are no class folders: the images are for calibration alone")
    return flat

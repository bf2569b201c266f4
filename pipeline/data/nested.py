"""Folders in folders: which of them are the classes, where that can be told, or as the user says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from pipeline.data.address import LEAF, TOP
from pipeline.data.tree import Folder, names_of, shown
from pipeline.errors import PipelineError, UsageError
from pipeline.shell import quoted
from spelling import some


def check_not_nested(level: Folder, root: str) -> None:
    """Raises PipelineError if the classes may lie deeper than the folders in `level`."""
    holders = level.holders
    if len(holders) < 2 or any(each.images for each in holders):
        return
    _check_not_repeated(level, root)
    nested = next((each for each in holders if len(list(leaves(each))) > 1), None)
    if nested is None:
        return
    num_leaves = sum(len(list(leaves(each))) for each in holders)
    inner = nested
    while len(inner.holders) == 1:
        inner = inner.holders[0]
    raise UsageError(
        f"{root} holds {names_of(holders)}, and {shown(nested.path.name)} holds "
        f"{names_of(inner.holders)}: the classes may be the {len(holders)} outer folders or the "
        f"{num_leaves:,} that hold the images. Say which: --data {_address(root, LEAF)} for those with the "
        f"images, {_address(root, TOP)} for the outer ones."
    )


def leaves(folder: Folder) -> Iterator[tuple[str, Folder]]:
    """(class, folder) for each folder that directly holds images, this one or below.

    Of one called images, the name is that of the folder around it.
    """
    yield from _leaves(folder, folder.name)


def _leaves(folder: Folder, name: str) -> Iterator[tuple[str, Folder]]:
    if folder.images:
        yield name, folder
    for each in folder.holders:
        yield from _leaves(each, name if each.means_nothing else each.name)


def repeated_leaves(level: Folder) -> list[str]:
    """The names that folders with images have at several places."""
    places: dict[str, list[Folder]] = defaultdict(list)
    for each in level.holders:
        for name, leaf in leaves(each):
            places[name].append(leaf)
    return sorted(name for name, there in places.items() if len(there) > 1)


def _check_not_repeated(level: Folder, root: str) -> None:
    """Raises PipelineError if the folders in `level` look like groups that repeat the same classes."""
    holders = level.holders
    if any(len(each.holders) < 2 for each in holders):
        return
    inner = Counter(inside.name.lower() for each in holders for inside in each.holders)
    repeated = [name for name, count in inner.items() if count > 1]
    if 2 * len(repeated) > len(inner):
        raise PipelineError(
            f"{shown(level.path)} holds {names_of(holders)}, and each of these holds {some(repeated)}: the "
            f"classes seem to lie one level deeper. Give one of the folders, such as "
            f"{shown(holders[0].path)}, or all with --data {_address(root, LEAF)}, which puts folders of one "
            "name together."
        )


def _address(root: str, classes: str) -> str:
    return quoted(f"{root}?classes={classes}")

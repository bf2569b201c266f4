"""A copy of a folder in which classes whose names differ only in case or blanks are one."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from export.partial import partial_folder, sweep
from pipeline.data.layout import list_folder, shown
from pipeline.data.listing import spelled_alike
from pipeline.errors import PipelineError, UsageError


def merge_classes(root: Path, out: Path, *, progress: Callable[[int, int], None]) -> dict[str, str]:
    """Writes the copy to the new folder `out` and returns the old name of each merged class -> the new one.

    The name with the most images is kept. Files are linked where the disk allows it, so that the copy takes
    no space. The folder is complete or not there. Raises UsageError if it exists, PipelineError if no names
    are alike.
    """
    if out.exists():
        raise UsageError(f"{out} is there already. Give the name of a new folder.")
    if not root.is_dir():
        raise UsageError(f"{root} is no folder. Expected one of class/image files.")
    listing = list_folder(root)
    counts = Counter(each.class_name for each in listing.files)
    names = {
        name: max(group, key=lambda each: counts[each])
        for group in spelled_alike(listing.classes)
        for name in group
    }
    if not names:
        raise PipelineError(f"{shown(root)} has no classes whose names differ only in case or blanks.")
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out.parent)
    with partial_folder(out) as scratch:
        for done, each in enumerate(listing.files, start=1):
            folder = Path(scratch, "whole", each.fixed or "", names.get(each.class_name, each.class_name))
            folder.mkdir(parents=True, exist_ok=True)
            _link(each.path, _free(folder / each.path.name))
            progress(done, len(listing.files))
        Path(scratch, "whole").rename(out)
    return {old: new for old, new in names.items() if old != new}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)


def _free(path: Path) -> Path:
    """The path, or one with a number if it is taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free

"""Which columns of a table hold the files, the labels and the splits; and the file that a cell names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.address import DataChoice, address_of
from pipeline.data.split_names import split_of_name
from pipeline.data.table_file import Table
from pipeline.data.tree import in_words, shown
from pipeline.errors import UsageError, unknown_name
from pipeline.shell import quoted
from spelling import some

FILE_COLUMNS = (
    "path", "file", "filename", "filepath", "image", "imagepath", "imagename", "imagefile", "img",
    "imgpath", "imageid", "imageindex", "id",
)  # fmt: skip
"""Names of the column with the file, first come first taken; case, blanks, - and _ do not count."""
LABEL_COLUMNS = (
    "label", "labels", "class", "classes", "classname", "classlabel", "category", "categories", "target",
    "tag", "tags", "species", "breed", "diagnosis", "findinglabels",
)  # fmt: skip
SPLIT_COLUMNS = ("split", "subset", "set", "partition")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
"""Endings that are tried where a file's name has none."""
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that are read."""

    file: str
    label: str | None
    """None: the columns `each` are a class each."""
    each: tuple[str, ...] = ()
    split: str | None = None


def with_names(table: Table, root: Path, choice: DataChoice, notes: list[str]) -> Table:
    """The table, its first row as the names of the columns unless that names a file."""
    if table.is_named:
        return table
    cells = [str(cell) for cell in table.rows[0].cells.values()]
    names_a_file = any(file_named(root, cell) for cell in cells)
    chosen = {_plain(name) for name in (choice.file, choice.label) if name}
    known = {*FILE_COLUMNS, *LABEL_COLUMNS, *SPLIT_COLUMNS, *chosen}
    if not names_a_file and {_plain(cell) for cell in cells} & known:
        return table.with_header()
    if names_a_file or {choice.file, choice.label} & set(table.columns):
        if not choice.file:
            notes.append(f"{shown(table.path.name)} has no header: what the columns hold tells them")
        return table
    if len(table.rows) > 1 and any(file_named(root, str(cell)) for cell in table.rows[1].cells.values()):
        return table.with_header()
    raise UsageError(
        f"the first line of {shown(table.path)}, {some(cells, quoted=True)}, is no header with a column for "
        f"the file (such as path, file, image), nor does it name a file in {in_words(root)}. Name the column "
        f"({address_with(table.path, file='COLUMN')}), or the folder of the images "
        f"({address_with(table.path, images='FOLDER')})."
    )


def columns_of(table: Table, root: Path, choice: DataChoice, notes: list[str]) -> Columns:
    """The columns to read: those chosen, those whose names are known, or what is left."""
    split = _known(table, SPLIT_COLUMNS)[:1]
    if not table.is_named:
        cells = {name: [str(row.cells[name]) for row in table.rows] for name in table.columns}
        split = [name for name in table.columns if all(map(split_of_name, cells[name]))]
    file = _file_column(table, root, choice)
    left = [name for name in table.columns if name != file and name not in split[:1]]
    at = split[0] if split else None
    if choice.label is not None:
        if choice.label not in table.columns:
            raise unknown_name(f"column of {table.path.name}", choice.label, table.columns)
        return Columns(file=file, label=choice.label, split=at if at != choice.label else None)
    known = [name for name in _known(table, LABEL_COLUMNS) if name != file]
    if not known and len(left) == 1 and table.is_named:
        notes.append(f"the column '{shown(left[0])}' is read as the label")
    if len(known) == 1 or len(left) == 1:
        return Columns(file=file, label=(known or left)[0], split=at)
    flags = tuple(name for name in left if all(flag_of(row.cells[name]) is not None for row in table.rows))
    if not known and len(flags) > 1 and table.is_named:
        ignored = [name for name in left if name not in flags]
        more = f"; left out: {some(ignored, quoted=True)}" if ignored else ""
        notes.append(f"a column a class: {some(flags, quoted=True)}{more}")
        return Columns(file=file, label=None, each=flags, split=at)
    what = f"{len(known)} columns" if known else "no column"
    raise UsageError(
        f"{shown(table.path)} has {what} known to hold the label: {some(known or left, quoted=True)}. "
        "Expected one, called label or "
        f"class, or a column of 0 and 1 a class. Name it: --data "
        f"{address_with(table.path, label=(known or left or ['COLUMN'])[0])}"
    )


def file_named(root: Path, name: str) -> Path | None:
    """The file of this name, which may lack its ending or have backslashes; None if there is none."""
    if not name or "\0" in name:
        return None
    names = dict.fromkeys([name, name.replace("\\", "/")])
    endings = ("",) if Path(name).suffix.lower() in ENDINGS else ("", *ENDINGS)
    for each in names:
        for ending in endings:
            path = root / f"{each}{ending}"
            try:
                if path.is_file():
                    return path
            except OSError:  # a name too long
                return None
    return None


def flag_of(value: Any) -> bool | None:  # noqa: ANN401
    """Whether a class holds; None for a cell that says neither."""
    text = "" if value is None else str(value).strip().lower()
    return True if text in _YES else False if text in _NO else None


def address_with(path: Path, **choice: str) -> str:
    """An address with a choice, as a shell reads it."""
    return quoted(address_of(shown(path), DataChoice(**choice)))


def _file_column(table: Table, root: Path, choice: DataChoice) -> str:
    if choice.file is not None:
        if choice.file not in table.columns:
            raise unknown_name(f"column of {table.path.name}", choice.file, table.columns)
        return choice.file
    known = _known(table, FILE_COLUMNS)
    if known:
        return known[0]
    first = table.rows[0].cells
    held = [name for name in table.columns if isinstance(first[name], str) and file_named(root, first[name])]
    if len(held) == 1:
        return held[0]
    raise UsageError(
        f"{shown(table.path)} has no column known to hold the file: {some(table.columns, quoted=True)}. "
        "Expected one called path, file or image. Name it: --data "
        f"{address_with(table.path, file=table.columns[0])}"
    )


def _known(table: Table, names: Sequence[str]) -> list[str]:
    """The columns with one of the names, in the order of the names."""
    plain = {_plain(column): column for column in reversed(table.columns)}
    return [plain[name] for name in names if name in plain]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()

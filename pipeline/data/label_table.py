"""A table of files and labels as a listing: which columns hold what, and what is wrong with a row."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.address import DataChoice
from pipeline.data.listing import Listing, spelled_alike
from pipeline.data.split_names import split_of_name
from pipeline.data.table_columns import Columns, address_with, columns_of, file_named, flag_of, with_names
from pipeline.data.table_file import Row, Table, read_table
from pipeline.data.tree import in_words, shown
from pipeline.errors import UsageError
from spelling import some

SEPARATORS = {"space": " ", "comma": ",", "semicolon": ";", "none": "\0"}
"""Words for separators that an address holds badly."""
_AUTOMATIC = "|;"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A row that was read."""

    line: int
    path: Path
    name: str
    """The file as the table writes it."""
    labels: tuple[str, ...]
    split: str | None


def list_table(path: Path, choice: DataChoice | None = None) -> Listing:
    """The files and labels of a table. UsageError, with the line, for one that cannot be read."""
    choice = choice or DataChoice()
    root = path.parent / (choice.images or "")
    listing = Listing()
    table = with_names(read_table(path), root, choice, listing.notes)
    columns = columns_of(table, root, choice, listing.notes)
    entries = list(_entries(table, columns, root, choice))
    _check_there(entries, path, root)
    entries = _without_copies(entries, path, listing)
    _check_labelled(entries, columns, table, listing, choice)
    splits = _splits(entries, listing)
    for entry, split in zip(entries, splits, strict=True):
        listing.files.add([str(entry.path)], entry.labels, split)
    listing.splits = {split for split in splits if split}
    listing.class_order = columns.each or _ordered({name for entry in entries for name in entry.labels})
    listing.classes = set(listing.class_order)
    for names in spelled_alike(listing.classes):
        listing.notes.append(f"the classes {some(names, quoted=True)} differ only in case or blanks")
    return listing


def _entries(table: Table, columns: Columns, root: Path, choice: DataChoice) -> Iterator[_Entry]:
    read = _reader_of_labels(table, columns, choice)
    for row in table.rows:
        name = row.cells[columns.file]
        name = str(name) if isinstance(name, int) else name
        if not isinstance(name, str) or not name:
            raise UsageError(f"line {row.line} of {shown(table.path)} names no file in '{columns.file}'.")
        if re.match(r"[a-z]+://", name):
            raise UsageError(
                f"line {row.line} of {shown(table.path)} names {shown(name)}, an address and no file. "
                "Download the images, and name them by their paths."
            )
        labels = tuple(dict.fromkeys(unicodedata.normalize("NFC", label) for label in read(row)))
        if any(unicodedata.category(letter) == "Cc" for label in labels for letter in label):
            raise UsageError(f"line {row.line} of {shown(table.path)} has a label with a control character.")
        yield _Entry(
            line=row.line,
            path=file_named(root, name) or root / name,
            name=name,
            labels=labels,
            split=_split(table, row, columns.split),
        )


def _reader_of_labels(table: Table, columns: Columns, choice: DataChoice) -> Any:  # noqa: ANN401 - a closure
    """A function from a row to its labels."""
    if columns.label is None:
        return lambda row: [name for name in columns.each if flag_of(row.cells[name])]
    column = columns.label
    separator = choice.separator and SEPARATORS.get(choice.separator, choice.separator)
    if separator is None:
        texts = [text for row in table.rows if isinstance(text := row.cells[column], str)]
        separator = next((each for each in _AUTOMATIC if any(each in text for text in texts)), "")

    def labels(row: Row) -> list[str]:
        value = row.cells[column]
        values = value if isinstance(value, list) else [value]
        if separator and isinstance(value, str):
            values = value.split(separator)
        if not all(isinstance(each, str | int | float | None) for each in values):
            raise UsageError(f"line {row.line} of {shown(table.path)} has a label that is no text or number.")
        return [label for each in values if each is not None and (label := str(each).strip())]

    return labels


def _split(table: Table, row: Row, column: str | None) -> str | None:
    if column is None:
        return None
    split = split_of_name(str(row.cells[column]))
    if split is None:
        raise UsageError(
            f"line {row.line} of {shown(table.path)} has the split '{shown(str(row.cells[column]))}'. "
            "Expected train, validation or test in each row, or no such column."
        )
    return split


def _check_there(entries: Sequence[_Entry], path: Path, root: Path) -> None:
    missing = [entry for entry in entries if not entry.path.is_file()]
    if not missing:
        return
    first = missing[0]
    names = some([f"{shown(entry.name)} (line {entry.line})" for entry in missing])
    inner = [each for each in sorted(root.iterdir()) if each.is_dir() and file_named(each, first.name)]
    advice = "Put them there, or take their rows out."
    if inner:
        folder = os.path.relpath(inner[0], path.parent)
        advice = f"{shown(folder)}/ holds the first: --data {address_with(path, images=folder)}"
    raise UsageError(
        f"{len(missing):,} of {len(entries):,} files that {shown(path)} names are not in {in_words(root)}: "
        f"{names}. {advice}"
    )


def _without_copies(entries: Sequence[_Entry], path: Path, listing: Listing) -> list[_Entry]:
    """The first row of each file. UsageError if another gives it other labels or another split."""
    rows: dict[str, _Entry] = {}
    for entry in entries:
        first = rows.setdefault(os.path.normpath(entry.path), entry)
        if (set(first.labels), first.split) == (set(entry.labels), entry.split):
            continue
        what = "splits" if set(first.labels) == set(entry.labels) else "labels"
        both = [each.split if what == "splits" else " + ".join(each.labels) for each in (first, entry)]
        raise UsageError(
            f"{shown(path)} gives {shown(entry.name)} two {what}: '{both[0]}' (line {first.line}) and "
            f"'{both[1]}' (line {entry.line}). Expected one row a file; several labels of an image stand in "
            "one cell, such as 'cat|dog'."
        )
    if len(rows) < len(entries):
        listing.notes.append(f"{len(entries) - len(rows):,} rows of {shown(path.name)} repeat another")
    return list(rows.values())


def _check_labelled(
    entries: Sequence[_Entry], columns: Columns, table: Table, listing: Listing, choice: DataChoice
) -> None:
    """Says whether an image has several labels. UsageError for rows without a label where each has one."""
    most = max(len(entry.labels) for entry in entries)
    is_flagged = bool(columns.each) and any(len(entry.labels) != 1 for entry in entries)
    listing.has_several_labels = most > 1 or is_flagged
    if listing.has_several_labels:
        mean = sum(len(entry.labels) for entry in entries) / len(entries)
        is_listed = columns.each or isinstance(table.rows[0].cells[str(columns.label)], list)
        listing.notes.append(
            f"an image has several labels, {mean:.2g} on average"
            + (
                ""
                if is_listed or choice.separator
                else ". If | and ; are parts of one label: ?separator=none"
            )
        )
        return
    unlabelled = [entry for entry in entries if not entry.labels]
    if unlabelled:
        raise UsageError(
            f"{shown(table.path)} gives {len(unlabelled):,} of {len(entries):,} files no label, the first in "
            f"line {unlabelled[0].line}. Expected a label in each: fill them in, or take these rows out."
        )


def _splits(entries: Sequence[_Entry], listing: Listing) -> list[str | None]:
    """The split of each file: of its column, or of the first folder of its path if all have such folders."""
    splits = [entry.split for entry in entries]
    if any(splits):
        return splits
    folders = [Path(entry.name.replace("\\", "/")).parts for entry in entries]
    first = {parts[0]: split_of_name(parts[0]) if len(parts) > 1 else None for parts in folders}
    if len(set(first.values())) < 2 or None in first.values() or "train" not in first.values():
        return splits
    listing.notes.append("the splits are the first folders of the paths: " + some(sorted(first)))
    return [first[parts[0]] for parts in folders]


def _ordered(names: set[str]) -> tuple[str, ...]:
    """By name; numbers by their value."""
    if all(re.fullmatch(r"[0-9]{1,9}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))

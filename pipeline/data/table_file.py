"""Reads a table: CSV with commas, semicolons or tabs, a list with blanks, JSON lines, or a JSON list."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.tree import shown
from pipeline.errors import UsageError

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
MAX_BYTES = 512 * 2**20
"""A larger file is not read: a row an image, that is millions of images."""
_DELIMITERS = {".tsv": "\t", ".txt": ",;\t "}
_NUM_SEEN = 20
"""Rows by which the delimiter is told."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: its line in the file, counted from 1, and its cells by column."""

    line: int
    cells: Mapping[str, Any]
    """Text; in JSON any value. A cell that is not there is None."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's columns and rows; until a header is told, the first row is one of them."""

    path: Path
    columns: tuple[str, ...]
    """The names of a JSON table; of others "1", "2" ..."""
    rows: tuple[Row, ...]
    is_named: bool
    """Whether the columns have their names."""

    def with_header(self) -> Table:
        """The same with the first row as the names of the columns."""
        names = tuple(str(name).strip() for name in self.rows[0].cells.values())
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UsageError(f"{shown(self.path)} has the column '{twice[0]}' twice. Rename one of them.")
        rows = [
            Row(line=row.line, cells=dict(zip(names, row.cells.values(), strict=True)))
            for row in self.rows[1:]
        ]
        return Table(path=self.path, columns=names, rows=_checked(self.path, rows), is_named=True)


def read_table(path: Path) -> Table:
    """The table in the file. UsageError for one that is empty, of another encoding, or has a broken line."""
    text = _text(path)
    if path.suffix.lower() in JSON_ENDINGS:
        objects = _objects(path, text)
        names = tuple(dict.fromkeys(name for _, each in objects for name in each))
        rows = [Row(line=line, cells={name: each.get(name) for name in names}) for line, each in objects]
        return Table(path=path, columns=names, rows=_checked(path, rows), is_named=True)
    lines = _lines(path, text, _delimiter(path, text))
    if not lines:
        raise _empty(path)
    width = len(lines[0][1])
    for line, cells in lines:
        if len(cells) != width:
            raise UsageError(
                f"line {line} of {shown(path)} has {len(cells)} cells, and the first line {width}. Expected "
                'as many in each; a cell that holds the delimiter stands in quotes, such as "cat, tabby".'
            )
    names = tuple(str(number + 1) for number in range(width))
    rows = [Row(line=line, cells=dict(zip(names, cells, strict=True))) for line, cells in lines]
    return Table(path=path, columns=names, rows=tuple(rows), is_named=False)


def _checked(path: Path, rows: Sequence[Row]) -> tuple[Row, ...]:
    if not rows:
        raise _empty(path)
    return tuple(rows)


def _empty(path: Path) -> UsageError:
    return UsageError(f"{shown(path)} has no row. Expected one an image, with its file and its label.")


def _text(path: Path) -> str:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_BYTES:
            raise UsageError(
                f"{shown(path)} has {size_bytes:,} bytes; at most {MAX_BYTES:,} are read. Divide it, or give "
                "a folder of class/image files."
            )
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {shown(path)} ({error.strerror}). Check its path and rights."
        ) from error
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{shown(path)} is not {'UTF-16' if is_utf16 else 'UTF-8'} (byte {error.start} is "
            f"0x{content[error.start]:02x}). Save it as UTF-8; a spreadsheet calls that CSV UTF-8."
        ) from error


def _lines(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of the lines that are not empty."""
    found = []
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                found.append((reader.line_num, stripped))
    except csv.Error as error:
        raise UsageError(
            f"line {reader.line_num} of {shown(path)} cannot be read ({error}). Check its quotes."
        ) from error
    return found


def _delimiter(path: Path, text: str) -> str:
    """The delimiter that gives every one of the first rows as many cells, and most of them."""
    first = "\n".join(text.splitlines()[: 10 * _NUM_SEEN])
    widths = {}
    for delimiter in _DELIMITERS.get(path.suffix.lower(), ",;\t"):
        rows = list(csv.reader(io.StringIO(first), delimiter=delimiter, skipinitialspace=True))
        counts = [len(row) for row in rows if any(row)][:_NUM_SEEN]
        is_even = len(set(counts)) == 1
        widths[delimiter] = (counts[0] > 1 and is_even, counts[0]) if counts else (False, 0)
    return max(widths, key=lambda delimiter: widths[delimiter])


def _objects(path: Path, text: str) -> list[tuple[int, Mapping[str, Any]]]:
    """(line, object) of JSON lines; (number, object) of a JSON list."""
    expected = 'Expected an object a line, such as {"file": "cat/1.jpg", "label": "cat"}.'
    found: list[tuple[int, Any]]
    if text.lstrip().startswith("["):
        found = list(enumerate(_json(path, text, 1, expected), start=1))
    else:
        numbered = enumerate(text.splitlines(), start=1)
        found = [(line, _json(path, each, line, expected)) for line, each in numbered if each.strip()]
    for line, each in found:
        if not isinstance(each, dict) or not all(isinstance(name, str) for name in each):
            raise UsageError(f"line {line} of {shown(path)} holds no object. {expected}")
    return found


def _json(path: Path, text: str, line: int, expected: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"line {line} of {shown(path)} is not JSON ({error}). {expected}") from error

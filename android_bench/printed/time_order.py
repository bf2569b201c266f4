"""Turns a log round whose newest line stands first, as collectors of logs and some exports show it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

_STAMP = re.compile(
    r"(?<!\d)(?:(?P<date>(?:\d{4}[-/])?\d\d[-/]\d\d)[T ])?(?P<clock>\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)(?!\d)"
    r"|(?<![\d.])(?P<epoch>\d{9,13}(?:\.\d{3,9})?)(?![\d.])"
)
_LONGEST_HEAD = 400
"""Letters of a line in which its time stands."""
_MARKS = re.compile(
    r"(STARTING!)|(Loaded model \S)|(Initialized session in \d)|(Running benchmark for at least \d)"
    r"|(nference timings in us: |Inference \(avg\): )"
)
"""What a run of the tool says, in this order."""

Stamp = tuple[str, str]
"""How the time is written, and the time, which sorts as text among those written alike."""


def oldest_first(text: str) -> str:
    """The text with its entries in the order of time; unchanged if nothing says that the newest is first.

    An entry is a line with a time and the lines without one behind it.
    """
    if _runs_forwards([text]):
        return text
    lines = text.splitlines()
    stamps = [stamp_of(line[:_LONGEST_HEAD]) for line in lines]
    begins = [number for number, stamp in enumerate(stamps) if stamp is not None]
    if not begins or not _decrease([stamps[number] for number in begins]) or _is_json(text):
        return text
    ends = [*begins[1:], len(lines)]
    entries = [lines[begin:end] for begin, end in zip(begins, ends, strict=True)]
    turned = [*lines[: begins[0]], *(line for entry in reversed(entries) for line in entry)]
    return "".join(f"{line}\n" for line in turned)


def is_newest_first(stamps: Sequence[Stamp | None], texts: Sequence[str]) -> bool:
    """Whether entries with these times and texts stand in the reverse order of time."""
    return _decrease(stamps) and not _runs_forwards(texts)


def stamp_of(text: str) -> Stamp | None:
    """The first time in a text: of a day, with or without its date, or in seconds since 1970."""
    found = _STAMP.search(text)
    if found is None:
        return None
    if found["epoch"]:
        whole, _, part = found["epoch"].partition(".")
        return "epoch", f"{whole:>013}.{part}"
    date = (found["date"] or "").replace("/", "-")
    return f"date of {len(date)}", f"{date} {found['clock'].replace(',', '.')}"


def _runs_forwards(texts: Iterable[str]) -> bool:
    """Whether the tool's words stand in its own order, more often than the other way round."""
    steps = list(pairwise(found.lastindex or 0 for text in texts for found in _MARKS.finditer(text)))
    return sum(before < after for before, after in steps) > sum(before > after for before, after in steps)


def _decrease(stamps: Sequence[Stamp | None]) -> bool:
    """Whether times go down more often than up."""
    pairs = list(pairwise(stamp for stamp in stamps if stamp is not None))
    alike = [(before[1], after[1]) for before, after in pairs if before[0] == after[0]]
    return sum(after < before for before, after in alike) > sum(after > before for before, after in alike)


def _is_json(text: str) -> bool:
    """Whether it is one JSON document, whose lines must stay where they are."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

"""The log inside JSON: a field of an artefact, the lines of a log collector, Android Studio's export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from android_bench.errors import LogError
from android_bench.printed.prefixes import mentions
from android_bench.printed.time_order import Stamp, is_newest_first, stamp_of

_STUDIO = "logcatMessages"
_BEGINS = re.compile(r"\s*(?:\{\s*\"|\[\s*[\"{]|\")")
_OBJECT = re.compile(r"\{\s*\"")
_MOST_NESTED = 50
_LONGEST_TIME = 40
_TIME_FIELD = re.compile(r"(?i)time|^ts$|date")
_TWO_AT_ONCE = re.compile(r"STARTING!\s*\n.{0,80}STARTING!")
_STDOUT, _STDERR = re.compile(r"(?i)\b(std_?)?out(put)?$"), r"(?i)\b(std_?)?err(or)?$"

Leaf = tuple[str, str]
"""A text and the names of the fields that lead to it, such as '.job.log'; places in a list do not count."""


def text_in_json(text: str) -> str | None:
    """The log that a JSON document, or lines of JSON, hold; None for a text that is neither.

    LogError if a document is cut, or if different logs stand in fields of one record.
    """
    if not _BEGINS.match(text):
        return _in_lines(text)
    try:
        document = json.loads(text)
    except ValueError as error:
        lines = _in_lines(text)
        if lines is None and mentions(text) and _is_cut(error, text):
            what = "an export of Android Studio" if _STUDIO in text else "JSON"
            raise LogError(
                f"it begins like {what}, but is cut or damaged: {error}. Give the whole file"
            ) from error
        return lines
    except RecursionError:
        return None
    if isinstance(document, dict) and isinstance(document.get(_STUDIO), list):
        return _exported(document[_STUDIO])
    return _chosen([list(_leaves(document, "", 0))])


def _is_cut(error: ValueError, text: str) -> bool:
    """Whether a document ends in a string, or went wrong late, not at its first words as a text does."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return "Unterminated" in error.msg or error.pos > min(20, len(text) // 2)


def _in_lines(text: str) -> str | None:
    """The log in the records of a text of which most lines are JSON; None for any other."""
    lines = text.splitlines()
    found = [record for line in lines if (record := _record(line)) is not None]
    if not found:
        return None
    if 2 * len(found) < sum(bool(line.strip()) for line in lines):
        return None
    chosen = _chosen([list(_leaves(record, "", 0)) for record in found])
    if chosen is not None and _TWO_AT_ONCE.search(chosen):
        raise LogError("lines of two runs stand between one another in it. Give each run in its own file")
    return chosen


def _record(line: str) -> dict[str, Any] | None:
    """The JSON object that ends a line, whatever stands before it."""
    rest = line.rstrip().rstrip(",")
    if not rest.endswith("}") or (begin := _OBJECT.search(rest)) is None:
        return None
    try:
        record = json.loads(rest[begin.start() :])
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _leaves(value: object, path: str, depth: int) -> Iterator[Leaf]:
    if isinstance(value, str):
        yield path, value
    elif depth < _MOST_NESTED and isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, f"{path}.{name}", depth + 1)
    elif depth < _MOST_NESTED and isinstance(value, list):
        for each in _in_time_order(value):
            yield from _leaves(each, path, depth + 1)


def _in_time_order(entries: list[Any]) -> list[Any]:
    """A list of records with times, the oldest first; any other list unchanged."""
    if len(entries) < 2 or not all(isinstance(each, dict) for each in entries):
        return entries
    texts = ["\n".join(leaf for _, leaf in _leaves(each, "", _MOST_NESTED - 3)) for each in entries]
    return entries[::-1] if is_newest_first([_time_of(each) for each in entries], texts) else entries


def _time_of(record: dict[str, Any]) -> Stamp | None:
    """The time of a record, in a field called so or in one that holds little else."""
    for name, value in record.items():
        if isinstance(value, int | float) and _TIME_FIELD.search(name):
            return name, f"{value:030.9f}"
        if isinstance(value, str) and len(value) <= _LONGEST_TIME and (stamp := stamp_of(value)):
            return stamp
    return None


def _chosen(records: Sequence[Sequence[Leaf]]) -> str | None:
    """The text of the field that holds the log; its standard error comes first."""
    by_path: dict[str, list[str]] = {}
    for record in records:
        for path, leaf in record:
            by_path.setdefault(path, []).append(leaf)
    telling = {path: leaves for path, leaves in by_path.items() if any(mentions(leaf) for leaf in leaves)}
    paths = _different(telling)
    if not paths:
        return None
    if len(paths) > 1 and not all(len(telling[path]) == 1 for path in paths):
        raise LogError(
            f"its log stands in several fields ({', '.join(path or 'the list' for path in paths)}), which "
            f"differ. Give one of them, such as by: jq -r '..|{paths[0]}? // empty'"
        )
    return "".join(_joined([*_errors(path, by_path), *telling[path]]) for path in paths)


def _different(telling: dict[str, list[str]]) -> list[str]:
    """The fields without those whose lines all stand in another, such as a collector's original message."""
    lines = {path: frozenset(_joined(leaves).splitlines()) for path, leaves in telling.items()}
    kept: list[str] = []
    for path in sorted(lines, key=lambda each: -len(lines[each])):
        if not any(lines[path] <= lines[other] for other in kept):
            kept.append(path)
    return [path for path in telling if path in kept]


def _errors(path: str, by_path: dict[str, list[str]]) -> list[str]:
    """What stands beside a field of standard output as its standard error."""
    if not _STDOUT.search(path):
        return []
    beside = path[: path.rfind(".") + 1]
    names = [
        each for each in by_path if each.startswith(beside) and re.fullmatch(_STDERR, each[len(beside) :])
    ]
    return [leaf for name in names for leaf in by_path[name]] if len(by_path[path]) == 1 else []


def _joined(leaves: Sequence[str]) -> str:
    """The texts below one another; a single one unchanged, since its last line may be cut."""
    return leaves[0] if len(leaves) == 1 else "".join(leaf.removesuffix("\n") + "\n" for leaf in leaves)


def _head(header: dict[str, Any]) -> str:
    """What logcat writes before a message."""
    millis = int(header["timestamp"].get("nanos", 0)) // 1_000_000
    return (
        f"{header['timestamp']['seconds']}.{millis:03d} {header['pid']} {header['tid']} "
        f"{header['logLevel'][0]} {header['tag']}"
    )


def _exported(messages: Sequence[Any]) -> str:
    """The messages that Android Studio exported, as lines of logcat."""
    try:
        lines = [
            f"{_head(each['header'])}: {line}" for each in messages for line in each["message"].splitlines()
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise LogError(
            f"it begins like an export of Android Studio, but a message lacks {error}. Export it again"
        ) from error
    return "".join(f"{line}\n" for line in lines)

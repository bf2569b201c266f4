"""Reads a labels file: the class names that an app shows, in the order of the outputs.

Text has one name a line, also with the numbers of Teachable Machine ("0 cat"). JSON holds a list of names,
{"0": "cat"} by the number of the output, or {"cat": 0} as Keras's class_indices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.limits import LABELS_BYTES
from export.reading import OutOfBoundsError, read_bytes
from pipeline.errors import UsageError
from spelling import counted

_NUMBERED = re.compile(r"(\d+)(?:\s*[:,;]\s*|\s+)(\S.*)")
_BACKGROUND = 1001
"""The outputs of a model trained on ImageNet's 1000 classes and a background class."""


def read_labels(path: Path, num_classes: int) -> tuple[str, ...]:
    """The names in the file, stripped of blanks. Names may repeat, as ImageNet's two cranes do.

    UTF-8, with or without a byte order mark; empty lines at the end are ignored. Raises UsageError for a file
    that cannot be read, is empty, has an empty name, or the wrong number of names.
    """
    text = _text(path)
    names = _from_json(path, text) if _is_json(path, text) else _unnumbered(_lines(text))
    if not names:
        raise UsageError(
            f"{path} is empty. Expected {counted(num_classes, 'class name')}, one a line, in the order of "
            "the outputs."
        )
    for number, name in enumerate(names, start=1):
        if not name:
            raise UsageError(f"line {number} of {path} is empty. Expected a class name on every line.")
        if "\0" in name:
            raise UsageError(f"line {number} of {path} holds a NUL character. Expected a text file.")
    if len(names) != num_classes:
        raise UsageError(
            f"{path} has {counted(len(names), 'class name')}, but the model has "
            f"{counted(num_classes, 'class', 'classes')}. "
            f"Expected one a line, in the order of the outputs.{_background(len(names), num_classes)}"
        )
    return tuple(names)


def _text(path: Path) -> str:
    try:
        return read_bytes(path, at_most=LABELS_BYTES).decode("utf-8-sig")
    except OutOfBoundsError as error:
        raise UsageError(f"{path} is {error}. Expected a text file with a class name a line.") from error
    except OSError as error:
        raise UsageError(
            f"cannot read the labels file {path} ({error.strerror}). "
            "Expected a text file with a class name a line; check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}). "
            "Save it as UTF-8 text, one class name a line."
        ) from error


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _unnumbered(lines: Sequence[str]) -> list[str]:
    """The names without numbers, if every line begins with its own, counted from 0."""
    found = [_NUMBERED.fullmatch(line) for line in lines]
    if all(match and int(match[1]) == number for number, match in enumerate(found)):
        return [match[2] for match in found if match]
    return list(lines)


def _is_json(path: Path, text: str) -> bool:
    """Whether the file is meant as JSON: by its ending, or by holding a list or an object."""
    if path.suffix.lower() == ".json":
        return True
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _from_json(path: Path, text: str) -> list[str]:
    expected = (
        'Expected a list of names, or an object such as {"0": "cat", "1": "dog"} or {"cat": 0, "dog": 1}.'
    )
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}). {expected}") from error
    values = _by_number(held) if isinstance(held, Mapping) else held
    names = [_name(value) for value in values] if isinstance(values, list) else []
    if not names or None in names:
        raise UsageError(f"{path} holds no class names in an order. {expected}")
    return [" ".join(str(name).split()) for name in names]


def _by_number(held: Mapping[str, Any]) -> list[Any] | None:
    """The names in the order of their numbers, the values or else the keys; None without 0, 1 ..."""
    names: list[Any] = list(held)
    numbers: list[Any] = list(held.values())
    if not all(type(number) is int for number in numbers):
        names, numbers = numbers, [int(key) if key.strip().isdecimal() else -1 for key in held]
    if sorted(numbers) != list(range(len(held))):
        return None
    return [name for _, name in sorted(zip(numbers, names, strict=True), key=lambda pair: pair[0])]


def _name(value: Any) -> str | None:  # noqa: ANN401
    """The name in a value: a text, or the last of several, as in Keras's ["n02123045", "tabby"]."""
    if isinstance(value, list) and value:
        value = value[-1]
    return value if isinstance(value, str) and value.strip() else None


def _background(given: int, expected: int) -> str:
    """Advice for ImageNet's names with and without the background class."""
    if (given, expected) == (_BACKGROUND - 1, _BACKGROUND):
        return " If the model's first output is a background class, put the line 'background' first."
    if (given, expected) == (_BACKGROUND, _BACKGROUND - 1):
        return " If the file's first name is a background class, which this model lacks, take it out."
    return ""

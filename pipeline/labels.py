"""Reads a labels file: the class names that an app shows, one per line, in the order of the outputs."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError


def read_labels(path: Path, num_classes: int) -> tuple[str, ...]:
    """The names in the file, stripped of blanks.

    UTF-8, with or without a byte order mark; empty lines at the end are ignored. Raises UsageError for a file
    that cannot be read, is empty, has an empty line between names, a repeated name, or the wrong number.
    """
    names = _lines(path)
    if not names:
        raise UsageError(
            f"{path} is empty. Expected {num_classes} class names, one a line, in the order of the outputs."
        )
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise UsageError(f"line {number} of {path} is empty. Expected a class name on every line.")
        if "\0" in name:
            raise UsageError(f"line {number} of {path} holds a NUL character. Expected a text file.")
        if name in first:
            raise UsageError(
                f"line {number} of {path} says '{name}', as line {first[name]} does. "
                "Expected another name for every class."
            )
        first[name] = number
    if len(names) != num_classes:
        raise UsageError(
            f"{path} has {len(names)} class names, but the model has {num_classes} classes. "
            "Expected one a line, in the order of the outputs."
        )
    return tuple(names)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
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
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines

"""The labels of an exported file: one class name per line. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from export.errors import ExportError


def labels_text(class_names: Sequence[str]) -> bytes:
    """A labels file's content: UTF-8, one name per line. Raises ExportError for an impossible name."""
    for number, name in enumerate(class_names):
        fault = fault_of_name(name)
        if fault:
            raise ExportError(
                f"class {number}, {name!r}, {fault}, and a labels file has one name a line. Expected a name "
                "that can be shown: give other names with --labels FILE."
            )
    return "".join(f"{name}\n" for name in class_names).encode()


def fault_of_name(name: str) -> str | None:
    """Why a name cannot be a line of a labels file; None if it can."""
    if not name.strip():
        return "is empty"
    if any(character in name for character in "\n\r\0"):
        return "holds a line break or a NUL"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is no Unicode text"
    return None

"""Dataclasses back from the JSON of asdict(), of this version or an earlier one. Standard library only.

A field that an earlier version did not write takes its default, which is what its absence meant. A field
without a default, or whose default stands for "filled in", has no such meaning, and is named in the error.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from export.limits import RECORD_BYTES
from export.reading import read_text

_Record = TypeVar("_Record")


def json_of(path: Path) -> Any:  # noqa: ANN401 - what JSON holds
    """The value in a JSON file. ValueError if it holds none, OSError if it cannot be read."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")  # reading a pipe may never end
    try:
        return json.loads(read_text(path, at_most=RECORD_BYTES))
    except RecursionError as error:
        raise ValueError("its lists are nested too deeply") from error


def read_record_as(kind: type[_Record], record: Any) -> _Record:  # noqa: ANN401 - what JSON holds
    """The dataclass from its JSON. ValueError with the field that is missing, unknown or of another type."""
    if not isinstance(record, dict):
        raise ValueError(f"expected the fields of {kind.__name__}, found {_word(record)}")
    hints: Mapping[str, Any] = _hints(kind)  # type: ignore[arg-type]  # any type is hashable
    if unknown := [name for name in record if name not in hints]:
        raise ValueError(f"{_word(unknown[0])} is unknown here: a later version wrote it")
    found = {name: _value(hints[name], record[name], name) for name in record}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # a dataclass, by the caller
        if field.name not in found and not _may_be_missing(field, hints[field.name]):
            raise ValueError(f"it has no '{field.name}': an earlier version wrote it, or it is damaged")
    return kind(**found)


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:  # noqa: ANN401
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _may_be_missing(field: dataclasses.Field[Any], hint: Any) -> bool:  # noqa: ANN401
    if field.default_factory is not dataclasses.MISSING:
        return True
    if field.default is None:  # where None is no value of the field, it is filled in by today's rules
        return type(None) in typing.get_args(hint) or hint is Any
    return field.default is not dataclasses.MISSING


def _value(hint: Any, value: Any, name: str) -> Any:  # noqa: ANN401
    """The JSON value as the type; ValueError if it is none."""
    if type(value) is hint:  # most values
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        (only,) = [each for each in arguments if each is not type(None)]
        return None if value is None else _value(only, value, name)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        each_hint = arguments[0]
        return tuple(each if type(each) is each_hint else _value(each_hint, each, name) for each in value)
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _value(arguments[1], each, name) for key, each in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read_record_as(hint, value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum) and value in [each.value for each in hint]:
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"'{name}' is {_word(value)}, where {_expected(hint)} was expected")


def _expected(hint: Any) -> str:  # noqa: ANN401
    """The type in words."""
    known = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(str(each.value) for each in hint)}"
    if typing.get_origin(hint) in (tuple, dict, Mapping):
        return "a list" if typing.get_origin(hint) is tuple else "an object"
    return known.get(hint, str(hint))


def _word(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."

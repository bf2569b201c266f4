"""What a file's standard TFLite metadata says, whoever wrote it: pixel normalization and class names.

Field numbers are those of app_metadata.py, from MediaPipe's metadata_schema.fbs.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from flatbuffers.table import Table

from export.limits import LABELS_BYTES
from export.reading import read_member
from export.tflite.app_metadata import ENTRY, LABELS_FILE, SCORE_FILE
from export.tflite.inspect import damage_told

_SUBGRAPHS, _INPUTS, _OUTPUTS = 3, 2, 3
_PROCESS_UNITS, _ASSOCIATED_FILES = 4, 6
_OPTIONS_TYPE, _OPTIONS, _NORMALIZATION = 0, 1, 1
_FILE_NAME, _FILE_TYPE, _AXIS_LABELS = 0, 2, 2


@dataclass(frozen=True, kw_only=True)
class AppMetadata:
    """What apps read of a file; None where it says nothing."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """The input is (pixel - mean) / std, one number or one for each channel."""
    class_names: tuple[str, ...] | None = None
    """In the order of the outputs."""


def read_app_metadata(content: bytes, *, name: str) -> AppMetadata:
    """The metadata of a .tflite file from its bytes. BadModelFileError for damaged metadata."""
    with damage_told(content, name=f"the metadata of {name}"):
        described = _described(content)
        if described is None:
            return AppMetadata()
        normalization = next(_normalizations(described), None)
        labels = next(_labels_files(described), None)
        if labels == SCORE_FILE:  # a file of ours with one output: the names of both classes are beside it
            labels = LABELS_FILE
        return AppMetadata(
            mean=_floats(normalization, 0) if normalization else None,
            std=_floats(normalization, 1) if normalization else None,
            class_names=_in_archive(content, labels) if labels else None,
        )


def _described(content: bytes) -> Table | None:
    """The metadata of the main graph."""
    model = schema.Model.GetRootAs(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == ENTRY.encode():
            held = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
            root = Table(held, int.from_bytes(held[:4], "little"))
            return next(_tables(root, _SUBGRAPHS), None)
    return None


def _normalizations(subgraph: Table) -> Iterator[Table]:
    for tensor in _tables(subgraph, _INPUTS):
        for unit in _tables(tensor, _PROCESS_UNITS):
            if _byte(unit, _OPTIONS_TYPE) == _NORMALIZATION and (options := _child(unit, _OPTIONS)):
                yield options


def _labels_files(subgraph: Table) -> Iterator[str]:
    for tensor in _tables(subgraph, _OUTPUTS):
        for file in _tables(tensor, _ASSOCIATED_FILES):
            place = file.Offset(_slot(_FILE_NAME))
            if _byte(file, _FILE_TYPE) == _AXIS_LABELS and place:
                yield file.String(place + file.Pos).decode()


def _in_archive(content: bytes, file: str) -> tuple[str, ...] | None:
    """The lines of a file in the archive behind the model; None if it is not there."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            labels = read_member(archive, file, at_most=LABELS_BYTES)
    except (zipfile.BadZipFile, KeyError):
        return None
    except (zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"'{file}' in the archive behind the model: {error}") from error
    lines = labels.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(lines)


def _slot(field: int) -> int:
    return 4 + 2 * field


def _child(table: Table, field: int) -> Table | None:
    place = table.Offset(_slot(field))
    return Table(table.Bytes, table.Indirect(place + table.Pos)) if place else None


def _tables(table: Table, field: int) -> Iterator[Table]:
    place = table.Offset(_slot(field))
    if place:
        start = table.Vector(place)
        for index in range(table.VectorLen(place)):
            yield Table(table.Bytes, table.Indirect(start + 4 * index))


def _byte(table: Table, field: int) -> int:
    place = table.Offset(_slot(field))
    return int(table.Get(number_types.Uint8Flags, place + table.Pos)) if place else 0


def _floats(table: Table, field: int) -> tuple[float, ...] | None:
    place = table.Offset(_slot(field))
    if not place:
        return None
    found = table.GetVectorAsNumpy(number_types.Float32Flags, place)
    return tuple(map(float, found)) or None

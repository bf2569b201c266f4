"""Packs a .tflite file without loss: drops what no runtime reads, stores equal data once."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types

from export.errors import ExportError
from export.tflite.inspect import damage_told, inspect_bytes, unpacked

ALIGNMENT = 16
"""Alignment of constant data in bytes, from the schema's force_align: kernels read the mapped file.
Flatbuffers' object API does not align it."""

_IDENTIFIER = b"TFL3"
_CONVERSION_METADATA = b"CONVERSION_METADATA"
"""Metadata with the converter's version and options, for its makers' statistics; also in the sidecar."""
_CONVERTERS_DESCRIPTION = b"MLIR Converted."
_VALIDATION = b"VALIDATION:"
"""The interpreter does not run a subgraph whose name starts with this, so such a name is kept."""
_WHAT = "the file to pack"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A packed file, and the dropped names, which a comparison by layer needs."""

    content: bytes
    tensor_names: tuple[str, ...]
    """Original names of the main graph's tensors, by index."""


def pack(content: bytes, *, keep_names: bool = False) -> Packed:
    """The same graph in fewer bytes: tensors, operators, their indices and the outputs are unchanged.

    Equal constant data, vectors and tables are stored once. The names of tensors and subgraphs and the
    converter's metadata on itself are dropped, unless `keep_names`; the names of the graph's inputs and
    outputs, which apps and benchmark_model use, signatures and other metadata stay. Packing a packed file
    changes nothing.

    Raises BadModelFileError for a damaged file, and ExportError for one with data outside the model: weights
    beyond 2 GB, or an archive of labels, which must be appended after packing.
    """
    contents = inspect_bytes(content, name=_WHAT)
    _refuse_data_outside(content)
    model = unpacked(content, name=_WHAT)
    with damage_told(content, name=_WHAT):
        num_tensors = len(model.subgraphs[0].tensors)
        if not keep_names:
            _drop_names(model)
        _drop_unused_buffers(model)
        builder = _SharingBuilder(len(content))
        builder.Finish(model.Pack(builder), _IDENTIFIER)
    return Packed(
        content=bytes(builder.Output()),
        tensor_names=tuple(each.name for each in contents.tensors[:num_tensors]),
    )


class _Buffer(schema.BufferT):
    """Constant data, aligned for the runtime."""

    def Pack(self, builder: _SharingBuilder) -> int:  # noqa: N802 - the generated code's name
        data = 0 if self.data is None else builder.aligned_vector(self.data, ALIGNMENT)
        builder.StartObject(3)
        builder.PrependUOffsetTRelativeSlot(0, data, 0)
        return builder.EndObject()


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors, strings and tables once, and points to the first one.

    A table is written when complete, with its widest fields first to avoid padding.
    """

    def __init__(self, size_hint: int) -> None:
        super().__init__(size_hint)
        self._written: dict[tuple[object, ...], int] = {}
        self._fields: list[tuple[int, Any, Any]] = []  # slot, kind of number (None: offset), value
        self._num_fields = 0

    def aligned_vector(self, values: npt.NDArray[Any], alignment: int) -> int:
        """The offset of a vector of numbers whose first element is aligned to `alignment` bytes."""
        data = values.tobytes()
        key = ("vector", alignment, values.itemsize, data)
        if key not in self._written:
            self.Prep(alignment, len(data))
            self._written[key] = super().CreateNumpyVector(values)
        return self._written[key]

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802
        """The offset of a vector of numbers."""
        return self.aligned_vector(x, max(x.itemsize, number_types.UOffsetTFlags.bytewidth))

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        """The offset of a string."""
        key = ("string", s)
        if key not in self._written:
            self._written[key] = super().CreateString(s, encoding, errors)
        return self._written[key]

    def StartObject(self, numfields: int) -> None:  # noqa: N802
        """Begins a table, after its vectors, strings and tables are written."""
        self._fields, self._num_fields = [], numfields

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:  # noqa: ANN401, N802
        """Records a number field, unless it has the default."""
        if x != d:
            self._fields.append((o, flags, x))

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:  # noqa: N802
        """Records the offset that a field points to."""
        if x != d:
            self._fields.append((o, None, x))

    def EndObject(self) -> int:  # noqa: N802
        """The offset of the table."""
        fields = self._fields
        key = ("table", *((slot, flags, repr(value)) for slot, flags, value in fields))
        if key not in self._written:
            super().StartObject(self._num_fields)
            for slot, flags, value in sorted(fields, key=_width, reverse=True):
                if flags is None:
                    super().PrependUOffsetTRelativeSlot(slot, value, 0)
                else:
                    self.Prepend(flags, value)
                    self.Slot(slot)
            self._written[key] = super().EndObject()
        return self._written[key]


def _width(field: tuple[int, Any, Any]) -> int:
    _, flags, _ = field
    return int((flags or number_types.UOffsetTFlags).bytewidth)


def _refuse_data_outside(content: bytes) -> None:
    """Raises ExportError for a file with data after its flatbuffer, which packing would lose."""
    model = schema.Model.GetRootAs(content, 0)
    if any(model.Buffers(index).Offset() > 1 for index in range(model.BuffersLength())):
        raise ExportError(
            "the file to pack holds weights behind its flatbuffer, as files beyond 2 GB do. Expected a "
            "smaller one; use this file unpacked."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return
    raise ExportError(
        f"the file to pack has an archive behind its model ({', '.join(names) or 'empty'}), which packing "
        "would lose. Pack the model first and append the archive then."
    )


def _drop_names(model: Any) -> None:  # noqa: ANN401
    """Drops unused names and the converter's metadata on itself."""
    for graph in model.subgraphs:
        if not (graph.name or b"").startswith(_VALIDATION):
            graph.name = None
        ends = {int(index) for found in (graph.inputs, graph.outputs) if found is not None for index in found}
        for index, tensor in enumerate(graph.tensors):
            if index not in ends:
                tensor.name = None
    if model.metadata is not None:
        model.metadata = [each for each in model.metadata if each.name != _CONVERSION_METADATA]
    if model.description == _CONVERTERS_DESCRIPTION:
        model.description = None


def _drop_unused_buffers(model: Any) -> None:  # noqa: ANN401
    """Keeps only used buffers, after the empty one that the schema requires at the start."""
    kept, places = [_Buffer()], {}

    def place(buffer: int) -> int:
        data = model.buffers[buffer].data
        if data is None or not len(data):
            return 0
        if buffer not in places:
            places[buffer] = len(kept)
            kept.append(_Buffer(data=data))
        return places[buffer]

    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for user in [*tensors, *(model.metadata or [])]:
        user.buffer = place(user.buffer)
    if model.metadataBuffer is not None:  # the schema's older place for metadata
        model.metadataBuffer = np.array([place(each) for each in model.metadataBuffer], np.int32)
    model.buffers = kept

"""Reads a .tflite file's flatbuffer, without TensorFlow or a runtime, which a damaged file could crash.

Everything else that reads one passes through here first: indices, shapes, sizes and the order of operators
are checked once, and later code trusts them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.artifact import OperatorUse, TensorInfo
from export.errors import BadModelFileError, ExportError
from export.limits import TFLITE_BYTES
from export.reading import size_in_words
from export.tflite import guard
from export.tflite.content import FileContents, Operator, Signature, Tensor
from export.tflite.notes import PIXELS
from spelling import counted

_FIX = "Export the model again, or copy the file again from where it came."
_OPERATOR_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
_TYPE_NAMES = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")
}
_FLOAT_TYPES = {"float32", "float16", "bfloat16", "float64"}
_WEIGHTS_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
_WEIGHTS_INPUT = 1
_TENSOR_NAME, _CUSTOM_CODE, _ENTRY_NAME, _SIGNATURE_KEY = 10, 6, 4, 8
"""Slots of texts in the flatbuffer's tables of a tensor, a kind of operator, metadata, and a signature."""


def inspect(path: Path) -> FileContents:
    """The file's content. Raises BadModelFileError for a missing, truncated, empty or other file."""
    return inspect_bytes(read_tflite(Path(path)), name=str(path))


def read_tflite(path: Path) -> bytes:
    """The file's bytes. BadModelFileError for a file that cannot be read, or is too large."""
    try:
        size = path.stat().st_size
        if size > TFLITE_BYTES:
            raise BadModelFileError(
                f"{path} has {size_in_words(size)}. Expected a .tflite file of at most "
                f"{size_in_words(TFLITE_BYTES)}."
            )
        if not path.is_file() and not path.is_dir():
            raise BadModelFileError(f"{path} is a pipe or a device. Expected a .tflite file.")
        return path.read_bytes()
    except OSError as error:
        raise BadModelFileError(
            f"cannot read {path} ({error.strerror}). Expected a .tflite file; check the path."
        ) from error


def inspect_bytes(content: bytes, *, name: str) -> FileContents:
    """The content of a .tflite file from its bytes; `name` appears in errors."""
    if not content:
        raise BadModelFileError(f"{name} is empty. Expected a .tflite file. {_FIX}")
    if len(content) < 8 or not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise BadModelFileError(
            f"{name} is not a .tflite file (its bytes 4-8 are {content[4:8]!r}, not b'TFL3'). {_FIX}"
        )
    with damage_told(content, name=name):
        return _contents(content)


def unpacked(content: bytes, *, name: str) -> Any:  # noqa: ANN401 - generated classes carry no types
    """A file as schema.ModelT, the schema's object form, with empty lists for what is missing.

    `content` is what inspect_bytes() has accepted.
    """
    with damage_told(content, name=name):
        model = schema.ModelT.InitFromPackedBuf(content, 0)
    _fill(model, "operatorCodes", "buffers")
    for graph in model.subgraphs:
        _fill(graph, "tensors", "operators", "inputs", "outputs")
        for operator in graph.operators:
            _fill(operator, "inputs", "outputs")
    return model


@contextmanager
def damage_told(content: bytes, *, name: str) -> Iterator[None]:
    """Turns the errors of reading a damaged flatbuffer into BadModelFileError."""
    try:
        yield
    except (
        struct.error,
        IndexError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        AttributeError,
    ) as error:
        why = f"{error}" if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise BadModelFileError(
            f"{name} is truncated or damaged ({len(content)} bytes; {why}). {_FIX}"
        ) from error


def named(contents: FileContents, tensor_names: Sequence[str]) -> FileContents:
    """The contents with the names that packing dropped; `tensor_names` are the main graph's, by index.

    Names in the file take precedence. Raises ExportError for the names of another file.
    """
    if not tensor_names:
        return contents
    tensors = contents.tensors
    paired = list(zip(tensors, tensor_names, strict=False))
    if len(tensor_names) > len(tensors) or any(t.name not in ("", name) for t, name in paired):
        raise ExportError(
            f"{counted(len(tensor_names), 'name')} that do not belong to this file's {len(tensors)} "
            "tensors. Expected "
            "those of its own sidecar: export the model again, so that both come from one run."
        )
    renamed = tuple(replace(tensor, name=name) for tensor, name in paired)
    return replace(contents, tensors=renamed + tensors[len(renamed) :])


def _fill(part: Any, *lists: str) -> None:  # noqa: ANN401
    for each in lists:
        if getattr(part, each) is None:
            setattr(part, each, [])


def _contents(content: bytes) -> FileContents:
    model = schema.Model.GetRootAs(content, 0)
    guard.check_counts(model)
    data_bytes = [_buffer_size(model.Buffers(index), content) for index in range(model.BuffersLength())]
    reader = _Reader(model, data_bytes, guard.VectorBudget(len(content)))
    for number in range(model.SubgraphsLength()):
        reader.add(model.Subgraphs(number))
    tensors, graph = tuple(reader.tensors), tuple(reader.graph)
    guard.check_graph(graph, tensors)
    floats = [operator for operator in graph if _computes_in_float(operator, tensors)]
    inputs, outputs = reader.ends[0]
    several = model.SignatureDefsLength() > 1
    return FileContents(
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        pixels=_metadata(model, PIXELS).decode(errors="replace"),
        min_runtime_version=_metadata(model, "min_runtime_version").rstrip(b"\0").decode(errors="replace"),
        inputs=tuple(_info(tensors[index]) for index in inputs),
        outputs=tuple(_info(tensors[index]) for index in outputs),
        signatures=tuple(reader.signatures()) if several else (),
        output_tensors=outputs,
        tensors=tensors,
        graph=graph,
        operators=_uses(graph),
        float_operators=tuple(sorted({operator.name for operator in floats})),
        float_operator_places=tuple(
            f"{operator.name} at {_written_name(operator, tensors)}" for operator in floats
        ),
        per_channel=_per_channel(graph, tensors),
    )


class _Reader:
    """The operators of the main graph, then of loop and branch bodies, on one list of tensors."""

    def __init__(self, model: Any, data_bytes: list[int], budget: guard.VectorBudget) -> None:  # noqa: ANN401
        self._model, self._data_bytes, self._budget = model, data_bytes, budget
        self.tensors: list[Tensor] = []
        self.graph: list[Operator] = []
        self.ends: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        """The inputs and outputs of each graph, numbered in it."""
        self._starts: list[int] = []
        """The place of each graph's first tensor."""

    def add(self, subgraph: Any) -> None:  # noqa: ANN401
        """Reads one more graph."""
        start = len(self.tensors)
        self._starts.append(start)
        for index in range(subgraph.TensorsLength()):
            self.tensors.append(self._tensor(subgraph.Tensors(index)))
        own = range(subgraph.TensorsLength())
        ends = _indices(subgraph.InputsAsNumpy()), _indices(subgraph.OutputsAsNumpy())
        for tensors in ends:
            guard.check_indices(tensors, own, of="the graph")
        self.ends.append(ends)
        for index in range(subgraph.OperatorsLength()):
            self.graph.append(self._operator(subgraph.Operators(index), own, start))

    def signatures(self) -> Iterator[Signature]:
        """The file's signatures, once every graph was read."""
        for number in range(self._model.SignatureDefsLength()):
            found = self._model.SignatureDefs(number)
            graph = found.SubgraphIndex()
            if graph >= len(self.ends):
                raise ValueError(f"signature {number} is of graph {graph}, which is not there")
            inputs, outputs = (
                tuple(_info(self.tensors[self._starts[graph] + index]) for index in ends)
                for ends in self.ends[graph]
            )
            name = _text(found, _SIGNATURE_KEY).decode(errors="replace")
            yield Signature(name=name, graph=graph, inputs=inputs, outputs=outputs)

    def _tensor(self, tensor: Any) -> Tensor:  # noqa: ANN401
        number, buffer, code = len(self.tensors), tensor.Buffer(), tensor.Type()
        if buffer >= len(self._data_bytes):
            raise ValueError(f"tensor {number} uses buffer {buffer}, which is not there")
        if code not in _TYPE_NAMES:
            raise ValueError(f"tensor {number} is of type {code}, which is not known")
        quantization = tensor.Quantization()
        shape = _array(tensor.ShapeAsNumpy())
        scales = _array(quantization.ScaleAsNumpy() if quantization else 0)
        zero_points = _array(quantization.ZeroPointAsNumpy() if quantization else 0)
        name = _text(tensor, _TENSOR_NAME)
        self._budget.take(len(name) + shape.nbytes + scales.nbytes + zero_points.nbytes)
        found = Tensor(
            name=name.decode(errors="replace"),
            shape=tuple(shape.tolist()),
            dtype=_TYPE_NAMES[code],
            scales=tuple(scales.tolist()),
            zero_points=tuple(zero_points.tolist()),
            is_constant=self._data_bytes[buffer] > 0,
        )
        is_sparse = tensor.Sparsity() is not None
        guard.check_tensor(number, found, data_bytes=self._data_bytes[buffer], is_sparse=is_sparse)
        return found

    def _operator(self, operator: Any, own: range, start: int) -> Operator:  # noqa: ANN401
        number, kind = len(self.graph), operator.OpcodeIndex()
        if kind >= self._model.OperatorCodesLength():
            raise ValueError(f"operator {number} is of a kind that is not there")
        code = self._model.OperatorCodes(kind)
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = _text(code, _CUSTOM_CODE)
        if not custom and builtin not in _OPERATOR_NAMES:
            raise ValueError(f"operator {number} has the code {builtin}, which is not known")
        inputs, outputs = _array(operator.InputsAsNumpy()), _array(operator.OutputsAsNumpy())
        self._budget.take(len(custom) + inputs.nbytes + outputs.nbytes)
        for tensors in (inputs, outputs):
            guard.check_indices(tensors.tolist(), own, of=f"operator {number}", optional=True)
        return Operator(
            name=custom.decode(errors="replace") or _OPERATOR_NAMES[builtin],
            version=int(code.Version()),
            inputs=tuple(index if index == -1 else index + start for index in inputs.tolist()),
            outputs=tuple(index if index == -1 else index + start for index in outputs.tolist()),
        )


def _buffer_size(buffer: Any, content: bytes) -> int:  # noqa: ANN401
    """Bytes of constant data; raises ValueError if they exceed the file."""
    start, size = buffer.Offset(), buffer.Size()
    if start > 1:  # files beyond 2 GB hold their data behind the flatbuffer
        if start + size > len(content):
            raise ValueError("constant data beyond the end")
        return int(size)
    return len(_array(buffer.DataAsNumpy()))


def _computes_in_float(operator: Operator, tensors: tuple[Tensor, ...]) -> bool:
    used = [tensors[index] for index in operator.inputs + operator.outputs if index >= 0]
    if operator.name == "DEQUANTIZE" and all(tensors[index].is_constant for index in operator.inputs[:1]):
        return False
    return any(tensor.dtype in _FLOAT_TYPES for tensor in used)


def _per_channel(graph: tuple[Operator, ...], tensors: tuple[Tensor, ...]) -> bool | None:
    found = []
    for operator in graph:
        if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
            continue
        weights = tensors[operator.inputs[_WEIGHTS_INPUT]]
        if weights.dtype == "int8" and weights.scales:
            found.append(len(weights.scales) == weights.shape[_WEIGHTS_AXIS[operator.name]])
    return all(found) if found else None


def _uses(graph: tuple[Operator, ...]) -> tuple[OperatorUse, ...]:
    versions: dict[str, list[int]] = {}
    for each in graph:
        versions.setdefault(each.name, []).append(each.version)
    return tuple(
        OperatorUse(name=name, version=max(versions[name]), count=len(versions[name]))
        for name in sorted(versions)
    )


def _written_name(operator: Operator, tensors: tuple[Tensor, ...]) -> str:
    """The name of the first tensor that an operator writes; some write none."""
    return next((tensors[index].name for index in operator.outputs if index >= 0), "no output")


def _metadata(model: Any, name: str) -> bytes:  # noqa: ANN401
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if _text(entry, _ENTRY_NAME) == name.encode():
            if entry.Buffer() >= model.BuffersLength():
                raise ValueError(f"its metadata '{name}' use a buffer that is not there")
            return bytes(_array(model.Buffers(entry.Buffer()).DataAsNumpy()).tobytes())
    return b""


def _text(table: Any, slot: int) -> bytes:  # noqa: ANN401
    """A text of the flatbuffer, empty without one; the generated reader cuts one beyond the file's end."""
    tab = table._tab
    offset = tab.Offset(slot)
    if not offset:
        return b""
    start, length = tab.Vector(offset), tab.VectorLen(offset)
    if start + length > len(tab.Bytes):
        raise ValueError("a text beyond the end")
    return bytes(tab.Bytes[start : start + length])


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=tensor.scales[0] if tensor.scales else 0.0,
        zero_point=tensor.zero_points[0] if tensor.zero_points else 0,
    )


def _array(found: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
    """A vector of the flatbuffer; the generated reader returns 0 for a missing one."""
    return found if isinstance(found, np.ndarray) else np.empty(0, np.uint8)


def _indices(found: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(int(each) for each in _array(found))

"""Reads a .tflite file's flatbuffer, without TensorFlow or a runtime, which a damaged file could crash."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.artifact import OperatorUse, TensorInfo
from export.errors import BadModelFileError, ExportError
from export.tflite.notes import PIXELS

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


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    """One for the tensor or one per channel; empty if it is not quantized."""
    zero_points: tuple[int, ...]
    is_constant: bool


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator of the file; inputs and outputs are tensor indices, -1 if omitted."""

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FileContents:
    """The content of a .tflite file."""

    size_bytes: int
    sha256: str
    pixels: str
    """The expected input in words, from the file itself; empty in a file from elsewhere."""
    min_runtime_version: str
    """The oldest TFLite runtime that can load it, from the converter's metadata; empty without it."""
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tensors: tuple[Tensor, ...]
    graph: tuple[Operator, ...]
    """In execution order."""
    operators: tuple[OperatorUse, ...]
    float_operators: tuple[str, ...]
    """Names of the operators that read or write a float tensor, conversions from and to float included.

    Without a DEQUANTIZE of constant weights, which a runtime computes once on loading.
    """
    float_operator_places: tuple[str, ...]
    """Each of these operators as 'NAME at output tensor'."""
    per_channel: bool | None
    """Whether every int8 convolution has one scale per channel; None in a file without int8 convolutions."""


def inspect(path: Path) -> FileContents:
    """The file's content. Raises BadModelFileError for a missing, truncated, empty or other file."""
    return inspect_bytes(read_tflite(Path(path)), name=str(path))


def read_tflite(path: Path) -> bytes:
    """The file's bytes. BadModelFileError for a file that cannot be read."""
    try:
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
        raise BadModelFileError(
            f"{name} is truncated or damaged ({len(content)} bytes; {type(error).__name__}: {error}). {_FIX}"
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
            f"{len(tensor_names)} names that do not belong to this file's {len(tensors)} tensors. Expected "
            "those of its own sidecar: export the model again, so that both come from one run."
        )
    renamed = tuple(replace(tensor, name=name) for tensor, name in paired)
    return replace(contents, tensors=renamed + tensors[len(renamed) :])


def _contents(content: bytes) -> FileContents:
    model = schema.Model.GetRootAs(content, 0)
    constant = [_buffer_size(model.Buffers(index), content) > 0 for index in range(model.BuffersLength())]
    if model.SubgraphsLength() < 1:
        raise ValueError("no graph inside")
    subgraph = model.Subgraphs(0)
    tensors, graph = _all_graphs(model, constant)
    floats = [operator for operator in graph if _computes_in_float(operator, tensors)]
    return FileContents(
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        pixels=_metadata(model, PIXELS).decode(),
        min_runtime_version=_metadata(model, "min_runtime_version").rstrip(b"\0").decode("ascii"),
        inputs=tuple(_info(tensors[index]) for index in _indices(subgraph.InputsAsNumpy())),
        outputs=tuple(_info(tensors[index]) for index in _indices(subgraph.OutputsAsNumpy())),
        tensors=tensors,
        graph=graph,
        operators=_uses(graph),
        float_operators=tuple(sorted({operator.name for operator in floats})),
        float_operator_places=tuple(
            f"{operator.name} at {tensors[operator.outputs[0]].name}" for operator in floats
        ),
        per_channel=_per_channel(graph, tensors),
    )


def _all_graphs(model: Any, constant: list[bool]) -> tuple[tuple[Tensor, ...], tuple[Operator, ...]]:  # noqa: ANN401
    """The operators of the main graph, then of loop and branch bodies, on one list of tensors."""
    tensors: list[Tensor] = []
    graph: list[Operator] = []
    for number in range(model.SubgraphsLength()):
        subgraph, start = model.Subgraphs(number), len(tensors)
        tensors += [_tensor(subgraph.Tensors(index), constant) for index in range(subgraph.TensorsLength())]
        graph += [
            _operator(subgraph.Operators(index), model, (start, len(tensors)))
            for index in range(subgraph.OperatorsLength())
        ]
    return tuple(tensors), tuple(graph)


def _buffer_size(buffer: Any, content: bytes) -> int:  # noqa: ANN401 - generated classes carry no types
    """Bytes of constant data; raises ValueError if they exceed the file."""
    start, size = buffer.Offset(), buffer.Size()
    if start > 1:  # files beyond 2 GB hold their data behind the flatbuffer
        if start + size > len(content):
            raise ValueError("constant data beyond the end")
        return int(size)
    return len(_array(buffer.DataAsNumpy()))


def _tensor(tensor: Any, constant: list[bool]) -> Tensor:  # noqa: ANN401
    quantization = tensor.Quantization()
    return Tensor(
        name=(tensor.Name() or b"").decode(),
        shape=_indices(tensor.ShapeAsNumpy()),
        dtype=_TYPE_NAMES[tensor.Type()],
        scales=tuple(map(float, _array(quantization.ScaleAsNumpy()))) if quantization else (),
        zero_points=_indices(quantization.ZeroPointAsNumpy()) if quantization else (),
        is_constant=constant[tensor.Buffer()],
    )


def _operator(operator: Any, model: Any, own: tuple[int, int]) -> Operator:  # noqa: ANN401
    code = model.OperatorCodes(operator.OpcodeIndex())
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = code.CustomCode()
    start, end = own
    inputs, outputs = (
        tuple(index if index == -1 else index + start for index in _indices(found))
        for found in (operator.InputsAsNumpy(), operator.OutputsAsNumpy())
    )
    if any(index != -1 and not start <= index < end for index in inputs + outputs):
        raise ValueError("an operator uses a tensor that is not there")
    return Operator(
        name=custom.decode() if custom else _OPERATOR_NAMES[builtin],
        version=int(code.Version()),
        inputs=inputs,
        outputs=outputs,
    )


def _computes_in_float(operator: Operator, tensors: tuple[Tensor, ...]) -> bool:
    used = [tensors[index] for index in operator.inputs + operator.outputs if index >= 0]
    if operator.name == "DEQUANTIZE" and tensors[operator.inputs[0]].is_constant:
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
    names = sorted({operator.name for operator in graph})
    versions = {name: [each.version for each in graph if each.name == name] for name in names}
    return tuple(
        OperatorUse(name=name, version=max(found), count=len(found)) for name, found in versions.items()
    )


def _metadata(model: Any, name: str) -> bytes:  # noqa: ANN401
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == name.encode():
            return bytes(_array(model.Buffers(entry.Buffer()).DataAsNumpy()).tobytes())
    return b""


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

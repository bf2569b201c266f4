"""The layer, type, bytes, parameters, zeros and MACs of each operator of a .tflite file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.errors import ExportError
from export.limits import TFLITE_CONSTANT_STEPS
from export.tflite.content import FileContents, Operator, Tensor
from export.tflite.inspect import damage_told, inspect_bytes, named
from export.tflite.layer import FileBytes, FileLayers, Layer
from export.trained_names import PART, QUANTIZED_PREFIX

_FLOAT_TYPES = {"float32": np.float32, "float16": np.float16, "float64": np.float64}
_INT_TYPES = {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "int32": np.int32, "int64": np.int64}
_INDEX_TYPES = ("int32", "int64", "bool", "string")
_WEIGHTS_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
"""Which input dimension of the weights is the output channel, in the operators that have weights."""
_WEIGHTS_INPUT = 1
_BIAS_INPUTS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3, "FULLY_CONNECTED": 2}
_WEIGHTED_STEP = re.compile(r"convolution|conv\d?d|depthwise|matmul|dense", re.IGNORECASE)
_SCOPE_NUMBER = re.compile(r"_\d+$")
_OPERATION_SCOPE = re.compile(
    r"(Add|BiasAdd|FakeQuantWithMinMaxVars\w*|Gelu|MatMul|ReadVariableOp|Tensordot|batchnorm|einsum|moments)(_\d+)?"
)
"""Scopes that operations of TensorFlow and Keras open within a layer's."""
_VECTOR_PREFIX_BYTES = 4
_TOO_MANY_STEPS = (
    "{name} computes its tensor {tensor} from more than "
    f"{TFLITE_CONSTANT_STEPS:,} others, all constant, in operators that a converter would have computed. "
    "Convert the model again."
)
_SCALE_VECTORS = {4: 4, 6: 4, 8: 4, 10: 8}
"""Slots of min, max, scale and zero point in the flatbuffer's quantization table, and bytes of a value."""


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """The fields of a tensor in the flatbuffer that export.tflite.inspect.Tensor does not have."""

    buffer: int
    is_sparse: bool
    scale_vectors: tuple[tuple[int, int], ...]
    """(position in the file, bytes) of each."""


def read_layers(content: bytes, *, name: str, tensor_names: Sequence[str] = ()) -> FileLayers:
    """The operators of a .tflite file; `name` appears in errors.

    `tensor_names` are those of the main graph's tensors, by index, for a file written without them. Raises
    BadModelFileError for no whole .tflite file, ExportError for the names of another file.
    """
    contents = inspect_bytes(content, name=name)
    with damage_told(content, name=name):
        reader = _Reader(content, named(contents, tensor_names), name)
    layers = tuple(reader.layer(index) for index in range(len(contents.graph)))
    weights = sum(each.weight_bytes for each in layers)
    quantization = reader.quantization_bytes()
    names = sum(len(tensor.name.encode()) for tensor in contents.tensors)
    rest = contents.size_bytes - weights - quantization - names
    return FileLayers(
        layers=layers,
        bytes=FileBytes(weights=weights, quantization=quantization, names=names, rest=rest),
    )


def layers_of_name(tensor_name: str) -> tuple[str, ...]:
    """The Keras layers in a tensor's name, such as 'net_1/conv1_relu_1/Relu6;net_1/conv1_1/convolution'.

    Without the model's scope, the operation, and the number that a scope gets when Keras enters it again. A
    nested model's layers are 'outer/inner'.
    """
    found = (_layer_of(part) for part in tensor_name.split(";"))
    return tuple(dict.fromkeys(name for name in found if name))


class _Reader:
    """One pass over the operators of a file; a shared constant is counted at the first."""

    def __init__(self, content: bytes, contents: FileContents, name: str) -> None:
        self._content, self._name = content, name
        self._model = schema.Model.GetRootAs(content, 0)
        self._tensors = contents.tensors
        self._graph = contents.graph
        self._stored = [
            _stored(subgraph.Tensors(index))
            for subgraph in map(self._model.Subgraphs, range(self._model.SubgraphsLength()))
            for index in range(subgraph.TensorsLength())
        ]
        self._fixed: dict[int, Operator] = {}
        """Tensors that are computed from constants alone, and the operators that do."""
        for operator in self._graph:
            self._add_if_fixed(operator)
        self._origins: dict[int, list[int]] = {}
        self._figures: dict[int, tuple[float | None, int | None]] = {}
        self._counted: set[int] = set()

    def layer(self, index: int) -> Layer:
        """The operator with this number."""
        operator = self._graph[index]
        on_loading = self._is_fixed(operator)
        constants = [] if on_loading else self._constants(operator)
        weights = self._weights(operator, constants)
        sparsity, num_distinct = (None, None) if weights is None else self._zeros_and_distinct(weights)
        output = next((self._tensors[each] for each in operator.outputs if each >= 0), None)
        fused = layers_of_name(output.name) if output else ()
        return Layer(
            index=index,
            operator=operator.name,
            version=operator.version,
            layer=_own_layer(operator, output.name, fused) if output else "",
            fused_layers=fused,
            output_shape=output.shape if output else (),
            dtype=output.dtype if output else "",
            weights_dtype="" if weights is None else self._tensors[weights].dtype,
            weight_bytes=sum(self._bytes_once(tensor) for tensor in constants),
            num_parameters=sum(
                _size(self._tensors[tensor]) for tensor in self._computed_with(operator, constants)
            ),
            sparsity=sparsity,
            stored_sparse=weights is not None and self._stored[weights].is_sparse,
            num_distinct=num_distinct,
            macs=_macs(operator, self._tensors),
            per_channel=self._per_channel(operator, weights),
            computes_in_float=not on_loading and self._in_float(operator),
            on_loading=on_loading,
            inputs=tuple(each for each in operator.inputs if each >= 0 and not self._is_known(each)),
            outputs=tuple(each for each in operator.outputs if each >= 0),
        )

    def quantization_bytes(self) -> int:
        """Bytes of all scales and zero points; shared vectors count once."""
        vectors = {vector for stored in self._stored for vector in stored.scale_vectors}
        return sum(size for _, size in vectors)

    def _add_if_fixed(self, operator: Operator) -> None:
        """Records an operator that reads constants alone, after those before it."""
        if self._is_fixed(operator):
            self._fixed |= {tensor: operator for tensor in operator.outputs if tensor >= 0}

    def _is_known(self, tensor: int) -> bool:
        """Whether a tensor is a constant, or computed from constants only."""
        return self._tensors[tensor].is_constant or tensor in self._fixed

    def _is_fixed(self, operator: Operator) -> bool:
        inputs = [tensor for tensor in operator.inputs if tensor >= 0]
        return bool(inputs) and all(self._is_known(tensor) for tensor in inputs)

    def _constants(self, operator: Operator) -> list[int]:
        """The constants that an operator reads, as stored, before float16 weights are unpacked."""
        known = [tensor for tensor in operator.inputs if tensor >= 0 and self._is_known(tensor)]
        return _once(origin for tensor in known for origin in self._origin(tensor))

    def _origin(self, tensor: int) -> list[int]:
        """The stored constants that a known tensor is, or is computed from; each tensor is visited once."""
        if tensor not in self._origins:
            found: list[int] = []
            seen, ahead = {tensor}, [tensor]
            while ahead:
                each = ahead.pop()
                if self._tensors[each].is_constant:
                    found.append(each)
                    continue
                feeding = [one for one in self._fixed[each].inputs if one >= 0 and one not in seen]
                seen.update(feeding)
                ahead += reversed(_once(feeding))
                if len(seen) > TFLITE_CONSTANT_STEPS:
                    raise ExportError(_TOO_MANY_STEPS.format(name=self._name, tensor=tensor))
            self._origins[tensor] = found
        return self._origins[tensor]

    def _weights(self, operator: Operator, constants: list[int]) -> int | None:
        """The constant with the operator's weights: the kernel, or else its largest; None if it has none."""
        if operator.name in _WEIGHTS_AXIS and len(operator.inputs) > _WEIGHTS_INPUT:
            kernel = operator.inputs[_WEIGHTS_INPUT]
            if kernel < 0 or not self._is_known(kernel):
                return None
            return next(iter(self._origin(kernel)), None)
        values = self._computed_with(operator, constants)
        return max(values, key=lambda tensor: _size(self._tensors[tensor]), default=None)

    def _computed_with(self, operator: Operator, constants: list[int]) -> list[int]:
        if operator.name in _WEIGHTS_AXIS:
            places = (_WEIGHTS_INPUT, _BIAS_INPUTS[operator.name])
            used = [operator.inputs[place] for place in places if place < len(operator.inputs)]
            known = [each for each in used if each >= 0 and self._is_known(each)]
            return _once(tensor for each in known for tensor in self._origin(each))
        return [tensor for tensor in constants if self._tensors[tensor].dtype not in _INDEX_TYPES]

    def _bytes_once(self, tensor: int) -> int:
        number = self._stored[tensor].buffer
        if number in self._counted:
            return 0
        self._counted.add(number)
        return len(self._data(number))

    def _data(self, number: int) -> npt.NDArray[np.uint8]:
        buffer = self._model.Buffers(number)
        if buffer.Offset() > 1:  # files larger than 2 GB have their data after the flatbuffer
            return np.frombuffer(self._content, np.uint8, buffer.Size(), buffer.Offset())
        found = buffer.DataAsNumpy()
        return found if isinstance(found, np.ndarray) else np.empty(0, np.uint8)

    def _zeros_and_distinct(self, tensor: int) -> tuple[float | None, int | None]:
        """The share of zeros in a constant, and its number of distinct values; None for unsupported types."""
        if tensor not in self._figures:
            values = self._values(tensor)
            if values is None:
                self._figures[tensor] = None, None
            else:
                left_out = 0  # only the non-zero values of a sparse tensor are stored
                if self._stored[tensor].is_sparse:
                    left_out = max(0, _size(self._tensors[tensor]) - len(values))
                distinct = np.unique(values)
                num_zeros, num_values = int(np.sum(values == 0)) + left_out, len(values) + left_out
                self._figures[tensor] = (
                    num_zeros / num_values if num_values else None,
                    len(distinct) + (left_out > 0 and 0 not in distinct),
                )
        return self._figures[tensor]

    def _values(self, tensor: int) -> npt.NDArray[Any] | None:
        """The constant's stored values, 0 where the real value is 0; None for an unsupported type."""
        described, data = self._tensors[tensor], self._data(self._stored[tensor].buffer)
        if described.dtype == "int4":
            values: npt.NDArray[Any] = _unpacked(data, _size(described))
        else:
            dtype = (_FLOAT_TYPES | _INT_TYPES).get(described.dtype)
            if dtype is None or len(data) % np.dtype(dtype).itemsize:
                return None
            values = np.frombuffer(data.tobytes(), np.dtype(dtype))
        zero_points = set(described.zero_points)
        if len(zero_points) == 1 and zero_points != {0}:
            values = values.astype(np.int64) - zero_points.pop()
        return values

    def _per_channel(self, operator: Operator, weights: int | None) -> bool | None:
        if weights is None or operator.name not in _WEIGHTS_AXIS:
            return None
        described = self._tensors[weights]
        if described.dtype in _FLOAT_TYPES or not described.scales:
            return None
        return len(described.scales) == described.shape[_WEIGHTS_AXIS[operator.name]]

    def _in_float(self, operator: Operator) -> bool:
        used = [self._tensors[each] for each in operator.inputs + operator.outputs if each >= 0]
        return any(tensor.dtype in _FLOAT_TYPES and not tensor.is_constant for tensor in used)


def _own_layer(operator: Operator, name: str, fused: tuple[str, ...]) -> str:
    """The fused layer with the weights, or else the first to run, which the output's name has last."""
    if not fused:
        return ""
    if operator.name in _WEIGHTS_AXIS:
        for part in reversed(name.split(";")):
            if _WEIGHTED_STEP.search(part.rpartition("/")[2]) and (own := _layer_of(part)):
                return own
    return fused[-1]


def _once(tensors: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(tensors))


def _stored(tensor: Any) -> _Stored:  # noqa: ANN401 - generated classes carry no types
    quantization = tensor.Quantization()
    vectors = []
    for slot, item_bytes in _SCALE_VECTORS.items() if quantization else ():
        table = quantization._tab
        offset = table.Offset(slot)
        if offset and (length := table.VectorLen(offset)):
            vectors.append((table.Vector(offset), _VECTOR_PREFIX_BYTES + length * item_bytes))
    return _Stored(
        buffer=tensor.Buffer(), is_sparse=tensor.Sparsity() is not None, scale_vectors=tuple(vectors)
    )


def _layer_of(part: str) -> str:
    """The layer in one tensor's name; empty if it has none."""
    *scopes, _ = part.split("/")
    trained = [each.startswith(QUANTIZED_PREFIX) for each in scopes]
    if any(trained):
        path = _without_operations(scopes[trained.index(True) :])
        return path.removeprefix(QUANTIZED_PREFIX).partition(PART)[0]
    if len(scopes) > 1:
        is_numbered = bool(_SCOPE_NUMBER.search(scopes[0]))
        scopes = scopes[1:]
        if is_numbered:  # TensorFlow numbers a layer's scope, which Keras enters twice, but no operation's
            numbered = [scope for scope in scopes if _SCOPE_NUMBER.search(scope)]
            return "/".join(_SCOPE_NUMBER.sub("", scope) for scope in numbered)
    return _without_operations(scopes)


def _without_operations(scopes: Sequence[str]) -> str:
    """The layer's path: the scopes up to those of TensorFlow's operations within it.

    A layer that the trained network runs as it is enters its own scope, such as 'softmax_1', in that.
    """
    path = list(scopes[:1])
    for scope in scopes[1:]:
        name = path[-1].removeprefix(QUANTIZED_PREFIX).rpartition("/")[2]
        if _OPERATION_SCOPE.fullmatch(scope) or _SCOPE_NUMBER.sub("", scope) == name:
            break
        path.append(scope)
    return "/".join(path)


def _macs(operator: Operator, tensors: tuple[Tensor, ...]) -> int:
    shapes = [tensors[each].shape if each >= 0 else () for each in operator.inputs]
    output = next((tensors[each].shape for each in operator.outputs if each >= 0), ())
    if operator.name == "CONV_2D":
        return math.prod(output) * math.prod(shapes[1][1:])
    if operator.name == "DEPTHWISE_CONV_2D":
        return math.prod(output) * math.prod(shapes[1][1:3])
    if operator.name == "FULLY_CONNECTED":
        return math.prod(output) * shapes[1][-1]
    if operator.name == "TRANSPOSE_CONV":  # its inputs are the output's shape, the weights, the image
        return math.prod(shapes[2]) * math.prod(shapes[1][:3])
    if operator.name == "CONV_3D":
        return math.prod(output) * math.prod(shapes[1][:4])
    return 0


def _unpacked(data: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.int8]:
    """Unpacks two 4-bit numbers per byte, the low one first."""
    both = np.stack([data << 4, data & 0xF0], axis=-1).reshape(-1)[:size]
    shifted: npt.NDArray[np.int8] = both.view(np.int8) >> 4
    return shifted


def _size(tensor: Tensor) -> int:
    return math.prod(tensor.shape)

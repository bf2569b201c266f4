"""A float32 .tflite file with the weights of its pruned 1x1 convolutions stored sparsely, and back again.

The form that XNNPACK's sparse kernels ask for: TFLite's sparse tensors, each behind a DENSIFY operator
(tensorflow/lite/delegates/xnnpack/README.md, "Sparse Inference"; Elsen et al. 2019, "Fast Sparse ConvNets",
arXiv:1911.09723). Whether the kernels then run is in sparse_verdict.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.errors import ExportError
from export.tflite.inspect import inspect_bytes

MIN_SPARSITY = 2 / 3
"""XNNPACK takes its sparse kernels where more than this share of all 1x1 weights is zero."""

_OPERATOR = schema.BuiltinOperator
_DENSIFY_SINCE = (2, 2, 0)
"""The first TensorFlow release whose runtime has DENSIFY, as the converter's own files say."""
_ONE_EACH_SIDE = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
_SPARSE_DIMENSION = schema.DimensionType.SPARSE_CSR
_VECTORS = (
    (np.uint8, schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
    (np.uint16, schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    (np.int32, schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
)


@dataclass(kw_only=True)
class Graph:
    """The main graph of a file, to look things up in and to change."""

    model: Any
    """schema.ModelT"""
    subgraph: Any = field(init=False)
    producers: dict[int, Any] = field(init=False)
    """The operator that makes a tensor."""

    def __post_init__(self) -> None:
        """Looks up who makes what."""
        self.subgraph = self.model.subgraphs[0]
        self.producers = {
            int(tensor): operator for operator in self.subgraph.operators for tensor in operator.outputs
        }

    def kind(self, operator: Any) -> int:  # noqa: ANN401 - generated classes carry no types
        """The operator's schema.BuiltinOperator."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The tensor's shape."""
        shape = self.subgraph.tensors[tensor].shape
        return () if shape is None else tuple(int(each) for each in shape)

    def constant(self, tensor: int, dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
        """What a constant holds, flat; None for an activation."""
        data = self.model.buffers[self.subgraph.tensors[tensor].buffer].data
        return None if data is None or len(data) == 0 else np.asarray(data, np.uint8).view(dtype)

    def stored_weights(self, operator: Any) -> int:  # noqa: ANN401
        """The tensor in which a convolution's weights are stored: behind DENSIFY and DEQUANTIZE."""
        tensor = int(operator.inputs[1])
        while tensor in self.producers:
            if self.kind(self.producers[tensor]) not in (_OPERATOR.DENSIFY, _OPERATOR.DEQUANTIZE):
                break
            tensor = int(self.producers[tensor].inputs[0])
        return tensor

    def pointwise(self) -> list[Any]:
        """The 1x1 convolutions, in the order in which they run."""
        return [
            operator
            for operator in self.subgraph.operators
            if self.kind(operator) == _OPERATOR.CONV_2D and self.shape(int(operator.inputs[1]))[1:3] == (1, 1)
        ]

    def num_zeros(self, tensor: int) -> int:
        """The zeros of constant float32 weights, sparse or dense; 0 for other types."""
        described = self.subgraph.tensors[tensor]
        stored = self.constant(tensor, np.float32) if described.type == schema.TensorType.FLOAT32 else None
        if stored is None:
            return 0
        return math.prod(self.shape(tensor)) - int(np.count_nonzero(stored))

    def add_tensor(self, like: int, *, name: str, shape: Sequence[int]) -> int:
        """A new activation of the type of another tensor."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), 0
        tensor.type = self.subgraph.tensors[like].type
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def add_constant(self, values: npt.NDArray[np.int32], *, name: str) -> int:
        """A new int32 constant."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(values.shape), schema.TensorType.INT32
        tensor.buffer = self._add_buffer(values)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def set_data(self, tensor: int, values: npt.NDArray[Any]) -> None:
        """Gives a constant other data; tensors that share its old data keep them."""
        described = self.subgraph.tensors[tensor]
        users = [
            each
            for subgraph in self.model.subgraphs
            for each in subgraph.tensors
            if each.buffer == described.buffer
        ]
        if len(users) == 1:
            self.model.buffers[described.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        else:
            described.buffer = self._add_buffer(values)

    def operator(self, kind: int, inputs: Sequence[int], output: int, options: tuple[int, object]) -> Any:  # noqa: ANN401
        """A new operator of version 1, which is not in the graph yet."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = list(inputs), [output]
        operator.builtinOptionsType, operator.builtinOptions = options
        return operator

    def packed(self) -> bytes:
        """The file's content."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add_buffer(self, values: npt.NDArray[Any]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _code(self, kind: int) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == kind and code.version == 1:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = kind, 1
        code.deprecatedBuiltinCode = min(kind, _OPERATOR.PLACEHOLDER_FOR_GREATER_OP_CODES)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def read_graph(content: bytes, *, name: str) -> Graph:
    """The main graph of a file's content. Raises BadModelFileError for one that is no whole .tflite."""
    inspect_bytes(content, name=name)
    return Graph(model=schema.ModelT.InitFromPackedBuf(content, 0))


def with_sparse_weights(
    content: bytes, *, min_sparsity: float = MIN_SPARSITY, name: str = "the file"
) -> bytes:
    """The file with the float32 weights of each 1x1 convolution that has enough zeros stored sparsely.

    Enough is more than `min_sparsity`, 0 to 1. Weights that are stored sparsely already stay. The values are
    what they were (-0.0 becomes 0.0). A padding SAME of a 3x3 convolution of stride 2 is written as a PAD
    operator where it is one on each side, since XNNPACK's sparse kernels know it in no other form; it
    computes the same. The file then needs a runtime of TensorFlow 2.2 or newer, and says so.

    Raises ExportError for a share out of range, and where no 1x1 convolution has enough zeros in float32;
    BadModelFileError for no whole .tflite file. `name` stands in errors.
    """
    if not 0 <= min_sparsity < 1:
        raise ExportError(
            f"min_sparsity is {min_sparsity}. Give a share of 0 or more and below 1, such as 0.67."
        )
    graph = read_graph(content, name=name)
    chosen = _sparse_enough(graph, min_sparsity, name)
    if not chosen:
        return content
    operators: list[Any] = []
    densified: dict[int, int] = {}
    for operator in graph.subgraph.operators:
        operators += _explicit_padding(graph, operator)
        if graph.kind(operator) == _OPERATOR.CONV_2D and (weights := int(operator.inputs[1])) in chosen:
            if weights not in densified:
                densified[weights] = _sparsify(graph, weights)
                options = (schema.BuiltinOptions.DensifyOptions, schema.DensifyOptionsT())
                operators.append(graph.operator(_OPERATOR.DENSIFY, [weights], densified[weights], options))
            _replace_input(operator, 1, densified[weights])
        operators.append(operator)
    graph.subgraph.operators = operators
    _raise_min_runtime(graph.model, _DENSIFY_SINCE)
    return graph.packed()


def with_dense_weights(content: bytes, *, name: str = "the file") -> bytes:
    """The file with its sparse float32 weights stored densely, and no DENSIFY before them.

    Undoes with_sparse_weights but for the paddings. Raises ExportError where weights are stored in blocks or
    in another order than rows, BadModelFileError for no whole .tflite file.
    """
    graph = read_graph(content, name=name)
    stored_of: dict[int, int] = {}
    operators = []
    for operator in graph.subgraph.operators:
        tensor = int(operator.inputs[0]) if graph.kind(operator) == _OPERATOR.DENSIFY else -1
        if tensor >= 0 and graph.subgraph.tensors[tensor].type == schema.TensorType.FLOAT32:
            graph.set_data(tensor, _dense(graph, tensor, name))
            graph.subgraph.tensors[tensor].sparsity = None
            stored_of[int(operator.outputs[0])] = tensor
        else:
            operators.append(operator)
    for operator in operators:
        for place, tensor in enumerate(operator.inputs):
            if int(tensor) in stored_of:
                _replace_input(operator, place, stored_of[int(tensor)])
    graph.subgraph.operators = operators
    return graph.packed()


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's SAME pads before and after an axis of `size`."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def _sparse_enough(graph: Graph, min_sparsity: float, name: str) -> set[int]:
    """The dense weights to store sparsely; none where all that could be are already."""
    pointwise = graph.pointwise()
    if not pointwise:
        raise ExportError(
            f"{name} has no 1x1 convolution, and only these have sparse kernels. Expected a model such as "
            "MobileNet; export it without sparse weights."
        )
    stored = {graph.stored_weights(operator) for operator in pointwise}
    types = {graph.subgraph.tensors[tensor].type for tensor in stored}
    if schema.TensorType.FLOAT32 not in types:
        raise ExportError(
            f"{name} stores the weights of its 1x1 convolutions as {type_names(types)}, and only float32 "
            "weights have sparse kernels here. Export it as float32, or without sparse weights."
        )
    shares = {tensor: graph.num_zeros(tensor) / math.prod(graph.shape(tensor)) for tensor in stored}
    sparse = {tensor for tensor in stored if graph.subgraph.tensors[tensor].sparsity is not None}
    # weights that are all zero would leave no data, by which a runtime tells a constant
    chosen = {tensor for tensor, share in shares.items() if min_sparsity < share < 1} - sparse
    if not chosen and not sparse:
        raise ExportError(
            f"the sparsest of the {len(pointwise)} 1x1 convolutions of {name} has {max(shares.values()):.0%} "
            f"zeros. Expected more than {min_sparsity:.0%}: prune it to 75% or more, then export again."
        )
    return chosen


def type_names(types: set[int]) -> str:
    """The names of tensor types, such as 'float16, int8'."""
    names = {code: name.lower() for name, code in vars(schema.TensorType).items() if name[0] != "_"}
    return ", ".join(sorted(names[each] for each in types))


def _explicit_padding(graph: Graph, operator: Any) -> list[Any]:  # noqa: ANN401
    """The PAD to put before a 3x3 convolution of stride 2, which becomes VALID; none where SAME is uneven."""
    if graph.kind(operator) not in (_OPERATOR.CONV_2D, _OPERATOR.DEPTHWISE_CONV_2D):
        return []
    options, source = operator.builtinOptions, int(operator.inputs[0])
    kernel, image = graph.shape(int(operator.inputs[1]))[1:3], graph.shape(source)
    strides = (options.strideH, options.strideW)
    if options.padding != schema.Padding.SAME or kernel != (3, 3) or strides != (2, 2):
        return []
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return []
    if any(same_padding(size, 3, 2) != (1, 1) for size in image[1:3]):
        return []
    batch, height, width, channels = image
    name = f"{(graph.subgraph.tensors[source].name or b'').decode()}/padded"
    padded = graph.add_tensor(source, name=name, shape=(batch, height + 2, width + 2, channels))
    amounts = graph.add_constant(_ONE_EACH_SIDE, name=f"{name}/amounts")
    options.padding = schema.Padding.VALID
    _replace_input(operator, 0, padded)
    pad_options = (schema.BuiltinOptions.PadOptions, schema.PadOptionsT())
    return [graph.operator(_OPERATOR.PAD, [source, amounts], padded, pad_options)]


def _replace_input(operator: Any, place: int, tensor: int) -> None:  # noqa: ANN401
    inputs = [int(each) for each in operator.inputs]
    inputs[place] = tensor
    operator.inputs = inputs


def _sparsify(graph: Graph, tensor: int) -> int:
    """Stores weights (out, 1, 1, in) as each row's non-zero values; gives the tensor that DENSIFY makes."""
    described = graph.subgraph.tensors[tensor]
    shape = graph.shape(tensor)
    stored = graph.constant(tensor, np.float32)
    assert stored is not None
    rows = stored.reshape(-1, shape[-1])
    nonzero = rows != 0
    name = f"{(described.name or b'').decode()}/dense"
    dense = graph.add_tensor(tensor, name=name, shape=shape)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = list(range(len(shape)))
    sparsity.dimMetadata = [_dense_dimension(size) for size in shape[:-1]]
    ends = np.concatenate([[0], np.cumsum(nonzero.sum(axis=1))])
    sparsity.dimMetadata.append(_sparse_dimension(ends, np.nonzero(nonzero)[1]))
    graph.set_data(tensor, rows[nonzero])
    described.sparsity = sparsity
    return dense


def _dense_dimension(size: int) -> Any:  # noqa: ANN401
    dimension = schema.DimensionMetadataT()
    dimension.format, dimension.denseSize = schema.DimensionType.DENSE, size
    return dimension


def _sparse_dimension(ends: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Any:  # noqa: ANN401
    dimension = schema.DimensionMetadataT()
    dimension.format = _SPARSE_DIMENSION
    dimension.arraySegmentsType, dimension.arraySegments = _index_vector(ends)
    dimension.arrayIndicesType, dimension.arrayIndices = _index_vector(columns)
    return dimension


def _index_vector(values: npt.NDArray[np.int64]) -> tuple[int, Any]:
    """The values in the smallest type that holds them."""
    largest = int(values.max(initial=0))
    dtype, kind, vector_class = next(each for each in _VECTORS if largest <= np.iinfo(each[0]).max)
    vector = vector_class()
    vector.values = values.astype(dtype)
    return kind, vector


def _dense(graph: Graph, tensor: int, name: str) -> npt.NDArray[np.float32]:
    """The dense values of weights that are sparse in their last axis."""
    described, shape = graph.subgraph.tensors[tensor], graph.shape(tensor)
    sparsity = described.sparsity
    if (
        sparsity is None
        or list(sparsity.traversalOrder) != list(range(len(shape)))
        or [each.format for each in sparsity.dimMetadata] != [0] * (len(shape) - 1) + [_SPARSE_DIMENSION]
    ):
        raise ExportError(
            f"{name} stores {(described.name or b'').decode()} sparsely, but not row by row. Expected what "
            "with_sparse_weights writes; export the model again without sparse weights."
        )
    stored = graph.constant(tensor, np.float32)
    last = sparsity.dimMetadata[-1]
    ends = np.asarray(last.arraySegments.values, np.int64)
    rows = np.zeros((math.prod(shape[:-1]), shape[-1]), np.float32)
    if stored is not None:
        places = np.repeat(np.arange(len(rows)), np.diff(ends))
        rows[places, np.asarray(last.arrayIndices.values, np.int64)] = stored
    return rows


def _raise_min_runtime(model: Any, at_least: tuple[int, ...]) -> None:  # noqa: ANN401
    """Lets the file's note of the oldest runtime say at least this release; without a note it gets none."""
    for entry in model.metadata or []:
        if entry.name != b"min_runtime_version":
            continue
        buffer = model.buffers[entry.buffer]
        said = bytes(np.asarray(buffer.data, np.uint8)).rstrip(b"\0").decode("ascii")
        numbers = tuple(int(part) for part in said.split(".")) if said else (0,)
        if numbers < at_least:
            text = ".".join(map(str, at_least)).encode().ljust(len(buffer.data), b"\0")
            buffer.data = np.frombuffer(text, np.uint8)

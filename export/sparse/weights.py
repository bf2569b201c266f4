"""A float32 .tflite file with the weights of its pruned 1x1 convolutions stored sparsely.

The form that XNNPACK's sparse kernels need: TFLite's sparse tensors, each followed by a DENSIFY operator
(tensorflow/lite/delegates/xnnpack/README.md, "Sparse Inference"; Elsen et al. 2019, "Fast Sparse ConvNets",
arXiv:1911.09723). verdict.py says whether the kernels take the file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.errors import ExportError
from export.sparse.graph import Graph, read_graph, replace_input, same_padding, type_names

MIN_SPARSITY = 2 / 3
"""XNNPACK uses its sparse kernels if more than this share of all 1x1 weights is zero."""

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


def with_sparse_weights(
    content: bytes, *, min_sparsity: float = MIN_SPARSITY, name: str = "the file"
) -> bytes:
    """The file with the float32 weights of each 1x1 convolution that has enough zeros stored sparsely.

    Enough is more than `min_sparsity`, 0 to 1. Weights already stored sparsely stay so. Values are unchanged
    (-0.0 becomes 0.0). A padding SAME of a 3x3 convolution of stride 2 that is one on each side becomes a PAD
    operator, the only form that XNNPACK's sparse kernels support; the result is the same. The file then needs
    a runtime of TensorFlow 2.2 or newer, and its metadata says so.

    Raises ExportError for a share out of range or if no 1x1 convolution has enough zeros in float32;
    BadModelFileError for no whole .tflite file. `name` appears in errors.
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
            replace_input(operator, 1, densified[weights])
        operators.append(operator)
    graph.subgraph.operators = operators
    _raise_min_runtime(graph.model, _DENSIFY_SINCE)
    return graph.packed()


def _sparse_enough(graph: Graph, min_sparsity: float, name: str) -> set[int]:
    """The dense weights to store sparsely; empty if all that could be already are."""
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
    # weights that are all zero would leave no data, and a runtime recognises a constant by its data
    chosen = {tensor for tensor, share in shares.items() if min_sparsity < share < 1} - sparse
    if not chosen and not sparse:
        raise ExportError(
            f"the sparsest of the {len(pointwise)} 1x1 convolutions of {name} has {max(shares.values()):.0%} "
            f"zeros. Expected more than {min_sparsity:.0%}: prune it to 75% or more, then export again."
        )
    return chosen


def _explicit_padding(graph: Graph, operator: Any) -> list[Any]:  # noqa: ANN401
    """The PAD before a 3x3 convolution of stride 2, which becomes VALID; empty if SAME pads unevenly."""
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
    replace_input(operator, 0, padded)
    pad_options = (schema.BuiltinOptions.PadOptions, schema.PadOptionsT())
    return [graph.operator(_OPERATOR.PAD, [source, amounts], padded, pad_options)]


def _sparsify(graph: Graph, tensor: int) -> int:
    """Stores weights (out, 1, 1, in) as each row's non-zero values; returns DENSIFY's output tensor."""
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


def _raise_min_runtime(model: Any, at_least: tuple[int, ...]) -> None:  # noqa: ANN401
    """Raises the oldest runtime in the file's metadata to this release; without that entry, adds none."""
    for entry in model.metadata or []:
        if entry.name != b"min_runtime_version":
            continue
        buffer = model.buffers[entry.buffer]
        said = bytes(np.asarray(buffer.data, np.uint8)).rstrip(b"\0").decode("ascii")
        numbers = tuple(int(part) for part in said.split(".")) if said else (0,)
        if numbers < at_least:
            text = ".".join(map(str, at_least)).encode().ljust(len(buffer.data), b"\0")
            buffer.data = np.frombuffer(text, np.uint8)

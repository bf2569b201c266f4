"""Checks what a .tflite file says of itself, once when it is opened, so that later code can trust it.

A ValueError says what is wrong; export.tflite.inspect.damage_told makes it BadModelFileError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from export import limits
from export.tflite.content import Operator, Tensor

_BITS = {
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "float64": 64,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "int32": 32,
    "uint32": 32,
    "int64": 64,
    "uint64": 64,
    "bool": 8,
    "complex64": 64,
    "complex128": 128,
}
"""Bits of a value in a dense constant, of the types for which LiteRT demands exactly that many."""
_WEIGHTS_RANK = {
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 4,
    "TRANSPOSE_CONV": 4,
    "CONV_3D": 5,
    "FULLY_CONNECTED": 2,
}
_WEIGHTS_INPUT = 1
_MIN_INPUTS = {"TRANSPOSE_CONV": 3, "DEQUANTIZE": 1, "QUANTIZE": 1}
_VECTOR_TIMES = 4
"""How much all names, shapes and scales may add up to beside the file: equal ones are stored once."""
_VECTOR_ALWAYS_BYTES = 4 * limits.MIB


class VectorBudget:
    """Adds up the names, shapes and scales that are read, which a small file could repeat without end."""

    def __init__(self, file_bytes: int) -> None:
        self._left = _VECTOR_TIMES * file_bytes + _VECTOR_ALWAYS_BYTES

    def take(self, num_bytes: int) -> None:
        """Raises ValueError when all together are too many."""
        self._left -= num_bytes
        if self._left < 0:
            raise ValueError("its names, shapes and scales are many times larger than the file")


def check_counts(model: Any) -> None:  # noqa: ANN401 - generated classes carry no types
    """Raises ValueError for a file without a graph, or with more of anything than it may have."""
    if model.SubgraphsLength() < 1:
        raise ValueError("no graph inside")
    for count, words in _counts(model):
        if count > limits.TFLITE_TENSORS:
            raise ValueError(f"{count:,} {words}, more than {limits.TFLITE_TENSORS:,}")
    graphs = [model.Subgraphs(number) for number in range(model.SubgraphsLength())]
    num_operators = sum(graph.OperatorsLength() for graph in graphs)
    if num_operators > limits.TFLITE_OPERATORS:
        raise ValueError(f"{num_operators:,} operators, more than {limits.TFLITE_OPERATORS:,}")
    num_tensors = sum(graph.TensorsLength() for graph in graphs)
    if num_tensors > limits.TFLITE_TENSORS:
        raise ValueError(f"{num_tensors:,} tensors, more than {limits.TFLITE_TENSORS:,}")


def check_tensor(number: int, tensor: Tensor, *, data_bytes: int, is_sparse: bool) -> None:
    """Raises ValueError for an impossible shape or scale, or a constant of another size than its shape."""
    where = f"tensor {number}"
    if len(tensor.shape) > limits.TFLITE_RANK or any(each < 0 for each in tensor.shape):
        raise ValueError(f"{where} has the shape {tensor.shape[: limits.TFLITE_RANK]}")
    num_values = math.prod(tensor.shape)
    if num_values > limits.TFLITE_TENSOR_VALUES:
        raise ValueError(f"{where} has the shape {tensor.shape}: more than any memory")
    if not all(map(math.isfinite, tensor.scales)):
        raise ValueError(f"{where} has a scale that is no number")
    bits = _BITS.get(tensor.dtype)
    if tensor.is_constant and not is_sparse and bits and data_bytes != num_values * bits // 8:
        raise ValueError(
            f"{where} holds {data_bytes:,} bytes, and its shape {tensor.shape} of {tensor.dtype} takes "
            f"{num_values * bits // 8:,}"
        )


def check_indices(tensors: Sequence[int], own: range, *, of: str, optional: bool = False) -> None:
    """Raises ValueError for an index of a tensor that is not there; `optional` allows -1, a left out one."""
    for each in tensors:
        if each not in own and not (optional and each == -1):
            raise ValueError(f"{of} uses tensor {each}, which is not there")


def check_graph(graph: Sequence[Operator], tensors: Sequence[Tensor]) -> None:
    """Raises ValueError for an operator whose weights are impossible, or that runs before what feeds it."""
    for number, operator in enumerate(graph):
        _check_weights(number, operator, tensors)
    _check_order(graph)


def _counts(model: Any) -> Iterator[tuple[int, str]]:  # noqa: ANN401
    yield model.SubgraphsLength(), "graphs"
    yield model.OperatorCodesLength(), "kinds of operators"
    yield model.BuffersLength(), "buffers"
    yield model.MetadataLength(), "entries of metadata"
    yield model.SignatureDefsLength(), "signatures"
    for number in range(min(model.SignatureDefsLength(), limits.TFLITE_TENSORS)):
        signature = model.SignatureDefs(number)
        yield signature.InputsLength() + signature.OutputsLength(), "names of a signature"


def _check_weights(number: int, operator: Operator, tensors: Sequence[Tensor]) -> None:
    where = f"operator {number} ({operator.name})"
    rank = _WEIGHTS_RANK.get(operator.name)
    least = max(_MIN_INPUTS.get(operator.name, 0), 0 if rank is None else 2)
    used = operator.inputs[:least]
    if len(used) < least or -1 in used or (least and -1 in (operator.outputs or (-1,))):
        raise ValueError(f"{where} lacks an input or an output")
    if rank is not None and len(tensors[used[_WEIGHTS_INPUT]].shape) != rank:
        raise ValueError(f"{where} has weights of the shape {tensors[used[_WEIGHTS_INPUT]].shape}")


def _check_order(graph: Sequence[Operator]) -> None:
    """In execution order each tensor is written once, before it is read."""
    writers: dict[int, int] = {}
    for number, operator in enumerate(graph):
        for tensor in operator.outputs:
            if tensor != -1 and writers.setdefault(tensor, number) != number:
                raise ValueError(f"operators {writers[tensor]} and {number} both write tensor {tensor}")
    for number, operator in enumerate(graph):
        for tensor in operator.inputs:
            if writers.get(tensor, -1) >= number:
                raise ValueError(
                    f"operator {number} ({operator.name}) reads tensor {tensor}, which operator "
                    f"{writers[tensor]} writes, not one before it: the graph runs in a circle"
                )

"""Reads and changes the main graph of a .tflite file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.tflite.inspect import inspect_bytes, unpacked

_OPERATOR = schema.BuiltinOperator


@dataclass(kw_only=True)
class Graph:
    """The main graph of a file."""

    model: Any
    """schema.ModelT"""
    subgraph: Any = field(init=False)
    producers: dict[int, Any] = field(init=False)
    """Tensor -> the operator that writes it."""

    def __post_init__(self) -> None:
        """Finds the writer of each tensor."""
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
        """The values of a constant, flat; None for an activation."""
        data = self.model.buffers[self.subgraph.tensors[tensor].buffer].data
        return None if data is None or len(data) == 0 else np.asarray(data, np.uint8).view(dtype)

    def stored_weights(self, operator: Any) -> int:  # noqa: ANN401
        """The tensor in which a convolution's weights are stored, before DENSIFY and DEQUANTIZE."""
        tensor = int(operator.inputs[1])
        while tensor in self.producers:
            if self.kind(self.producers[tensor]) not in (_OPERATOR.DENSIFY, _OPERATOR.DEQUANTIZE):
                break
            tensor = int(self.producers[tensor].inputs[0])
        return tensor

    def pointwise(self) -> list[Any]:
        """The 1x1 convolutions in execution order."""
        return [
            operator
            for operator in self.subgraph.operators
            if self.kind(operator) == _OPERATOR.CONV_2D and self.shape(int(operator.inputs[1]))[1:3] == (1, 1)
        ]

    def num_zeros(self, tensor: int) -> int:
        """The number of zeros in constant float32 weights, sparse or dense; 0 for other types."""
        described = self.subgraph.tensors[tensor]
        stored = self.constant(tensor, np.float32) if described.type == schema.TensorType.FLOAT32 else None
        if stored is None:
            return 0
        return math.prod(self.shape(tensor)) - int(np.count_nonzero(stored))

    def add_tensor(self, like: int, *, name: str, shape: Sequence[int]) -> int:
        """A new activation with the type of tensor `like`."""
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
        """Replaces a constant's data; tensors that share the old data keep it."""
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
        """A new operator of version 1, not yet added to the graph."""
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
    """The main graph of a file's content. Raises BadModelFileError if it is no whole .tflite."""
    inspect_bytes(content, name=name)
    return Graph(model=unpacked(content, name=name))


def replace_input(operator: Any, place: int, tensor: int) -> None:  # noqa: ANN401
    """Replaces one input of an operator."""
    inputs = [int(each) for each in operator.inputs]
    inputs[place] = tensor
    operator.inputs = inputs


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """The padding before and after an axis of `size` with TensorFlow's SAME."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def type_names(types: set[int]) -> str:
    """The names of tensor types, such as 'float16, int8'."""
    names = {code: name.lower() for name, code in vars(schema.TensorType).items() if name[0] != "_"}
    return ", ".join(sorted(names[each] for each in types))

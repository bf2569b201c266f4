"""Cuts one operator of a .tflite file, with its constants, into a separate file, to run it alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.inspect import unpacked


@dataclass(frozen=True, kw_only=True)
class SubModel:
    """A file with one operator, or a few; tensors are numbered as in the whole file."""

    content: bytes
    inputs: tuple[int, ...]
    """The tensors to feed, in the order of the new file's inputs."""
    outputs: tuple[int, ...]


class Cutter:
    """Cuts operators out of the main graph of one file; bodies of loops and branches are copied unchanged."""

    def __init__(self, content: bytes) -> None:
        """`content` is a whole .tflite file that export.tflite.inspect has read."""
        self.model = unpacked(content, name="the file")
        """The whole file, in the schema's object form."""
        self._graph = self.model.subgraphs[0]
        self._operators: list[Any] = self._graph.operators
        self._fixed_writers = self._find_fixed()

    @property
    def num_operators(self) -> int:
        """How many operators the main graph has."""
        return len(self._operators)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The tensors that the whole file takes."""
        return tuple(_all(self._graph.inputs))

    def data_of(self, tensor: int) -> bytes:
        """The bytes of a constant tensor."""
        return np.asarray(self.model.buffers[self._graph.tensors[tensor].buffer].data, np.uint8).tobytes()

    def replace(self, tensor: int, data: bytes) -> None:
        """Gives a constant tensor its own data."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        self._graph.tensors[tensor].buffer = len(self.model.buffers) - 1

    def cut(self, number: int) -> SubModel:
        """The operator with this number, and those that unpack its constants, such as float16 weights."""
        wanted = [*self._needed(number), number]
        operators = [self._operators[each] for each in wanted]
        made = {int(tensor) for each in operators for tensor in _present(each.outputs)}
        used = [int(tensor) for each in operators for tensor in _present(each.inputs)]
        inputs = tuple(dict.fromkeys(each for each in used if each not in made and not self._constant(each)))
        outputs = tuple(int(tensor) for tensor in _present(operators[-1].outputs))
        return SubModel(content=self._pack(operators, inputs, outputs), inputs=inputs, outputs=outputs)

    def _find_fixed(self) -> dict[int, int]:
        """Tensors computed from constants alone, each with the operator that writes it."""
        found: dict[int, int] = {}
        for number, operator in enumerate(self._operators):
            inputs = _present(operator.inputs)
            if inputs and all(each in found or self._constant(each) for each in inputs):
                found |= dict.fromkeys(_present(operator.outputs), number)
        return found

    def _needed(self, number: int) -> list[int]:
        """The operators on constants only that feed this one, directly or not, in graph order."""
        found: set[int] = set()
        ahead = [number]
        while ahead:
            for tensor in _present(self._operators[ahead.pop()].inputs):
                writer = self._fixed_writers.get(tensor)
                if writer is not None and writer not in found:
                    found.add(writer)
                    ahead.append(writer)
        return sorted(found)

    def _constant(self, tensor: int) -> bool:
        buffer = self.model.buffers[self._graph.tensors[tensor].buffer]
        return (buffer.data is not None and len(buffer.data) > 0) or buffer.offset > 1

    def _pack(self, operators: Sequence[Any], inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bytes:
        """A file with these operators and the tensors and buffers that they use, renumbered."""
        tensors = list(
            dict.fromkeys(
                tensor for each in operators for tensor in [*_present(each.inputs), *_present(each.outputs)]
            )
        )
        place = {tensor: index for index, tensor in enumerate(tensors)}
        place[-1] = -1
        part = copy.copy(self.model)
        buffers: list[Any] = [schema.BufferT()]
        graph = copy.copy(self._graph)
        graph.tensors = [self._renumbered(tensor, buffers) for tensor in tensors]
        graph.inputs, graph.outputs = [place[each] for each in inputs], [place[each] for each in outputs]
        graph.operators = [_moved(each, place) for each in operators]
        others = [self._other_graph(each, buffers) for each in self.model.subgraphs[1:]]
        part.subgraphs, part.buffers = [graph, *others], buffers
        part.metadata = part.metadataBuffer = part.signatureDefs = None
        builder = flatbuffers.Builder(1024)
        builder.Finish(part.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _renumbered(self, tensor: int, buffers: list[Any]) -> Any:  # noqa: ANN401 - generated classes
        return self._with_buffer(self._graph.tensors[tensor], buffers)

    def _other_graph(self, graph: Any, buffers: list[Any]) -> Any:  # noqa: ANN401
        other = copy.copy(graph)
        other.tensors = [self._with_buffer(each, buffers) for each in graph.tensors]
        return other

    def _with_buffer(self, tensor: Any, buffers: list[Any]) -> Any:  # noqa: ANN401
        moved = copy.copy(tensor)
        buffers.append(self.model.buffers[tensor.buffer])
        moved.buffer = len(buffers) - 1
        return moved


def _moved(operator: Any, place: dict[int, int]) -> Any:  # noqa: ANN401
    moved = copy.copy(operator)
    moved.inputs = [place[each] for each in _all(operator.inputs)]
    moved.outputs = [place[each] for each in _all(operator.outputs)]
    moved.intermediates = None
    return moved


def _all(tensors: Any) -> list[int]:  # noqa: ANN401 - a list or an array
    """The tensors of an operator, -1 for omitted ones."""
    return [int(each) for each in tensors]


def _present(tensors: Any) -> list[int]:  # noqa: ANN401
    """The tensors of an operator, without omitted ones."""
    return [int(each) for each in tensors if each != -1]

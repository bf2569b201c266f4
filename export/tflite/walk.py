"""Runs a .tflite file operator by operator over a few images; its constants can be changed on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from export import native_output
from export.tflite.content import FileContents, Operator
from export.tflite.inspect import inspect_bytes
from export.tflite.submodel import Cutter, SubModel

Values = Sequence[npt.NDArray[Any]]
"""A tensor's value for each image, (1, ...)."""


class Walk:
    """The operators of one file in execution order, and the tensors that later ones still read."""

    def __init__(self, content: bytes, images: npt.NDArray[Any]) -> None:
        """`images` (n, height, width, channels) are as the file's only input takes them."""
        self.contents: FileContents = inspect_bytes(content, name="the converted file")
        self._cutter = Cutter(content)
        self._num_images = len(images)
        self._values: dict[int, Values] = {
            self._cutter.inputs[0]: [image[np.newaxis] for image in images],
        }
        self._last_use = {
            tensor: number for number, each in enumerate(self.contents.graph) for tensor in each.inputs
        }

    def operators(self) -> Iterator[tuple[int, Operator]]:
        """Each operator, with its number, after it has run; those on constants alone are left out."""
        for number in range(self._cutter.num_operators):
            operator = self.contents.graph[number]
            if all(each < 0 or self.contents.tensors[each].is_constant for each in operator.inputs):
                continue
            part = self._cutter.cut(number)
            if any(each not in self._values for each in part.inputs):
                continue  # fed by constants alone
            self._run(part)
            yield number, operator
            for each in (*operator.inputs, *operator.outputs):
                if self._last_use.get(each, -1) <= number:
                    self._values.pop(each, None)

    def run(self, number: int) -> None:
        """Runs one operator once more, on what those before it gave."""
        self._run(self._cutter.cut(number))

    def values(self, tensor: int) -> Values:
        """A tensor that the operator just yielded has written."""
        return self._values[tensor]

    def constant(self, tensor: int, dtype: str) -> npt.NDArray[Any]:
        """The content of a constant tensor, flat."""
        return np.frombuffer(self._cutter.data_of(tensor), dtype)

    def replace(self, tensor: int, constant: npt.NDArray[Any]) -> None:
        """Gives a constant tensor another content, which other tensors do not share."""
        self._cutter.replace(tensor, constant.tobytes())

    def written(self) -> bytes:
        """The whole file with its replaced constants."""
        model = self._cutter.model
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _run(self, part: SubModel) -> None:
        with native_output.captured():
            interpreter = Interpreter(model_content=part.content, num_threads=1)
            interpreter.allocate_tensors()
        takes = [each["index"] for each in interpreter.get_input_details()]
        gives = [each["index"] for each in interpreter.get_output_details()]
        found: list[list[npt.NDArray[Any]]] = [[] for _ in gives]
        for image in range(self._num_images):
            for place, tensor in zip(takes, part.inputs, strict=True):
                interpreter.set_tensor(place, self._values[tensor][image])
            interpreter.invoke()
            for values, place in zip(found, gives, strict=True):
                values.append(interpreter.get_tensor(place))
        self._values.update(zip(part.outputs, found, strict=True))

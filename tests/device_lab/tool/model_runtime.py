"""LiteRT, imported late and with as little of numpy as possible; its output is captured and sorted."""

from __future__ import annotations

import os
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_NUMPY_WITHOUT = ("fft", "ma", "polynomial", "random", "testing")
"""Parts of numpy that LiteRT never uses and that take a third of its start-up."""
_CREATED = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
_LOAD_FAILURES = ("Could not open", "Mmap of", "mmap of", "The model ")
_SENTENCES = re.compile(r"(?<=\.)(?=The model )|(?=Node number \d)|(?=Registration failed)")


class LoadError(Exception):
    """The file is not a model; each argument is one line."""


class PrepareError(Exception):
    """The model cannot be prepared; each argument is one line."""


@dataclass(frozen=True)
class Node:
    """An operator of the file, and the delegate kernel that computes it (None: the CPU)."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel: int | None


def import_litert() -> Any:
    """The interpreter's module."""
    for name in _NUMPY_WITHOUT:
        sys.modules.setdefault(f"numpy.{name}", types.ModuleType(f"numpy.{name}"))
    from ai_edge_litert import interpreter

    return interpreter


class Model:
    """A loaded file. `words` is the runtime's output so far."""

    def __init__(self, path: str, *, num_threads: int, xnnpack: bool) -> None:
        litert = import_litert()
        kinds = litert.OpResolverType
        resolver = kinds.AUTO if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.words: list[str] = []
        try:
            with _stderr_caught(self.words):
                self.interpreter = litert.Interpreter(
                    path, num_threads=max(num_threads, 1), experimental_op_resolver_type=resolver
                )
        except ValueError as error:
            lines = _lines(str(error))
            if lines[0].startswith(_LOAD_FAILURES):
                raise LoadError(*lines) from error
            raise PrepareError(*lines, "Failed to initialize the interpreter") from error

    @property
    def xnnpack_created(self) -> bool:
        return _CREATED in self.words

    def inputs(self) -> list[dict]:
        return self.interpreter.get_input_details()

    def outputs(self) -> list[dict]:
        return self.interpreter.get_output_details()

    def allocate(self, shapes: list[list[int]]) -> None:
        """Resizes the inputs to these shapes, if any, and allocates; PrepareError if that fails."""
        try:
            with _stderr_caught(self.words):
                for details, shape in zip(self.inputs(), shapes, strict=bool(shapes)):
                    self.interpreter.resize_tensor_input(details["index"], shape)
                self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise PrepareError(*_lines(str(error)), "Failed to allocate tensors!") from error

    def nodes(self) -> list[Node]:
        """The file's operators in their order."""
        every = self.interpreter._get_ops_details()
        originals = [op for op in every if op["op_name"] != "DELEGATE"]
        taken: dict[int, int] = {}
        for kernel, delegate in enumerate(op for op in every if op["op_name"] == "DELEGATE"):
            for index in _computed_by(delegate, originals):
                taken[index] = kernel
        return [
            Node(
                op["index"], op["op_name"], tuple(op["inputs"]), tuple(op["outputs"]), taken.get(op["index"])
            )
            for op in originals
        ]

    def tensor_details(self, index: int) -> dict:
        return self.interpreter._get_tensor_details(index, 0)

    def fill(self, data: list[Any]) -> None:
        """Copies data into the inputs."""
        for details, array in zip(self.inputs(), data, strict=True):
            self.interpreter.set_tensor(details["index"], array)

    def result_bytes(self) -> bytes:
        """The raw outputs one after another."""
        tensors = [self.interpreter.get_tensor(details["index"]) for details in self.outputs()]
        return b"".join(tensor.tobytes() for tensor in tensors)


def random_input(details: dict) -> Any:
    """An array for that input: -0.5 to 0.5, or any whole number of the type."""
    import numpy as np

    shape, kind = details["shape"], np.dtype(details["dtype"])
    num = int(np.prod(shape))
    if kind.kind != "f":
        array = np.frombuffer(os.urandom(num * kind.itemsize), kind)
        return (array & 1 if kind.kind == "b" else array).reshape(shape)
    noise = np.frombuffer(os.urandom(num * 4), np.uint32).astype(np.float64) / 2**32 - 0.5
    return noise.astype(kind).reshape(shape)


def input_from(content: bytes, details: dict) -> Any:
    """The raw bytes as an array for that input."""
    import numpy as np

    return np.frombuffer(content, details["dtype"]).reshape(details["shape"])


def num_bytes(details: dict) -> int:
    """The size of a tensor in bytes."""
    import numpy as np

    return int(np.prod(details["shape"])) * np.dtype(details["dtype"]).itemsize


def _computed_by(delegate: dict, originals: list[dict]) -> set[int]:
    """The operators that a delegate's kernel replaces, from its outputs back to its inputs."""
    producer = {int(tensor): op for op in originals for tensor in op["outputs"]}
    given = {int(tensor) for tensor in delegate["inputs"]}
    open_tensors = [int(tensor) for tensor in delegate["outputs"]]
    found: set[int] = set()
    while open_tensors:
        op = producer.get(open_tensors.pop())
        if op is not None and op["index"] not in found:
            found.add(op["index"])
            open_tensors += [int(tensor) for tensor in op["inputs"] if int(tensor) not in given]
    return found


def _lines(message: str) -> list[str]:
    """The runtime's joined sentences, split into the lines that the tool would print."""
    message = message.replace(
        "mmap of size 0 requested.", "Mmap of '3' at offset '0' failed with error '22'."
    )
    message = re.sub(r"^Mmap of '\d+'", "Mmap of '3'", message)
    return [line for line in _SENTENCES.split(message) if line]


@contextmanager
def _stderr_caught(lines: list[str]) -> Iterator[None]:
    """Captures what is written to file descriptor 2 and adds it to the lines."""
    kept, caught = os.dup(2), os.memfd_create("stderr")
    os.dup2(caught, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.lseek(caught, 0, os.SEEK_SET)
        lines += os.read(caught, 1 << 20).decode(errors="replace").splitlines()
        os.close(caught)
        os.close(kept)

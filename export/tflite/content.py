"""The content of a .tflite file as records: tensors, operators, inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

from export.artifact import OperatorUse, TensorInfo
from spelling import counted, some


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
class Signature:
    """A named function of the file: one of its graphs with its inputs and outputs."""

    name: str
    graph: int
    """The number of the graph; a runtime that is asked for none runs the graph 0."""
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


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
    signatures: tuple[Signature, ...]
    """Of a file with several; empty for any other."""
    output_tensors: tuple[int, ...]
    """The indices of the outputs among the tensors."""
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


def signatures_in_words(contents: FileContents) -> str:
    """Which of a file's several signatures is read, and that the others are not; empty for any other file."""
    read = [each.name for each in contents.signatures if each.graph == 0]
    others = [each.name for each in contents.signatures if each.graph != 0]
    if not others:
        return ""
    first = f"'{read[0]}' is" if read else "its first graph, which none of them names, is"
    what = counted(len(contents.signatures), "signature")
    return f"it has {what}: {first} read, as every runtime does unless told otherwise, not {some(others)}"

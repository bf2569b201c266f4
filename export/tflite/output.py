"""What a file's output is: the tensor, the operator that makes it, and what its values mean."""

from __future__ import annotations

import math

from export.errors import ExportError
from export.head import Head, head_of
from export.tflite.content import FileContents

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
"""Operators between int8 and float ones, which belong to no layer."""
PROBABILITIES = ("SOFTMAX", "LOGISTIC")
"""Operators that turn class scores into probabilities at a file's end."""


def network_output(contents: FileContents) -> int:
    """The tensor with the network's output, before conversions of its type: float to int8, int8 to uint8.

    Raises ExportError for a file without an output.
    """
    if not contents.output_tensors:
        raise ExportError(
            "the file gives no output. Expected a classifier, which gives one: export it again."
        )
    tensor = contents.output_tensors[0]
    for operator in reversed(contents.graph):
        if tensor in operator.outputs and operator.name in CONVERSIONS:
            tensor = operator.inputs[0]
    return tensor


def last_operator(contents: FileContents) -> str:
    """The name of the operator that makes the file's output, before conversions of its type."""
    return made_by(contents, network_output(contents))


def gives_probabilities(contents: FileContents) -> bool:
    """Whether the file's outputs are probabilities, not class scores."""
    return last_operator(contents) in PROBABILITIES


def head_of_file(contents: FileContents) -> Head:
    """What the file's outputs mean."""
    has_sigmoid = last_operator(contents) == "LOGISTIC"
    return head_of(math.prod(contents.outputs[0].shape), has_sigmoid=has_sigmoid)


def made_by(contents: FileContents, tensor: int) -> str:
    """The name of the operator that writes a tensor; empty if none does."""
    return next((operator.name for operator in contents.graph if tensor in operator.outputs), "")

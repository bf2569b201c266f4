"""What the walkers read of a Keras graph, which carries no types: calls, operations called, and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Tensor(Protocol):
    """A symbolic value; two are the same one where they are one object."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Operation(Protocol):
    """A layer, a nested model, or a bare operation such as `x / 255`."""

    name: str


class Arguments(Protocol):
    """What an operation was called with: tensors and settings."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]


class Node(Protocol):
    """One call of an operation; an operation that runs at two places has two."""

    operation: Operation
    arguments: Arguments
    input_tensors: Sequence[Tensor]
    outputs: Sequence[Tensor]
    is_input: bool

"""Types for the parts of a Keras graph that our walkers read: calls, operations and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Tensor(Protocol):
    """A symbolic value; compared by identity."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Operation(Protocol):
    """A layer, a nested model, or a bare operation such as `x / 255`."""

    name: str


class Arguments(Protocol):
    """The arguments of a call: tensors and settings."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def fill_in(self, tensor_dict: Mapping[int, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments with other tensors, by id() of their own."""


class Node(Protocol):
    """One call of an operation; an operation used twice has two."""

    operation: Operation
    arguments: Arguments
    input_tensors: Sequence[Tensor]
    outputs: Sequence[Tensor]
    is_input: bool

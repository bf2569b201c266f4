"""What a model does with its input first, and the convolution that reads the image."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from export.graph.calls import CallGraph
from export.graph.identities import is_identity
from keras_graph.nodes import Node, Tensor
from keras_graph.walk import is_graph


@dataclass(frozen=True, kw_only=True)
class FirstConvolution:
    """The convolution that reads the rescaled values."""

    layer: keras.Layer
    columns: int
    """Columns of the image that it reads as channels of one (column_pairs.py)."""
    is_padded: bool
    """Whether zeros stand around what it reads."""


def first_convolution(model: keras.Model, rescaling: tuple[keras.Operation, ...]) -> FirstConvolution | None:
    """The layer that reads the rescaled values, if it is a convolution; padding may stand before it."""
    left, columns, is_padded = set(map(id, rescaling)), 1, False
    for node in chain(model):
        operation = node.operation
        if id(operation) in left:
            left.remove(id(operation))
        elif left or is_identity(operation):
            continue
        elif isinstance(operation, keras.layers.ZeroPadding2D):
            is_padded |= bool(np.any(operation.padding))
        elif type(operation) is keras.layers.Reshape and (more := _columns_as_channels(node)):
            columns *= more
        elif isinstance(operation, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            if operation.data_format == "channels_first":
                return None
            return FirstConvolution(layer=operation, columns=columns, is_padded=is_padded or _pads(node))
        else:
            return None
    return None


def chain(model: keras.Model) -> Generator[Node, None, bool]:
    """The calls from the input on, each the only reader of the one before; those in nested models too.

    Returns whether the last one is the model's output.
    """
    graph = CallGraph(model)
    tensor = model.inputs[0]
    while (node := _only_reader(graph, tensor)) is not None:
        if not is_graph(node.operation):
            yield node
        elif not (yield from chain(node.operation)):
            return False
        tensor = node.outputs[0]
    return tensor is model.outputs[0]


def _columns_as_channels(node: Node) -> int:
    """How many columns of an image (h, w, c) a Reshape makes the channels of one; 0 for another."""
    match node.input_tensors[0].shape[1:], node.outputs[0].shape[1:]:
        case (int(height), int(_), int(channels)), (same_height, int(_), int(more)):
            return more // channels if same_height == height and more % channels == 0 else 0
    return 0


def _pads(node: Node) -> bool:
    """Whether a convolution adds zeros by itself."""
    layer: keras.Layer = node.operation
    if layer.padding != "same":
        return False
    axes = zip(
        node.input_tensors[0].shape[1:3],
        layer.kernel_size,
        layer.strides,
        layer.dilation_rate,
        strict=True,
    )
    return any(_is_axis_padded(*axis) for axis in axes)


def _is_axis_padded(size: int | None, taps: int, stride: int, dilation: int) -> bool:
    return size is None or (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 > size


def _only_reader(graph: CallGraph, tensor: Tensor) -> Any:  # noqa: ANN401 - Keras carries no types
    """The only call that reads a tensor, if its operation is called nowhere else; otherwise None."""
    readers = [node for node in graph.nodes if any(each is tensor for each in node.input_tensors)]
    if len(readers) != 1 or not graph.is_called_once(readers[0].operation):
        return None
    return readers[0]

"""Reverses the order of a model's input channels in the weights that read them, at no operator's cost."""

from __future__ import annotations

import keras
import numpy as np

from export.errors import ExportError
from export.graph.calls import CallGraph
from export.graph.changes import Changes
from export.graph.identities import is_identity
from keras_graph.nodes import Node, Tensor
from keras_graph.walk import is_graph

_EACH_CHANNEL_ALIKE = (
    "Activation", "AveragePooling2D", "Cropping2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    "LeakyReLU", "MaxPooling2D", "ReLU", "Resizing", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip
"""Layers that treat each channel alike: their readers then read the channels in the other order."""
_ARITHMETIC = ("Add", "Divide", "Multiply", "Subtract", "TrueDivide")


def with_channels_reversed(model: keras.Model) -> keras.Model:
    """A copy of the model that gives for RGB what the model gives for BGR, and the other way round.

    Raises ExportError for a layer that reads the image and whose weights cannot take the order.
    """
    changes = Changes()
    if _reverse(model, model.inputs[0], changes):
        raise ExportError("--channels bgr: no weights read the image. Expected a model that was trained.")
    return changes.carried_out(model)


def _reverse(model: keras.Model, tensor: Tensor, changes: Changes) -> bool:
    """Notes each layer that reads a tensor with reversed channels; whether these reach the model's output."""
    graph, reaches_output = CallGraph(model), False
    waiting = [tensor]
    while waiting:
        for node in graph.readers_of(waiting.pop()):
            if node is None:
                reaches_output = True
            elif _passes_on(graph, node, changes):
                waiting += node.outputs
    return reaches_output


def _passes_on(graph: CallGraph, node: Node, changes: Changes) -> bool:
    """Whether a call's output has reversed channels too; notes its layer if its weights read them."""
    layer = node.operation
    if _treats_channels_alike(node):
        return True
    once = graph.is_called_once(layer) and graph.runs_plainly(layer)
    if is_graph(layer) and once:
        assert isinstance(layer, keras.Model)
        return _reverse(layer, layer.inputs[0], changes)
    if isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3) and once:
        changes.reversed_inputs.add(id(layer))
        return True
    if _is_weighted(graph, layer):
        changes.reversed_inputs.add(id(layer))
        return False
    raise ExportError(
        f"--channels bgr: {layer.name} ({type(layer).__name__}) reads the image, and its order of channels "
        "cannot be reversed. Expected a convolution, Dense or BatchNormalization there. Reverse the channels "
        "in the model: keras.ops.flip(image, axis=-1) first, and save it again."
    )


def _is_weighted(graph: CallGraph, layer: keras.Operation) -> bool:
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    return type(layer) in kinds and graph.is_plainly_weighted(layer) and getattr(layer, "groups", 1) == 1


def _treats_channels_alike(node: Node) -> bool:
    layer = node.operation
    name = type(layer).__name__
    if name in _ARITHMETIC:
        return len(node.input_tensors) == 1 and isinstance(node.arguments.args[-1], int | float)
    if isinstance(layer, keras.layers.Rescaling):
        return np.size(layer.scale) == np.size(layer.offset) == 1
    if name in _EACH_CHANNEL_ALIKE:
        is_softmax = getattr(layer, "activation", None) is keras.activations.softmax
        return getattr(layer, "data_format", "channels_last") == "channels_last" and not is_softmax
    return is_identity(layer)

"""Graph rewrites that do not change the model's output.

Each makes a new model with its own layers and weights; `check_equal` in equality.py compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from export.graph.calls import CallGraph, graphs_within
from export.graph.changes import Affine, Changes, Depthwise
from export.graph.column_pairs import column_pairs
from export.graph.identities import is_identity
from export.rewrites import Rewrite, RewriteBounds
from keras_graph.nodes import Node
from keras_graph.walk import is_graph, num_channels

DEPTHWISE_SUFFIX = "_depthwise"
"""Suffix of the layers that with_depthwise_before_norms() adds, after the BatchNormalization's name."""

MAX_DEPTHWISE_TAPS = 25
"""Largest average pooling window, in positions, for which a depthwise convolution is faster in int8: the
limit of XNNPACK's int8 depthwise kernels (docs/compression.md)."""

_RESCALING = (keras.layers.Rescaling, keras.layers.Normalization)
_WITHOUT_ACTIVATION = (keras.layers.Concatenate, keras.layers.ZeroPadding2D, keras.layers.Cropping2D)
"""Layers that TFLite cannot fuse an activation into."""


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A model with the same outputs, and the changes made."""

    model: keras.Model
    done: tuple[str, ...]
    """By layer name, in words; empty if there was nothing to do."""


def rewrite(
    model: keras.Model,
    wanted: Collection[Rewrite] = tuple(Rewrite),
    *,
    bounds: RewriteBounds = RewriteBounds(),  # noqa: B008 - frozen
) -> Rewritten:
    """A new model with the wanted rewrites made; layer names are unchanged.

    A BatchNormalization is folded if it is the only reader of a convolution (Conv2D, Conv2DTranspose,
    DepthwiseConv2D, SeparableConv2D) or Dense without activation. Nested models are rewritten too. Layers
    that run in training mode, are called several times, or are channels first are unchanged.
    """
    changes = Changes()
    _Planner(changes, frozenset(wanted), bounds).plan(model, prefix="")
    return Rewritten(model=changes.carried_out(model), done=tuple(changes.done))


def with_depthwise_before_norms(model: keras.Model) -> keras.Model:
    """The model with a 1x1 depthwise convolution of ones before each BatchNormalization without one.

    The convolution is named `<name of the BatchNormalization>_depthwise`, has no bias and is trainable.
    Outputs are bit-equal. TensorFlow Model Optimization can train a BatchNormalization quantized only after a
    convolution or Dense that nothing else reads.
    """
    changes = Changes()
    _plan_depthwise_before(changes, model)
    return changes.carried_out(model)


def with_norms_in_dense(model: keras.Model) -> keras.Model:
    """The model with each BatchNormalization behind a Dense folded into it.

    The converter folds one into a Dense in float, and not into one trained quantized.
    """
    changes = Changes()
    for _, graph in graphs_within(model):
        _plan_norms_in_dense(changes, CallGraph(graph))
    return changes.carried_out(model) if changes.folded else model


class _Planner:
    """Finds the possible rewrites in a model and in its nested models."""

    def __init__(self, changes: Changes, wanted: frozenset[Rewrite], bounds: RewriteBounds) -> None:
        self._changes = changes
        self._bounds = bounds
        self._wanted = wanted
        self._planned: set[int] = set()

    def plan(self, model: keras.Model, *, prefix: str) -> None:
        """Adds the rewrites of this model to the changes; `prefix` comes before layer names in words."""
        if id(model) in self._planned:
            return
        self._planned.add(id(model))
        graph = CallGraph(model)
        if Rewrite.DROP_IDENTITY in self._wanted:
            self._drop_identities(graph, prefix)
        for node in graph.nodes:
            layer = node.operation
            if id(layer) in self._changes.removed:
                continue
            if is_graph(layer) and graph.runs_plainly(layer):
                self.plan(layer, prefix=f"{prefix}{layer.name}/")
            elif _is_norm(graph, node):
                self._norm(graph, node, prefix)
            elif type(layer) is keras.layers.AveragePooling2D and graph.is_called_once(layer):
                self._pool(graph, node, prefix)
            elif type(layer) is keras.layers.Conv2D and Rewrite.PAIR_COLUMNS in self._wanted:
                self._pairs(graph, node, prefix)
            elif _relu(layer) is not None and Rewrite.DEPTHWISE_RELU in self._wanted:
                self._lone_relu(graph, node, prefix)

    def _drop_identities(self, graph: CallGraph, prefix: str) -> None:
        for node in graph.nodes:
            layer = node.operation
            if is_identity(layer) and graph.runs_plainly(layer):
                graph.remove(node)
                if id(layer) not in self._changes.removed:
                    self._changes.removed.add(id(layer))
                    self._changes.done.append(f"{prefix}{layer.name} ({type(layer).__name__}) left out")

    def _norm(self, graph: CallGraph, node: Node, prefix: str) -> None:
        norm, affine, changes = node.operation, _affine(node.operation), self._changes
        layer = graph.weighted_before(node)
        if layer is not None and Rewrite.FOLD_BATCH_NORM in self._wanted:
            before = changes.folded.get(id(layer))
            changes.folded[id(layer)] = affine if before is None else before.then(affine)
            changes.removed.add(id(norm))
            graph.remove(node)
            changes.done.append(f"{prefix}{norm.name} folded into {prefix}{layer.name}")
        elif (
            layer is None
            and Rewrite.DEPTHWISE_BATCH_NORM in self._wanted
            and len(node.input_tensors[0].shape) == 4
            and len(affine.factor) <= self._most_norm_channels(graph, node)
        ):
            kernel = affine.factor.reshape(1, 1, -1, 1)
            changes.depthwise[id(norm)] = Depthwise(kernel=kernel, bias=affine.shift)
            changes.done.append(f"{prefix}{norm.name} written as a 1x1 depthwise convolution")

    def _most_norm_channels(self, graph: CallGraph, node: Node) -> float:
        kinds = _relus(graph.readers_of(node.outputs[0]))
        takes_relu = len(kinds) == 1 and None not in kinds
        plain = math.inf if takes_relu else self._bounds.max_plain_norm_channels
        return min(plain, self._bounds.max_norm_channels)

    def _pool(self, graph: CallGraph, node: Node, prefix: str) -> None:
        pool: keras.Layer = node.operation
        changes = self._changes
        if pool.data_format != "channels_last":
            return
        depthwise = Rewrite.DEPTHWISE_POOL in self._wanted and _is_small_window(pool)
        conv = graph.weighted_before(node)
        if Rewrite.POOL_FIRST not in self._wanted or not _is_pointwise(conv) or np.prod(pool.strides) == 1:
            conv = None
        if conv is not None and not depthwise:
            growth = num_channels(conv.input) / conv.filters
            conv = conv if growth <= self._bounds.max_pool_growth else None
        if conv is not None:
            changes.moved_behind[id(pool)] = id(conv)
            changes.done.append(f"{prefix}{pool.name} before {prefix}{conv.name}")
        if depthwise:
            read = node.input_tensors[0] if conv is None else conv.input
            kernel = np.full((*pool.pool_size, num_channels(read), 1), 1 / np.prod(pool.pool_size))
            changes.depthwise[id(pool)] = Depthwise(kernel=kernel, strides=tuple(pool.strides))
            changes.done.append(f"{prefix}{pool.name} written as a depthwise convolution")

    def _lone_relu(self, graph: CallGraph, node: Node, prefix: str) -> None:
        layer: keras.Layer = node.operation
        output, writer = node.outputs[0], graph.writer(node)
        if len(output.shape) != 4 or not (graph.is_called_once(layer) and graph.runs_plainly(layer)):
            return
        is_taken_in = len(_relus(graph.readers(node))) == 1  # equal calls become one
        if writer is None or (is_taken_in and type(writer.operation) not in _WITHOUT_ACTIVATION):
            return
        ones = np.ones((1, 1, num_channels(output), 1))
        self._changes.depthwise[id(layer)] = Depthwise(kernel=ones, activation=_relu(layer))
        self._changes.done.append(f"{prefix}{layer.name} written as a 1x1 depthwise convolution's activation")

    def _pairs(self, graph: CallGraph, node: Node, prefix: str) -> None:
        conv, before = node.operation, graph.writer(node)
        if not graph.is_plainly_weighted(conv):
            return
        pad, image = None, node.input_tensors[0]
        if before is not None and _is_zero_padding(graph, before.operation) and graph.is_only_reader(node):
            pad, image, before = before.operation, before.input_tensors[0], graph.writer(before)
        if not _is_image(graph, before) or (pairs := column_pairs(conv, pad, image)) is None:
            return
        self._changes.paired[id(conv)] = pairs
        self._changes.done.append(f"{prefix}{conv.name} on pairs of columns")
        if pad is not None:
            self._changes.removed.add(id(pad))


def _plan_depthwise_before(changes: Changes, model: keras.Model) -> None:
    graph = CallGraph(model)
    for node in graph.nodes:
        layer = node.operation
        if is_graph(layer):
            _plan_depthwise_before(changes, layer)
        elif (
            isinstance(layer, keras.layers.BatchNormalization)
            and len(node.input_tensors[0].shape) == 4
            and layer.axis in (-1, 3)
            and graph.is_called_once(layer)
            and graph.weighted_before(node) is None
        ):
            changes.ones_before[id(layer)] = layer.name + DEPTHWISE_SUFFIX


def _plan_norms_in_dense(changes: Changes, graph: CallGraph) -> None:
    for node in graph.nodes:
        norm: keras.Layer = node.operation
        if not _is_norm(graph, node):
            continue
        layer = graph.weighted_before(node)
        if type(layer) is keras.layers.Dense and id(layer) not in changes.folded:
            changes.folded[id(layer)] = _affine(norm)
            changes.removed.add(id(norm))


def _relu(layer: keras.Operation) -> str | None:
    """'relu' or 'relu6' if a layer is exactly that, else None."""
    if type(layer) is keras.layers.ReLU and not layer.negative_slope and not layer.threshold:
        return {None: "relu", 6.0: "relu6"}.get(layer.max_value)
    if type(layer) is keras.layers.Activation:
        kinds = {keras.activations.relu: "relu", keras.activations.relu6: "relu6"}
        return next((name for function, name in kinds.items() if layer.activation is function), None)
    return None


def _relus(readers: Collection[Node | None]) -> set[str | None]:
    """The kinds of ReLU among the readers; None stands for any other reader, and for the model's output."""
    return {None if each is None else _relu(each.operation) for each in readers}


def _is_norm(graph: CallGraph, node: Node) -> bool:
    """Whether a call is the only one of a BatchNormalization over the last axis, in inference."""
    norm: keras.Layer = node.operation
    return (
        type(norm) is keras.layers.BatchNormalization
        and norm.axis in (-1, len(node.input_tensors[0].shape) - 1)
        and graph.is_called_once(norm)
        and graph.runs_plainly(norm)
    )


def _is_pointwise(layer: Any) -> bool:  # noqa: ANN401
    return type(layer) is keras.layers.Conv2D and (*layer.kernel_size, *layer.strides) == (1, 1, 1, 1)


def _is_small_window(pool: keras.layers.AveragePooling2D) -> bool:
    places: int = math.prod(pool.pool_size)
    return pool.padding == "valid" and places <= MAX_DEPTHWISE_TAPS


def _is_zero_padding(graph: CallGraph, layer: keras.Operation) -> bool:
    return (
        type(layer) is keras.layers.ZeroPadding2D
        and graph.is_called_once(layer)
        and layer.data_format == "channels_last"
    )


def _is_image(graph: CallGraph, writer: Node | None) -> bool:
    """Whether a call's output is the model's input, or the rescaled input."""
    while writer is not None and isinstance(writer.operation, _RESCALING):
        writer = graph.writer(writer)
    return writer is None


def _affine(norm: keras.layers.BatchNormalization) -> Affine:
    """The function of a BatchNormalization in inference."""
    mean, variance = (np.asarray(each, np.float64) for each in (norm.moving_mean, norm.moving_variance))
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * np.asarray(norm.gamma, np.float64)
    shift = -mean * factor
    if norm.center:
        shift = shift + np.asarray(norm.beta, np.float64)
    return Affine(factor=factor, shift=shift)

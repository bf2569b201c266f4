"""Graph rewrites that do not change the model's output.

Each makes a new model with its own layers and weights; `check_equal` compares the two on real images.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from export.graph.calls import CallGraph, graphs_within
from export.graph.changes import Affine, Changes, Depthwise
from export.graph.column_pairs import column_pairs
from export.graph.identities import is_identity
from export.head import Head, head_of
from export.rewrites import Rewrite, RewriteBounds
from keras_graph.nodes import Node
from keras_graph.walk import is_graph, last_call, num_channels, structure
from spelling import counted

TOLERANCE = 1e-3
"""Share of the largest class score. Float32 rounding in another order gave up to 3e-5 (MobileNetV2, 53
layers), float16 weights 5e-4; a wrong weight or epsilon changes scores by percents."""

ROUNDINGS = 8
"""The allowed difference, as a multiple of what one bit of the input changes, since layers round too.
EfficientNetB0 with random statistics, on noise: one bit 0.0013 to 0.0018, rewritten 0.0012 to 0.0056."""
MAX_TOLERANCE = 0.05
"""The largest allowed difference, however much a model magnifies."""

DEPTHWISE_SUFFIX = "_depthwise"
"""Suffix of the layers that with_depthwise_before_norms() adds, after the BatchNormalization's name."""

MAX_DEPTHWISE_TAPS = 25
"""Largest average pooling window, in positions, for which a depthwise convolution is faster in int8: the
limit of XNNPACK's int8 depthwise kernels (docs/compression.md)."""

_BATCH_IMAGES = 32
_TINY = 1e-30
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


def ends_in(model: keras.Model) -> str | None:
    """'softmax' or 'sigmoid' if that is the model's last layer or its activation; None for class scores."""
    last = _innermost_last(model)
    return _of_its_own(last) or _as_activation(last)


def is_probabilities(operation: keras.Operation) -> bool:
    """Whether a layer is a softmax or sigmoid and nothing else."""
    return _of_its_own(operation) is not None


def head_of_model(model: keras.Model) -> Head:
    """What the model's outputs mean."""
    return head_of(int(model.outputs[0].shape[-1]), has_sigmoid=ends_in(model) == "sigmoid")


def without_probabilities(model: keras.Model) -> keras.Model:
    """The model up to its class scores, without its last softmax or sigmoid, a layer or an activation.

    Raises ExportError if it ends in something else.
    """
    changes = Changes()
    last = _innermost_last(model)
    if _of_its_own(last):
        changes.removed.add(id(last))
    elif _as_activation(last):
        changes.linear.add(id(last))
    else:
        raise ExportError(
            f"'{model.name}' ends in '{last.name}' ({type(last).__name__}), not in a softmax or sigmoid. "
            "Expected such a layer or activation as its last: if it gives class scores already, export it "
            "unchanged."
        )
    return changes.carried_out(model)


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


def check_equal(
    original: keras.Model,
    rewritten: keras.Model,
    pixels: npt.NDArray[Any],
    *,
    tolerance: float = TOLERANCE,
    instead: str = "without rewrites (--no-rewrite)",
) -> float:
    """The largest difference of both models on these images. Raises ExportError if it is above the tolerance.

    A model that magnifies rounding is allowed as much as rounding can make in it. `instead` says in the error
    how the model can still be exported.
    """
    difference = largest_difference(original, rewritten, pixels)
    if difference <= tolerance:
        return difference
    allowed = max(tolerance, min(ROUNDINGS * effect_of_rounding(original, pixels), MAX_TOLERANCE))
    if not difference <= allowed:
        raise ExportError(
            f"the rewritten '{original.name}' differs by {difference:.2g} of the largest output from the "
            f"original on {counted(len(pixels), 'image')}; at most {allowed:.2g} was expected. Export it "
            f"{instead}, "
            "and report the model's summary."
        )
    return difference


def effect_of_rounding(model: keras.Model, pixels: npt.NDArray[Any]) -> float:
    """The largest change of the outputs, over the largest output, when the last bit of each pixel changes."""
    signs = np.random.default_rng(0).choice(np.asarray([-1, 1], np.float32), pixels.shape)
    images = pixels.astype(np.float32)
    scores = _scores(model) or model
    changed = images * (1 + signs * np.finfo(np.float32).eps)
    expected, found = (np.asarray(scores(each, training=False), np.float64) for each in (images, changed))
    return float(np.abs(expected - found).max() / max(np.abs(expected).max(), _TINY))


def largest_difference(model: keras.Model, rewritten: keras.Model, pixels: npt.NDArray[Any]) -> float:
    """The largest difference of the outputs for (n, height, width, channels), over the largest output.

    If both models end in a softmax or sigmoid, class scores are compared, since these hide differences.
    """
    shape = tuple(model.inputs[0].shape[1:])
    if pixels.shape[1:] != shape or not len(pixels):
        raise ExportError(
            f"images of shape {pixels.shape} to compare '{model.name}' with. "
            f"Expected (n, {', '.join(map(str, shape))}), raw 0-255, at least one."
        )
    pair: list[Any] = [_scores(model), _scores(rewritten)]
    if None in pair:
        pair = [model, rewritten]
    difference, largest = 0.0, 0.0
    for start in range(0, len(pixels), _BATCH_IMAGES):
        batch = pixels[start : start + _BATCH_IMAGES].astype(np.float32)
        expected, found = (np.asarray(each(batch, training=False), np.float64) for each in pair)
        # np.maximum keeps a NaN, which max() may pass over
        difference = float(np.maximum(difference, np.abs(expected - found).max()))
        largest = float(np.maximum(largest, np.abs(expected).max()))
    return difference / max(largest, _TINY)


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


def _innermost_last(model: keras.Model) -> keras.Operation:
    last: keras.Operation = last_call(model).operation
    while is_graph(last):
        last = last_call(last).operation
    return last


def _as_activation(operation: keras.Operation) -> str | None:
    """'softmax' or 'sigmoid' if that is a layer's activation."""
    kinds = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    activation = getattr(operation, "activation", None)
    return next((name for function, name in kinds.items() if activation is function), None)


def _of_its_own(operation: keras.Operation) -> str | None:
    """'softmax' or 'sigmoid' if an operation does nothing else."""
    if isinstance(operation, keras.layers.Activation):
        return _as_activation(operation)
    return {"Softmax": "softmax", "Sigmoid": "sigmoid"}.get(type(operation).__name__)


def _scores(model: keras.Model) -> keras.Model | None:
    """The model up to its class scores; None if it ends in neither softmax nor sigmoid."""
    last = last_call(model)
    if _of_its_own(last.operation):  # with the model's own layers: a copy takes its time
        return keras.Model(structure(model, "inputs"), last.input_tensors[0])
    return without_probabilities(model) if ends_in(model) else None

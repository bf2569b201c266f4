"""Channels brought to one range for int8, which has one scale for all channels of an activation.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.1. The paper quantizes weights with one scale a layer, and evens out the ranges of
weights; our files have one a channel, so that what remains to be made equal are the activations. It replaces
ReLU6 by ReLU; here ReLU6 stays, and a channel is only scaled as far as it stays below the clip on the given
images. And it takes pairs of layers in a row; here what is written may be concatenated, pooled and read by
many layers: DenseNet's blocks, which TFLite gives one scale each, and SqueezeNet's Fire modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from export.graph.calls import CallGraph, graphs_within
from export.graph.changes import Affine, Changes, folded_weights
from export.graph.layer_outputs import LayerOutputs
from export.graph.rewrite import rewrite
from export.quantization.calibrate import check_pixels
from export.rewrites import Rewrite
from keras_graph.nodes import Node, Tensor
from keras_graph.walk import num_channels

Floats = npt.NDArray[np.float64]
Channels = npt.NDArray[np.int64]
"""Of a tensor: the number that each of its channels has among all that the graph's layers write."""

HEADROOM = 1.0
"""How many times the largest value on the given images is to fit below the clip. With biases corrected, the
int8 class scores of a published MobileNet were off by 0.166 at 1, 0.188 at 1.15, 0.220 at 1.5 (rms)."""
_LARGEST_FACTOR = 100.0
"""A channel that is nearly silent on the given images may not be so on others."""
_ROUNDS = 10
_IMAGES = 4
"""Axes of a tensor of images."""
WEIGHT_STEPS = 127
"""Of a kernel's largest weight, as int8 stores it."""
_ACTIVATION_STEPS = 255
_PASSED = (
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
)
"""Layers through which a channel's positive factor passes."""
_CHANNELWISE = (keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization)
"""Layers that take a channel's factor back with weights that have a scale of their own for it."""


@dataclass(frozen=True, kw_only=True)
class Equalized:
    """A model that computes the same in float, and what was done to it."""

    model: keras.Model
    done: tuple[str, ...]
    """A layer whose channels were scaled each, in words."""
    factors: Mapping[str, Floats]
    """Layer -> what each of its output channels was multiplied by."""


def equalize(model: keras.Model, pixels: npt.NDArray[np.uint8], *, headroom: float = HEADROOM) -> Equalized:
    """The model with channels of activations scaled up to the layer's range, and the next weights down.

    `pixels` (n, height, width, channels) are raw 0-255. BatchNorms are folded first. Scales what a
    convolution, Dense or BatchNormalization writes, through ReLU, ReLU6, poolings and concatenations, where
    all that reads it are such layers. The function in float is the same for images whose activations stay
    within those of the given ones.
    """
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), "int8")
    folded = rewrite(model, (Rewrite.FOLD_BATCH_NORM, Rewrite.DROP_IDENTITY)).model
    return _equalized(folded, pixels, headroom=headroom, only_free=False)


def equalize_freely(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> Equalized:
    """The model with only those channels scaled for which nothing is given up, and with all of its layers.

    That is where nothing clips, so that the function in float is the same for all images, and where all that
    reads them are BatchNorms that no convolution feeds, whose statistics take the factors back: as in
    DenseNet, and nowhere in MobileNet or SqueezeNet. No weight that reads is rounded otherwise, whatever its
    scales. `pixels` are those of equalize().
    """
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), "int8")
    return _equalized(Changes().carried_out(model), pixels, headroom=HEADROOM, only_free=True)


def _equalized(
    model: keras.Model, pixels: npt.NDArray[np.uint8], *, headroom: float, only_free: bool
) -> Equalized:
    """Scales the model's own weights."""
    graphs = [_Graph(graph, prefix, only_free=only_free) for prefix, graph in graphs_within(model)]
    names = {name for graph in graphs for name in graph.needed()}
    largest, squares = _statistics(model, names, pixels)
    done, factors = [], {}
    for graph in graphs:
        found = graph.factors(largest, squares, headroom=headroom)
        for writer in graph.writers:
            own = found[writer.channels]
            if np.any(own != 1):
                writer.scale(own)
                factors[writer.name] = own
                done.append(graph.in_words(writer, own))
        for reader in graph.readers:
            if np.any(found[reader.channels] != 1):
                reader.scale(found[reader.channels])
    return Equalized(model=model, done=tuple(done), factors=factors)


@dataclass(kw_only=True)
class _Writer:
    """A layer whose output channels can be scaled. Names are those of LayerOutputs."""

    layer: keras.Layer
    name: str
    channels: Channels
    activation: str
    """The layer that gives these channels as the file stores them: this one, or a ReLU fused with it."""

    def scale(self, factor: Floats) -> None:
        """Multiplies what the layer writes."""
        layer = self.layer
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in [layer.gamma, *([layer.beta] if layer.center else [])]:
                variable.assign(np.asarray(variable) * factor)
            return
        scaled = folded_weights(layer, Affine(factor=factor, shift=np.zeros_like(factor)))
        layer.set_weights(scaled if layer.use_bias else scaled[:-1])


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """A layer that takes the factors of the channels that it reads back."""

    layer: keras.Layer
    name: str
    channels: Channels
    read: str
    """The layer that writes what this one reads."""

    @property
    def is_channelwise(self) -> bool:
        return isinstance(self.layer, _CHANNELWISE)

    def scale(self, factor: Floats) -> None:
        """Lets the layer give for scaled channels what it gave before."""
        layer = self.layer
        if isinstance(layer, keras.layers.BatchNormalization):
            variance = np.asarray(layer.moving_variance, np.float64) + layer.epsilon
            layer.moving_mean.assign(np.asarray(layer.moving_mean) * factor)
            layer.moving_variance.assign(variance * factor**2 - layer.epsilon)
            return
        kernel, *bias = layer.get_weights()
        layer.set_weights([(kernel / factor[:, np.newaxis]).astype(np.float32), *bias])


class _Graph:
    """Which layers of one graph write and read each channel."""

    def __init__(self, model: keras.Model, prefix: str, *, only_free: bool) -> None:
        self.writers: list[_Writer] = []
        self.readers: list[_Reader] = []
        self._prefix = prefix
        self._calls = CallGraph(model)
        self._clip: Floats = np.empty(0)
        self._fixed: npt.NDArray[np.bool_] = np.empty(0, bool)
        self._range: Channels = np.empty(0, np.int64)
        """Channels of equal number have one scale in the file."""
        self._channels: dict[int, Channels] = {}
        for node in self._calls.nodes:
            self._visit(node)
        self._fix(model.outputs)
        if only_free:
            self._fixed |= np.isfinite(self._clip)
            for reader in self.readers:
                self._fixed[reader.channels] |= not isinstance(reader.layer, keras.layers.BatchNormalization)

    def needed(self) -> set[str]:
        """The layers whose outputs tell the ranges and the mean squares."""
        ranges = self._range[~self._fixed]
        writers = [each for each in self.writers if np.isin(self._range[each.channels], ranges).any()]
        mixing = [each for each in self.readers if not each.is_channelwise]
        mixing = [each for each in mixing if not self._fixed[each.channels].all()]
        return {each.activation for each in writers} | {each.read for each in mixing}

    def factors(
        self,
        largest: Mapping[str, Floats],
        squares: Mapping[str, Floats],
        *,
        headroom: float,
    ) -> Floats:
        """What each channel is to be multiplied by: 1 where it clips, is silent, or is read by other layers.

        A factor s lowers the noise that rounding the activation leaves in what a reader gives, by 1/s, and
        raises that of rounding its weights, by s, as long as other channels set these weights' scale. Their
        sum is smallest at s^4 = steps(activation)^2 * sum (w / step(w))^2 / (number of w * mean square of
        x), sums going over the readers. A channelwise reader's scale is the channel's own: there as large as
        the range allows is best.
        """
        values = np.zeros(len(self._range))
        for writer in self.writers:
            values[writer.channels] = largest.get(writer.activation, 0.0)
        top = np.zeros_like(values)
        np.maximum.at(top, self._range, np.minimum(values, self._clip))
        top = top[self._range]
        free = ~self._fixed & (values > 0) & (values * headroom < self._clip)
        most = np.ones_like(values)
        room = np.minimum(top, self._clip)[free] / (values[free] * headroom)
        most[free] = np.clip(room, 1.0, _LARGEST_FACTOR)
        factor = np.ones_like(values)
        for _ in range(_ROUNDS):
            gain, cost = np.zeros_like(values), np.zeros_like(values)
            for reader in self.readers:
                np.add.at(gain, reader.channels, _squared_steps(reader, factor))
                if not reader.is_channelwise and reader.read in squares:
                    np.add.at(cost, reader.channels, squares[reader.read])
            with np.errstate(divide="ignore", invalid="ignore"):
                best = ((top / _ACTIVATION_STEPS) ** 2 * gain / cost) ** 0.25
            factor = np.where(free, np.clip(np.nan_to_num(best, nan=1.0), 1.0, most), 1.0)
        return factor

    def in_words(self, writer: _Writer, factor: Floats) -> str:
        """What was done to a layer's channels."""
        readers = [each.name for each in self.readers if np.isin(writer.channels, each.channels).any()]
        others = f" and {len(readers) - 1} more" if len(readers) > 1 else ""
        scaled = int(np.sum(factor != 1))
        return (
            f"{writer.name} to {readers[0]}{others}: {scaled} of {factor.size} channels "
            f"by up to {factor.max():.3g}"
        )

    def _visit(self, node: Node) -> None:
        layer = node.operation
        read = [self._channels.get(id(tensor)) for tensor in node.input_tensors]
        known = [each for each in read if each is not None]
        if _is_plain_concatenation(layer, node) and self._calls.is_called_once(layer):
            if len(known) == len(read):
                self._join(node, known)
                return
        elif self._calls.is_called_once(layer) and self._calls.runs_plainly(layer):
            if self._is_weighted(node):
                self._visit_weighted(node)
                return
            if known and self._passes(node):
                self._channels[id(node.outputs[0])] = known[0]
                return
        self._fix(node.input_tensors)

    def _visit_weighted(self, node: Node) -> None:
        layer, (tensor,) = node.operation, node.input_tensors
        name, channels = self._prefix + layer.name, self._channels.get(id(tensor))
        folds = isinstance(layer, keras.layers.BatchNormalization) and self._calls.weighted_before(node)
        if folds or not _reads_channels(layer):
            self._fix([tensor])  # where it folds, the convolution's own output is nowhere in the file
        elif channels is not None and (writer := self._calls.writer(node)) is not None:
            read = self._prefix + writer.operation.name
            self.readers.append(_Reader(layer=layer, name=name, channels=channels, read=read))
        clip = _clip(layer)
        if clip is None or not _can_be_scaled(layer):
            return
        first, number = len(self._range), num_channels(node.outputs[0])
        written = np.arange(first, first + number)
        self._channels[id(node.outputs[0])] = written
        self._clip = np.append(self._clip, np.full(number, clip))
        self._fixed = np.append(self._fixed, np.zeros(number, bool))
        self._range = np.append(self._range, np.full(number, first))
        self.writers.append(_Writer(layer=layer, name=name, channels=written, activation=name))

    def _is_weighted(self, node: Node) -> bool:
        layer: keras.Layer = node.operation
        (tensor,) = node.input_tensors
        if type(layer) is keras.layers.BatchNormalization:
            # of other shapes it becomes no convolution, but a product with a constant of one scale
            return len(tensor.shape) == _IMAGES and layer.axis in (-1, _IMAGES - 1)
        return self._calls.is_plainly_weighted(layer) and has_kernel(layer)

    def _passes(self, node: Node) -> bool:
        """Whether a factor passes through this call; notes what it clips and whether it is fused."""
        layer, (tensor,) = node.operation, node.input_tensors
        if type(layer) in _PASSED:
            return getattr(layer, "data_format", None) != "channels_first"
        clip = _clip(layer) if type(layer) in (keras.layers.ReLU, keras.layers.Activation) else None
        if clip is None:
            return False
        channels = self._channels[id(tensor)]
        self._clip[channels] = np.minimum(self._clip[channels], clip)
        writer = self._calls.writer(node)
        for each in self.writers:
            if writer is not None and writer.operation is each.layer and self._calls.is_only_reader(node):
                each.activation = self._prefix + layer.name
        return True

    def _join(self, node: Node, parts: list[Channels]) -> None:
        joined = np.concatenate(parts)
        self._channels[id(node.outputs[0])] = joined
        self._range[np.isin(self._range, self._range[joined])] = self._range[joined[0]]

    def _fix(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            self._fixed[self._channels.get(id(tensor), np.empty(0, np.int64))] = True


def _squared_steps(reader: _Reader, factor: Floats) -> Floats:
    """For each channel that is read, the mean square of its weights in steps of their int8."""
    if reader.is_channelwise:
        return np.full(len(reader.channels), float(WEIGHT_STEPS) ** 2)
    kernel = np.abs(np.asarray(reader.layer.kernel, np.float64))
    own = factor[reader.channels]
    step = (kernel / own[:, np.newaxis]).max(axis=tuple(range(kernel.ndim - 1))) / WEIGHT_STEPS
    step[step == 0] = 1
    mean: Floats = np.square(kernel / step).mean(axis=(*range(kernel.ndim - 2), kernel.ndim - 1))
    return mean


def _clip(layer: keras.Operation) -> float | None:
    """What a layer's activation clips at; None where it does not let a positive factor through."""
    if type(layer) is keras.layers.BatchNormalization:
        return np.inf
    if type(layer) is keras.layers.ReLU:
        plain = not layer.threshold and not layer.negative_slope
        return (np.inf if layer.max_value is None else float(layer.max_value)) if plain else None
    clips = {keras.activations.linear: np.inf, keras.activations.relu: np.inf, keras.activations.relu6: 6.0}
    return clips.get(getattr(layer, "activation", None))


def has_kernel(layer: keras.Layer) -> bool:
    """Whether a layer is one whose kernel is rounded channel by channel."""
    return type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def _can_be_scaled(layer: keras.Layer) -> bool:
    return has_kernel(layer) or bool(layer.scale)


def _reads_channels(layer: keras.Layer) -> bool:
    """Whether the last axis but one of a layer's kernel is its input's channels."""
    return getattr(layer, "groups", 1) == 1


def _is_plain_concatenation(layer: keras.Operation, node: Node) -> bool:
    if type(layer) is not keras.layers.Concatenate:
        return False
    return layer.axis in (-1, len(node.outputs[0].shape) - 1)


def _statistics(
    model: keras.Model, names: set[str], pixels: npt.NDArray[np.uint8]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Layer -> the largest absolute value, and the mean square, of each channel of its output."""
    largest: dict[str, Floats] = {}
    squares: dict[str, Floats] = {}
    for batch in LayerOutputs(model, names).in_batches(pixels):
        for name, value in batch.items():
            rows = value.reshape(-1, value.shape[-1]).astype(np.float64)
            largest[name] = np.maximum(largest.get(name, 0.0), np.abs(rows).max(axis=0))
            squares[name] = squares.get(name, 0.0) + np.square(rows).mean(axis=0) * len(value) / len(pixels)
    return largest, squares

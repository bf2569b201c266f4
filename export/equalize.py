"""Weights prepared for int8: channels brought to one range, and the mean error of rounding taken back.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721. The paper quantizes weights with one scale a layer; our files have one a channel, so that
what remains to be made equal are the activations, which have one scale a layer. And it replaces ReLU6 by
ReLU; here ReLU6 stays, and a channel is only scaled as far as it stays below the clip on the given images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.call_graph import CallGraph, is_graph
from export.errors import ExportError
from export.graph_changes import Affine, Changes, folded_weights
from export.layer_outputs import LayerOutputs
from export.rewrite import Rewrite, rewrite

Floats = npt.NDArray[np.float64]

HEADROOM = 1.0
"""How many times the largest value on the given images is to fit below the clip. With biases corrected, the
int8 class scores of a published MobileNet were off by 0.166 at 1, 0.188 at 1.15, 0.220 at 1.5 (rms)."""
_LARGEST_FACTOR = 100.0
"""A channel that is nearly silent on the given images may not be so on others."""
_ROUNDS = 10
_ACTIVATION_STEPS, _WEIGHT_STEPS = 255, 127
_BATCH_IMAGES = 8
_PASSED = (
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
)
"""Layers through which a channel's positive factor passes."""


@dataclass(frozen=True, kw_only=True)
class Equalized:
    """A model that computes the same in float, and what was done to it."""

    model: keras.Model
    done: tuple[str, ...]
    """A pair of layers each, in words."""
    factors: Mapping[str, Floats]
    """Layer -> what each of its output channels was multiplied by."""


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A model whose biases take back what rounding its weights to int8 adds to the mean of each channel."""

    model: keras.Model
    done: tuple[str, ...]
    """A layer each, in words."""
    shifts: Mapping[str, Floats]
    """Layer -> what was taken from the bias of each of its output channels."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two layers with weights, the second the only reader of the first; names are those of LayerOutputs."""

    first: keras.Layer
    second: keras.Layer
    activation: str
    """The layer that writes the first one's activation."""
    read: str
    """The layer that writes what the second reads: the activation, or a pooling of it."""
    clip: float
    """What the activation clips at; infinite without."""
    names: tuple[str, str]


def equalize(model: keras.Model, pixels: npt.NDArray[np.uint8], *, headroom: float = HEADROOM) -> Equalized:
    """The model with channels of activations scaled up to the layer's range, and the next weights down.

    `pixels` (n, height, width, channels) are raw 0-255. BatchNorms are folded first. Works on a convolution
    or Dense that is followed by ReLU, ReLU6 or nothing, poolings, and a single other convolution or Dense.
    The function in float is the same for images whose activations stay within those of the given ones.
    """
    _check_pixels(model, pixels)
    folded = rewrite(model, (Rewrite.FOLD_BATCH_NORM, Rewrite.DROP_IDENTITY)).model
    pairs = list(_pairs(folded, ""))
    names = {name for pair in pairs for name in (pair.activation, pair.read)}
    largest, squares = _statistics(folded, names, pixels)
    done, factors = [], {}
    for pair in pairs:
        factor = _factors(pair, largest[pair.activation], squares[pair.read], headroom)
        if np.any(factor != 1):
            _scale(pair, factor)
            factors[pair.names[0]] = factor
            done.append(_in_words(pair, factor))
    return Equalized(model=folded, done=tuple(done), factors=factors)


def correct_bias(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> Corrected:
    """The model with biases that keep each channel's mean when its weights are rounded to int8.

    Rounding is the converter's: symmetric, a scale a channel (Dense: one a channel too), max|W| / 127. The
    shift is the rounding error applied to the mean input image of the layer. Paper: section 4.2, with the
    expectation taken from images as in its appendix D.
    """
    _check_pixels(model, pixels)
    folded = rewrite(model, (Rewrite.FOLD_BATCH_NORM, Rewrite.DROP_IDENTITY)).model
    layers = dict(_weighted_layers(folded, ""))
    shifts = {name: _shift(layers[name], mean) for name, mean in _means(folded, layers, pixels).items()}
    changes = Changes()
    for name, shift in shifts.items():
        changes.folded[id(layers[name])] = Affine(factor=np.ones_like(shift), shift=-shift)
    corrected = changes.carried_out(folded)
    done = tuple(f"bias of {name} by up to {np.abs(shift).max():.2g}" for name, shift in shifts.items())
    return Corrected(model=corrected, done=done, shifts=shifts)


def rounded(layer: keras.Layer) -> npt.NDArray[np.float32]:
    """A convolution's or Dense's kernel as an int8 file holds it: symmetric, a scale an output channel."""
    kernel = np.asarray(layer.kernel, np.float64)
    axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / _WEIGHT_STEPS
    scale[scale == 0] = 1
    whole: npt.NDArray[np.float32] = (np.rint(kernel / scale) * scale).astype(np.float32)
    return whole


def _check_pixels(model: keras.Model, pixels: npt.NDArray[Any]) -> None:
    shape = tuple(model.inputs[0].shape[1:])
    if pixels.shape[1:] != shape or not len(pixels):
        raise ExportError(
            f"images of shape {pixels.shape} to equalize '{model.name}' with. Expected (n, "
            f"{', '.join(map(str, shape))}), raw 0-255, from the training split: a hundred or more."
        )


def _pairs(model: keras.Model, prefix: str) -> Iterator[_Pair]:
    """The pairs of a graph and of those nested in it, in the order they run."""
    graph = CallGraph(model)
    for node in graph.nodes:
        layer = node.operation
        if is_graph(layer) and graph.runs_plainly(layer) and graph.is_called_once(layer):
            yield from _pairs(layer, f"{prefix}{layer.name}/")
        elif graph.is_plainly_weighted(layer) and (pair := _pair_before(graph, node, prefix)) is not None:
            yield pair


def _pair_before(graph: CallGraph, node: Any, prefix: str) -> _Pair | None:  # noqa: ANN401 - Keras carries no types
    """The pair of which this call is the second, walking back to the first."""
    clip, at, activation = np.inf, node, None
    while (writer := graph.writer(at)) is not None and graph.is_only_reader(at):
        layer = writer.operation
        if not (graph.is_called_once(layer) and graph.runs_plainly(layer)):
            return None
        read = graph.writer(node).operation.name
        own = _clip(layer)
        if graph.is_plainly_weighted(layer):
            if own is None or not _can_scale(layer) or not _reads_channels(node.operation):
                return None
            return _Pair(
                first=layer,
                second=node.operation,
                activation=prefix + (activation or layer.name),
                read=prefix + read,
                clip=min(clip, own),
                names=(prefix + layer.name, prefix + node.operation.name),
            )
        if own is not None:
            clip, activation = min(clip, own), layer.name
        elif not isinstance(layer, _PASSED) or layer.data_format != "channels_last":
            return None
        at = writer
    return None


def _clip(layer: keras.Operation) -> float | None:
    """What a layer's activation clips at; None where it does not let a positive factor through."""
    if type(layer) is keras.layers.ReLU:
        plain = not layer.threshold and not layer.negative_slope
        return (np.inf if layer.max_value is None else float(layer.max_value)) if plain else None
    clips = {keras.activations.linear: np.inf, keras.activations.relu: np.inf, keras.activations.relu6: 6.0}
    return clips.get(getattr(layer, "activation", None))


def _can_scale(layer: keras.Layer) -> bool:
    return type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def _reads_channels(layer: keras.Layer) -> bool:
    """Whether the last axis but one of a layer's kernel is its input's channels."""
    return _can_scale(layer) and getattr(layer, "groups", 1) == 1


def _weighted_layers(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.Layer]]:
    graph = CallGraph(model)
    for node in graph.nodes:
        layer = node.operation
        if is_graph(layer) and graph.runs_plainly(layer) and graph.is_called_once(layer):
            yield from _weighted_layers(layer, f"{prefix}{layer.name}/")
        elif graph.is_plainly_weighted(layer) and _can_scale(layer):
            yield prefix + layer.name, layer


def _sums(
    model: keras.Model,
    names: set[str],
    pixels: npt.NDArray[np.uint8],
    add: Callable[[str, npt.NDArray[np.float32]], None],
) -> None:
    """Runs the images and hands out each named layer's output, batch by batch."""
    if not names:
        return
    outputs = LayerOutputs(model, names)
    for start in range(0, len(pixels), _BATCH_IMAGES):
        for name, value in outputs(pixels[start : start + _BATCH_IMAGES].astype(np.float32)).items():
            add(name, value)


def _statistics(
    model: keras.Model, names: set[str], pixels: npt.NDArray[np.uint8]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Layer -> the largest absolute value, and the mean square, of each channel of its output."""
    largest: dict[str, Floats] = {}
    squares: dict[str, Floats] = {}

    def add(name: str, value: npt.NDArray[np.float32]) -> None:
        rows = value.reshape(-1, value.shape[-1]).astype(np.float64)
        largest[name] = np.maximum(largest.get(name, 0.0), np.abs(rows).max(axis=0))
        squares[name] = squares.get(name, 0.0) + np.square(rows).mean(axis=0) * len(value) / len(pixels)

    _sums(model, names, pixels, add)
    return largest, squares


def _factors(pair: _Pair, largest: Floats, squares: Floats, headroom: float) -> Floats:
    """What each channel between two layers is to be multiplied by: 1 where it clips or is always zero.

    A factor s lowers the noise that rounding the activation leaves in what the second layer gives, by 1/s,
    and raises that of rounding its weights, by s, as long as other channels set these weights' scale. Their
    sum is smallest at s^4 = steps(activation)^2 * sum (w / step(w))^2 / (number of w * mean square of x). A
    depthwise layer's scale is the channel's own: there as large as the range allows is best.
    """
    top = min(largest.max(initial=0.0), pair.clip)
    free = (largest > 0) & (largest * headroom < pair.clip)
    most = np.ones_like(largest)
    most[free] = np.clip(top / (largest[free] * headroom), 1.0, _LARGEST_FACTOR)
    if isinstance(pair.second, keras.layers.DepthwiseConv2D):
        return most
    kernel = np.abs(np.asarray(pair.second.kernel, np.float64))
    factor = np.ones_like(largest)
    for _ in range(_ROUNDS):
        step = (kernel / factor[:, np.newaxis]).max(axis=tuple(range(kernel.ndim - 1))) / _WEIGHT_STEPS
        step[step == 0] = 1
        in_steps = np.square(kernel / step).mean(axis=(*range(kernel.ndim - 2), kernel.ndim - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            best = ((top / _ACTIVATION_STEPS) ** 2 * in_steps / squares) ** 0.25
        factor = np.where(free, np.clip(np.nan_to_num(best, nan=1.0), 1.0, most), 1.0)
    return factor


def _scale(pair: _Pair, factor: Floats) -> None:
    """Multiplies the first layer's output channels, and divides the second's weights for them."""
    first = folded_weights(pair.first, Affine(factor=factor, shift=np.zeros_like(factor)))
    pair.first.set_weights(first if pair.first.use_bias else first[:-1])
    kernel, *bias = pair.second.get_weights()
    pair.second.set_weights([(kernel / factor[:, np.newaxis]).astype(np.float32), *bias])


def _in_words(pair: _Pair, factor: Floats) -> str:
    first, second = pair.names
    scaled = int(np.sum(factor != 1))
    return f"{first} to {second}: {scaled} of {factor.size} channels by up to {factor.max():.3g}"


def _means(
    model: keras.Model, layers: Mapping[str, keras.Layer], pixels: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.float32]]:
    """Layer -> the mean of what it reads, over the images: (height, width, channels), or (channels,).

    A layer that reads a nested model's input is left out.
    """
    sources = dict(_sources(model, ""))
    read = {name: sources[name] for name in layers if name in sources}
    sums: dict[str, Any] = {}

    def add(name: str, value: npt.NDArray[np.float32]) -> None:
        sums[name] = sums.get(name, 0.0) + value.sum(axis=0, dtype=np.float64)

    _sums(model, {source for source in read.values() if source}, pixels, add)
    sums[""] = pixels.sum(axis=0, dtype=np.float64)
    return {name: (sums[source] / len(pixels)).astype(np.float32) for name, source in read.items()}


def _sources(model: keras.Model, prefix: str) -> Iterator[tuple[str, str]]:
    """Layer with weights -> the layer that writes what it reads; empty for the images."""
    graph = CallGraph(model)
    for node in graph.nodes:
        layer = node.operation
        if is_graph(layer) and graph.runs_plainly(layer) and graph.is_called_once(layer):
            yield from _sources(layer, f"{prefix}{layer.name}/")
        elif graph.is_plainly_weighted(layer):
            writer = graph.writer(node)
            if writer is None and not prefix:
                yield layer.name, ""
            elif writer is not None and _gives_its_name(graph, writer.operation):
                yield prefix + layer.name, prefix + writer.operation.name


def _gives_its_name(graph: CallGraph, layer: keras.Operation) -> bool:
    """Whether LayerOutputs can tell a layer's output by its name."""
    return graph.is_called_once(layer) and not is_graph(layer)


def _shift(layer: keras.Layer, mean: npt.NDArray[np.float32]) -> Floats:
    """What rounding the kernel adds to each output channel, on average over the places of the mean input."""
    error = rounded(layer) - np.asarray(layer.kernel)
    x = mean[np.newaxis]
    if isinstance(layer, keras.layers.Dense):
        shifted = x @ error
    else:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        convolve = keras.ops.depthwise_conv if depthwise else keras.ops.conv
        shifted = convolve(
            x, error, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate
        )
    shift: Floats = np.asarray(shifted, np.float64).reshape(-1, np.shape(shifted)[-1]).mean(axis=0)
    return shift

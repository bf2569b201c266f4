"""Equalizes the ranges of channels for int8, where all channels of an activation share one scale.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.1, with three differences. The paper equalizes weights, which it quantizes with
one scale per layer; our files have one per channel, so activations are equalized here. The paper replaces
ReLU6 by ReLU; here ReLU6 stays, and a channel is scaled only as far as it stays below the clip on the given
images. The paper handles pairs of consecutive layers; here an output may be concatenated, pooled and read by
many layers, as in DenseNet's blocks, which share one scale each in TFLite, and SqueezeNet's Fire modules; it
may be added, as in the bottlenecks of MobileNetV2 and EfficientNet, and multiplied by a squeeze-and-excite
gate. Nothing passes through swish or sigmoid, which do not commute with a factor.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from export.graph.calls import graphs_within
from export.graph.changes import Changes
from export.graph.layer_outputs import LayerOutputs
from export.graph.rewrite import rewrite
from export.quantization.calibrate import check_pixels
from export.quantization.channels import STEPS_PER_OCTAVE, Channels
from export.rewrites import Rewrite

Floats = npt.NDArray[np.float64]

HEADROOM = 1.0
"""How many times the largest value on the given images must fit below the clip. With biases corrected, the
int8 class scores of a published MobileNet were off by 0.166 at 1, 0.188 at 1.15, 0.220 at 1.5 (rms)."""
_CODES = string.digits + string.ascii_letters


@dataclass(frozen=True, kw_only=True)
class Equalized:
    """A model with the same float outputs, and the changes made."""

    model: keras.Model
    done: tuple[str, ...]
    """One description per layer whose channels were scaled."""
    factors: Mapping[str, Floats]
    """Layer -> the factor of each of its output channels."""


def equalize(model: keras.Model, pixels: npt.NDArray[np.uint8], *, headroom: float = HEADROOM) -> Equalized:
    """The model with activation channels scaled up to the layer's range, and the next weights scaled down.

    `pixels` (n, height, width, channels) are raw 0-255. BatchNorms are folded first. Scales the outputs of
    convolutions, Dense and BatchNormalization layers, through what commutes with a factor (ReLU, ReLU6,
    PReLU, pooling, concatenation, addition, a gate's multiplication), if only such layers read them. The
    float outputs are unchanged for images whose activations stay within the range of the given ones.
    """
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), "int8")
    folded = rewrite(model, (Rewrite.FOLD_BATCH_NORM, Rewrite.DROP_IDENTITY)).model
    return _equalized(folded, pixels, headroom=headroom, only_free=False)


def scaled(model: keras.Model, factors: Mapping[str, Floats]) -> keras.Model:
    """The model that equalize() gave with these factors, without the images."""
    folded = rewrite(model, (Rewrite.FOLD_BATCH_NORM, Rewrite.DROP_IDENTITY)).model
    for prefix, within in graphs_within(folded):
        graph = Channels(within, prefix, only_free=False)
        graph.scale({name: factors[name] for name in factors if name.startswith(prefix)})
    return folded


def encoded(factors: Mapping[str, Floats]) -> dict[str, str]:
    """The factors of equalize(), a character for each channel."""
    return {
        name: "".join(_CODES[int(step)] for step in np.rint(np.log2(own) * STEPS_PER_OCTAVE))
        for name, own in factors.items()
    }


def decoded(codes: Mapping[str, str]) -> dict[str, Floats]:
    """The factors from encoded()."""
    return {
        name: 2.0 ** (np.asarray([_CODES.index(each) for each in own]) / STEPS_PER_OCTAVE)
        for name, own in codes.items()
    }


def equalize_freely(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> Equalized:
    """The model with only those channels scaled that cost nothing, and with all of its layers.

    These are channels that nothing clips, so that float outputs are unchanged for all images, and that are
    read only by BatchNorms without a convolution before them, whose statistics undo the factors: as in
    DenseNet, nowhere in MobileNet or SqueezeNet. No weight is rounded differently. `pixels` are as for
    equalize().
    """
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), "int8")
    return _equalized(Changes().carried_out(model), pixels, headroom=HEADROOM, only_free=True)


def _equalized(
    model: keras.Model, pixels: npt.NDArray[np.uint8], *, headroom: float, only_free: bool
) -> Equalized:
    """Scales the model's weights in place."""
    graphs = [Channels(graph, prefix, only_free=only_free) for prefix, graph in graphs_within(model)]
    names = {name for graph in graphs for name in graph.needed()}
    largest, squares = _statistics(model, names, pixels)
    done: list[str] = []
    factors: dict[str, Floats] = {}
    for graph in graphs:
        found = graph.factors(largest, squares, headroom=headroom)
        own = {each.name: found[each.channels] for each in graph.writers}
        own = {name: factor for name, factor in own.items() if np.any(factor != 1)}
        done += [graph.in_words(each, own[each.name]) for each in graph.writers if each.name in own]
        graph.scale(own)
        factors |= own
    return Equalized(model=model, done=tuple(done), factors=factors)


def _statistics(
    model: keras.Model, names: set[str], pixels: npt.NDArray[np.uint8]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Layer -> largest absolute value and mean square of each output channel."""
    largest: dict[str, Floats] = {}
    squares: dict[str, Floats] = {}
    for batch in LayerOutputs(model, names).in_batches(pixels):
        for name, value in batch.items():
            rows = value.reshape(-1, value.shape[-1]).astype(np.float64)
            largest[name] = np.maximum(largest.get(name, 0.0), np.abs(rows).max(axis=0))
            squares[name] = squares.get(name, 0.0) + np.square(rows).mean(axis=0) * len(value) / len(pixels)
    return largest, squares

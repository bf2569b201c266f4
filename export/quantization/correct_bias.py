"""Corrects biases for the shift of each channel's mean that rounding the weights to int8 causes.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.graph.calls import CallGraph, graphs_within
from export.graph.changes import Affine, Changes
from export.graph.layer_outputs import LayerOutputs
from export.graph.rewrite import rewrite
from export.quantization.calibrate import check_pixels
from export.quantization.equalize import WEIGHT_STEPS, has_kernel
from export.rewrites import Rewrite
from keras_graph.nodes import Node
from keras_graph.walk import is_graph

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A model with corrected biases."""

    model: keras.Model
    done: tuple[str, ...]
    """A layer each, in words."""
    shifts: Mapping[str, Floats]
    """Layer -> the value subtracted from the bias of each output channel."""


def correct_bias(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> Corrected:
    """The model with biases that keep each channel's mean when its weights are rounded to int8.

    Rounding is the converter's: symmetric, one scale per output channel (Dense too), max|W| / 127. The shift
    is the rounding error applied to the layer's mean input. Paper: section 4.2, with the expectation taken
    from images as in appendix D.
    """
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), "int8")
    folded = rewrite(model, (Rewrite.FOLD_BATCH_NORM, Rewrite.DROP_IDENTITY)).model
    layers = dict(_weighted_layers(folded))
    shifts = {name: _shift(layers[name], mean) for name, mean in _means(folded, layers, pixels).items()}
    changes = Changes()
    for name, shift in shifts.items():
        changes.folded[id(layers[name])] = Affine(factor=np.ones_like(shift), shift=-shift)
    corrected = changes.carried_out(folded)
    done = tuple(f"bias of {name} by up to {np.abs(shift).max():.2g}" for name, shift in shifts.items())
    return Corrected(model=corrected, done=done, shifts=shifts)


def rounded(layer: keras.Layer) -> npt.NDArray[np.float32]:
    """A convolution's or Dense's kernel rounded as in an int8 file: symmetric, a scale per output channel."""
    kernel = np.asarray(layer.kernel, np.float64)
    axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / WEIGHT_STEPS
    scale[scale == 0] = 1
    whole: npt.NDArray[np.float32] = (np.rint(kernel / scale) * scale).astype(np.float32)
    return whole


def _weighted_layers(model: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    for prefix, within in graphs_within(model):
        graph = CallGraph(within)
        for node in graph.nodes:
            layer = node.operation
            if graph.is_plainly_weighted(layer) and has_kernel(layer):
                yield prefix + layer.name, layer


def _means(
    model: keras.Model, layers: Mapping[str, keras.Layer], pixels: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.float32]]:
    """Layer -> mean input over the images: (height, width, channels), or (channels,).

    A layer that reads a nested model's input is left out.
    """
    sources = dict(_sources(model))
    read = {name: sources[name] for name in layers if name in sources}
    sums: dict[str, Any] = {}

    outputs = LayerOutputs(model, {source for source in read.values() if source})
    for batch in outputs.in_batches(pixels):
        for name, value in batch.items():
            sums[name] = sums.get(name, 0.0) + value.sum(axis=0, dtype=np.float64)
    sums[""] = pixels.sum(axis=0, dtype=np.float64)
    return {name: (sums[source] / len(pixels)).astype(np.float32) for name, source in read.items()}


def _sources(model: keras.Model) -> Iterator[tuple[str, str]]:
    """(layer with weights, layer that writes its input); the second is empty for the images."""
    for prefix, within in graphs_within(model):
        graph = CallGraph(within)
        for node in graph.nodes:
            layer = node.operation
            if not graph.is_plainly_weighted(layer):
                continue
            writer = graph.writer(node)
            if writer is None and not prefix:
                yield layer.name, ""
            elif writer is not None and _gives_its_name(graph, writer):
                yield prefix + layer.name, prefix + writer.operation.name


def _gives_its_name(graph: CallGraph, writer: Node) -> bool:
    """Whether LayerOutputs has the output of this call under its layer's name."""
    layer = writer.operation
    return graph.is_called_once(layer) and not is_graph(layer) and len(writer.outputs) == 1


def _shift(layer: keras.Layer, mean: npt.NDArray[np.float32]) -> Floats:
    """The mean shift of each output channel from rounding the kernel, for the mean input."""
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

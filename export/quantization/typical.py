"""Leaves out the few calibration images whose activations alone widen the quantization ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np
import numpy.typing as npt

from export.graph.layer_names import FUSED, layer_named
from export.graph.layer_outputs import LayerOutputs, network_steps

Floats = npt.NDArray[np.float32]

LEFT_OUT = 0.05
"""The share of images that is left out."""


def typical_images(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """The sorted indices of the images (n, height, width, channels) with typical activations.

    The converter's range of a tensor goes from the smallest to the largest value over all images, so one odd
    image makes the steps coarser for all. Leaves out the images that exceed the range of 95% of the images
    most, in any layer and relative to that range, so that their rare values are clipped: percentile
    calibration (Wu et al. 2020, arXiv:2004.09602) by whole images.
    """
    outputs = LayerOutputs(model, list(_layers_with_a_range(model)))
    extremes = np.concatenate([_extremes(batch) for batch in outputs.in_batches(pixels)])
    most = np.quantile(extremes, 1 - LEFT_OUT, axis=0)
    width = most.sum(axis=0)
    beyond = np.maximum(extremes - most, 0)[:, :, width > 0] / width[width > 0]
    kept = np.argsort(beyond.max(axis=(1, 2), initial=0.0), kind="stable")
    return np.sort(kept[: max(1, round((1 - LEFT_OUT) * len(pixels)))])


def _layers_with_a_range(model: keras.Model) -> Iterator[str]:
    """The layers whose output is a tensor in the file; a convolution with a fused ReLU is not among them."""
    steps = list(network_steps(model))
    for step in steps:
        readers = [each.name for each in steps if step.name in each.feeds_on]
        if len(readers) != 1 or not isinstance(layer_named(model, readers[0]), FUSED):
            yield step.name


def _extremes(outputs: Mapping[str, Floats]) -> Floats:
    """(n, 2, layers): how far the values of each image in each layer go above and below zero."""
    values = [value.reshape(len(value), -1) for value in outputs.values()]
    far = np.stack([[value.max(axis=1) for value in values], [-value.min(axis=1) for value in values]])
    extremes: Floats = np.maximum(np.transpose(far, (2, 0, 1)), 0)
    return extremes

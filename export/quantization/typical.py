"""Which calibration images to leave out: those few whose activations alone widen the quantization ranges."""

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
    """The indices, in their order, of the images (n, height, width, channels) whose activations are typical.

    The converter's range of a tensor is the smallest and the largest value that any image gives: one odd
    image makes the steps coarser for all. The images that go farthest beyond the range that 95% of them stay
    in, as a share of that range, in any layer, are left out, so that their rare values are clipped:
    percentile calibration (Wu et al. 2020, arXiv:2004.09602) by whole images, since the converter's ranges
    are those of all values that it sees.
    """
    outputs = LayerOutputs(model, list(_layers_with_a_range(model)))
    extremes = np.concatenate([_extremes(batch) for batch in outputs.in_batches(pixels)])
    most = np.quantile(extremes, 1 - LEFT_OUT, axis=0)
    width = most.sum(axis=0)
    beyond = np.maximum(extremes - most, 0)[:, :, width > 0] / width[width > 0]
    kept = np.argsort(beyond.max(axis=(1, 2), initial=0.0), kind="stable")
    return np.sort(kept[: max(1, round((1 - LEFT_OUT) * len(pixels)))])


def _layers_with_a_range(model: keras.Model) -> Iterator[str]:
    """The layers whose output is a tensor of its own: not a convolution's before its ReLU, which is fused."""
    steps = list(network_steps(model))
    for step in steps:
        readers = [each.name for each in steps if step.name in each.feeds_on]
        if len(readers) != 1 or not isinstance(layer_named(model, readers[0]), FUSED):
            yield step.name


def _extremes(outputs: Mapping[str, Floats]) -> Floats:
    """(n, 2, layers): how far above zero, and below, each image's values go in each layer."""
    values = [value.reshape(len(value), -1) for value in outputs.values()]
    far = np.stack([[value.max(axis=1) for value in values], [-value.min(axis=1) for value in values]])
    extremes: Floats = np.maximum(np.transpose(far, (2, 0, 1)), 0)
    return extremes

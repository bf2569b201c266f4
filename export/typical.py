"""Which calibration images to leave out: those few whose activations alone widen the quantization ranges."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from export.layer_outputs import LayerOutputs, network_steps

LEFT_OUT = 0.05
"""The share of images that is left out."""
_BATCH_SIZE = 32


def typical_images(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """The indices, in their order, of the images (n, height, width, channels) whose activations are typical.

    The converter's range of a tensor is the smallest and the largest value that any image gives: one odd
    image makes the steps coarser for all. The images that go farthest beyond what 95% of them reach, in any
    layer, are left out, so that their rare values are clipped: percentile calibration (Wu et al. 2020,
    arXiv:2004.09602) by whole images, since the converter's ranges are those of all values that it sees.
    """
    outputs = LayerOutputs(model, [step.name for step in network_steps(model)])
    batches = (pixels[start : start + _BATCH_SIZE] for start in range(0, len(pixels), _BATCH_SIZE))
    extremes = np.concatenate([_extremes(outputs, batch) for batch in batches])
    reached = np.quantile(extremes, 1 - LEFT_OUT, axis=0)
    beyond = np.max(extremes[:, reached > 0] / reached[reached > 0], axis=1, initial=0.0)
    kept = np.argsort(beyond, kind="stable")[: max(1, round((1 - LEFT_OUT) * len(pixels)))]
    return np.sort(kept)


def _extremes(outputs: LayerOutputs, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, 2 x layers): how far each image's values go above zero, and below, in each layer."""
    values = [value.reshape(len(batch), -1) for value in outputs(batch.astype(np.float32)).values()]
    far = [np.stack([value.max(axis=1), -value.min(axis=1)], axis=1) for value in values]
    extremes: npt.NDArray[np.float32] = np.maximum(np.concatenate(far, axis=1), 0)
    return extremes

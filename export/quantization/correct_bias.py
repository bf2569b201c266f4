"""Corrects the biases of an int8 file for the shift of each channel's mean that rounding causes.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.2, with the means measured on images as in appendix D. The paper compares layer
by layer in a simulation; here the operators of the file itself run, so that whatever is rounded or
approximated counts: weights, activations, the tables of swish or sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.tflite.content import FileContents, Operator
from export.tflite.inspect import inspect_bytes
from export.tflite.output import network_output
from export.tflite.walk import Values, Walk

Floats = npt.NDArray[np.float64]

NUM_IMAGES = 32
_AT_ONCE = 8
"""Images whose float activations are in memory together."""
_MEMORY_BYTES = 1 << 28
"""Most that one int8 activation of all images may take."""
_FEWEST_IMAGES = 4
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_BIAS_INPUT = {"TRANSPOSE_CONV": 3}
_ROUNDS = 2
"""A fused ReLU hides a part of a shift: what is left after the first correction is corrected once more."""
_LEAST_SHARE = 0.25
"""Of the values of a channel, those that a fused activation does not clip; fewer count as so many."""


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A file with corrected biases."""

    content: bytes
    num_corrected: int
    """Operators whose biases were changed."""


def correct_biases(
    content: bytes, calibrated: bytes, stored: npt.NDArray[Any], values: npt.NDArray[np.float32]
) -> Corrected:
    """The int8 file with biases that give each channel of a convolution or Dense its mean in float.

    `calibrated` is the float file that `content` was quantized from, with the same tensor names. `stored` and
    `values` are the same images as both take them (n, height, width, channels). Operators are corrected in
    their order, each on what the corrected ones before it give. A shift that could be chance, given how it
    varies from image to image, is corrected in part. Size and operators are unchanged.
    """
    contents = inspect_bytes(content, name="the converted file")
    num_images = _num_images(contents, len(stored))
    walk = Walk(content, stored[:num_images])
    corrected = 0
    to_correct = [each for each in contents.graph if _bias(each, contents) is not None]
    wanted = {_name(contents, each.outputs[0]) for each in to_correct}
    expected = _channel_means(calibrated, values[:num_images], wanted)
    for number, operator in walk.operators():
        bias, tensor = _bias(operator, contents), operator.outputs[0]
        means = expected.get(_name(contents, tensor))
        if bias is None or means is None:
            continue
        for _ in range(_ROUNDS):
            whole = walk.constant(bias, "int32")
            shift = _shift(means, walk.values(tensor), contents, tensor)
            moved = whole + np.rint(shift / np.asarray(contents.tensors[bias].scales)).astype(np.int64)
            walk.replace(bias, np.clip(moved, -(2**31), 2**31 - 1).astype(np.int32))
            walk.run(number)
        corrected += 1
    return Corrected(content=walk.written(), num_corrected=corrected)


def _num_images(contents: FileContents, given: int) -> int:
    """How many images to use, so that their activations fit into memory."""
    largest = max(math.prod(each.shape) for each in contents.tensors if not each.is_constant)
    return min(given, NUM_IMAGES, max(_FEWEST_IMAGES, _MEMORY_BYTES // largest))


def _bias(operator: Operator, contents: FileContents) -> int | None:
    """The bias of an int8 convolution or Dense with constant weights; None if there is none to correct."""
    place = _BIAS_INPUT.get(operator.name, 2)
    if operator.name not in _WEIGHTED or len(operator.inputs) <= place or operator.inputs[place] < 0:
        return None
    bias, output = contents.tensors[operator.inputs[place]], contents.tensors[operator.outputs[0]]
    can_be = bias.is_constant and bias.dtype == "int32" and bias.scales and output.dtype == "int8"
    return operator.inputs[place] if can_be else None


def _name(contents: FileContents, tensor: int) -> str:
    """A tensor's name in both files; the output has another one in each."""
    return "" if tensor == network_output(contents) else contents.tensors[tensor].name


def _channel_means(
    calibrated: bytes, values: npt.NDArray[np.float32], wanted: Collection[str]
) -> dict[str, Floats]:
    """Tensor of the float file -> the mean of each channel for each image (n, channels)."""
    found: dict[str, list[Floats]] = {}
    for start in range(0, len(values), _AT_ONCE):
        walk = Walk(calibrated, values[start : start + _AT_ONCE])
        for _, operator in walk.operators():
            name = _name(walk.contents, operator.outputs[0])
            if operator.name in _WEIGHTED and name in wanted:
                found.setdefault(name, []).extend(_means(walk.values(operator.outputs[0])))
    return {name: np.stack(means) for name, means in found.items()}


def _means(values: Values) -> list[Floats]:
    return [each.reshape(-1, each.shape[-1]).mean(axis=0, dtype=np.float64) for each in values]


def _shift(means: Floats, values: Values, contents: FileContents, tensor: int) -> Floats:
    """What to add to each channel before its activation, so that its mean becomes that in float."""
    described = contents.tensors[tensor]
    missing = means - described.scales[0] * (np.stack(_means(values)) - described.zero_points[0])
    shift = missing.mean(axis=0)
    chance = missing.var(axis=0, ddof=1) / len(missing) if len(missing) > 1 else np.zeros_like(shift)
    sure = np.maximum(0.0, 1 - chance / np.maximum(shift**2, 1e-30))
    inside = np.mean(
        [((each > -128) & (each < 127)).reshape(-1, each.shape[-1]).mean(axis=0) for each in values], axis=0
    )
    corrected: Floats = shift * sure / np.maximum(inside, _LEAST_SHARE)
    return corrected

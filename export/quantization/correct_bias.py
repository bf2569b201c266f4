"""Corrects the biases of an int8 file for the shift of each channel's mean that rounding causes.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.2, with the means measured on images as in appendix D. The paper compares layer
by layer in a simulation; here the operators of the file itself run, so that whatever is rounded or
approximated counts: weights, activations, the tables of swish or sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
_FLOAT_BYTES = 1 << 26
"""Most that one float activation of the images that run together may take."""
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


def float_means(calibrated: bytes, values: npt.NDArray[np.float32]) -> dict[str, Floats]:
    """Output of a convolution or Dense -> the mean of each of its channels for each image (n, channels).

    `calibrated` is the float file that an int8 file is quantized from, and `values` are images as it takes
    them (n, height, width, channels): NUM_IMAGES, or fewer if their activations do not fit into memory.
    """
    contents = inspect_bytes(calibrated, name="the calibrated file")
    largest = max(math.prod(each.shape) for each in contents.tensors if not each.is_constant)
    num_images = min(len(values), NUM_IMAGES, max(_FEWEST_IMAGES, _MEMORY_BYTES // largest))
    at_once = max(1, _FLOAT_BYTES // (4 * largest))
    found: dict[str, list[Floats]] = {}
    for start in range(0, num_images, at_once):
        walk = Walk(calibrated, values[start : min(start + at_once, num_images)])
        for _, operator in walk.operators():
            if operator.name in _WEIGHTED:
                name = _name(walk.contents, operator.outputs[0])
                found.setdefault(name, []).extend(_means(walk.values(operator.outputs[0])))
    return {name: np.stack(means) for name, means in found.items()}


def correct_biases(content: bytes, means: Mapping[str, Floats], stored: npt.NDArray[Any]) -> Corrected:
    """The int8 file with biases that give each channel of a convolution or Dense its mean in float.

    `means` are the float_means() of the file that it was quantized from, and `stored` the same images as
    `content` takes them. Operators are corrected in their order, each on what the corrected ones before it
    give. A shift that could be chance, given how it varies from image to image, is corrected in part. Size
    and operators are unchanged.
    """
    num_images = min(len(stored), *map(len, means.values())) if means else 0
    if not num_images:
        return Corrected(content=content, num_corrected=0)
    walk = Walk(content, stored[:num_images])
    contents = walk.contents
    corrected = 0
    for number, operator in walk.operators():
        bias, tensor = _bias(operator, contents), operator.outputs[0]
        expected = means.get(_name(contents, tensor))
        if bias is None or expected is None:
            continue
        for _ in range(_ROUNDS):
            whole = walk.constant(bias, "int32")
            shift = _shift(expected[:num_images], walk.values(tensor), contents, tensor)
            moved = whole + np.rint(shift / np.asarray(contents.tensors[bias].scales)).astype(np.int64)
            walk.replace(bias, np.clip(moved, -(2**31), 2**31 - 1).astype(np.int32))
            walk.run(number)
        corrected += 1
    return Corrected(content=walk.written(), num_corrected=corrected)


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

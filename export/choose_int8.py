"""Chooses, by images held out from the calibration, what makes an int8 file more accurate for free."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from export.artifact import Equalization
from export.check.runner import Runner
from export.convert import Progress, calibrate_int8
from export.errors import ExportError
from export.graph.rewrite import ends_in, without_probabilities
from export.plan import equalized
from export.quantization.calibrate import check_pixels
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes
from keras_graph.walk import named_layers

FEWEST_IMAGES = 32
"""With fewer calibration images none is held out, and nothing is tried."""
_NUM_HELD_OUT = 32
_MOST_TRIED = 64
"""Calibration images of the files that are compared."""
_FEWEST_TRIED = 16
_MOST_MULTIPLICATIONS = 4e10
"""In the float model, over the calibration images that are tried: a net larger than MobileNet 1.0 at 224
pixels is tried with fewer images, down to _FEWEST_TRIED, and as few are held out."""
_TINY = 1e-12
_LEAST_GAIN = 0.03
"""Share by which the error must fall: less could be chance."""


def equalization_of(
    model: keras.Model,
    settings: ExportSettings,
    pixels: npt.NDArray[np.uint8] | None,
    progress: Progress | None = None,
) -> Equalization | None:
    """What to do for an int8 file: what the settings ask for, or else chosen(); None for nothing."""
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), settings.precision)
    assert pixels is not None  # checked
    if settings.equalize:
        return Equalization(factors=equalized(model, pixels), corrects_biases=True)
    if settings.equalize is False or not settings.rewrites or len(pixels) < FEWEST_IMAGES:
        return None
    return chosen(model, settings, pixels, progress)


def chosen(
    model: keras.Model,
    settings: ExportSettings,
    pixels: npt.NDArray[np.uint8],
    progress: Progress | None = None,
) -> Equalization:
    """Channels equalized, biases corrected, both or neither: what has the smallest error on held-out images.

    The error is that of the class scores against the float model, as a share of their spread. `progress` is
    called with (done, all) images of the calibrations.
    """
    order = np.random.default_rng(0).permutation(len(pixels))
    affordable = max(_FEWEST_TRIED, int(_MOST_MULTIPLICATIONS / max(multiplications(model), 1)))
    num_held_out = min(len(pixels) // 4, _NUM_HELD_OUT, affordable)
    held_out = pixels[order[:num_held_out]]
    others = pixels[order[num_held_out:][: min(_MOST_TRIED, affordable)]]
    scores = without_probabilities(model) if ends_in(model) else model
    tried = dataclasses.replace(settings, logits=False)
    errors: list[tuple[float, Equalization]] = []
    error_of = _error_against(scores, held_out)
    for number, factors in enumerate(({}, _factors(scores, others))):
        if number and not factors:
            continue
        equalization = Equalization(factors=factors)
        found = calibrate_int8(scores, tried, others, equalization, _part(progress, number))
        for content, corrects in ((found.plain, False), (found.corrected(others), True)):
            way = Equalization(factors=factors, corrects_biases=corrects)
            errors.append((error_of(content), way))
    plain = errors[0][0]
    error, best = min(errors, key=lambda each: each[0])
    if error > plain * (1 - _LEAST_GAIN):
        error, best = errors[0]
    return dataclasses.replace(best, plain_error=plain, error=error, num_held_out=num_held_out)


def multiplications(model: keras.Model) -> int:
    """Those of one image, roughly: the sizes of the kernels times the places where they are applied."""
    total = 0
    for _, layer in named_layers(model):
        kernels = [each for each in layer.weights if len(each.shape) > 1]
        if kernels:
            shape = layer.output.shape[1:-1]
            places = math.prod(size or 1 for size in shape) if len(shape) == 2 else 1
            total += places * sum(math.prod(each.shape) for each in kernels)
    return total


def _factors(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> dict[str, str]:
    """The factors of the equalized model; none if it would not be the same in float."""
    try:
        return equalized(model, pixels)
    except ExportError:
        return {}


def _part(progress: Progress | None, number: int) -> Progress | None:
    """Progress of one of the two calibrations."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, 2 * total)


def _error_against(model: keras.Model, images: npt.NDArray[np.uint8]) -> Callable[[bytes], float]:
    """What measures a file's error: rms(file - model) / std(model), each image's mean left out."""
    floats = images.astype(np.float32)
    expected = np.concatenate(
        [np.asarray(model(part, training=False)) for part in np.array_split(floats, -(-len(floats) // 8))]
    )
    single = expected.shape[1] == 1
    spread = float((expected - expected.mean(axis=0 if single else 1, keepdims=True)).std())

    def error(content: bytes) -> float:
        found = Runner(content, inspect_bytes(content, name="a candidate")).outputs(floats)
        difference = found - expected
        if not single:
            difference = difference - difference.mean(axis=1, keepdims=True)
        return float(np.sqrt(np.square(difference).mean()) / max(spread, _TINY))

    return error

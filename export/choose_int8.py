"""Chooses, by images held out from the calibration, what makes an int8 file more accurate for free."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import keras
import numpy as np
import numpy.typing as npt

from export.artifact import Equalization
from export.check.runner import Runner
from export.convert import CalibratedGraph, Int8Graph, Progress
from export.errors import ExportError
from export.plan import equalized, equalized_plan, plan_of
from export.quantization.calibrate import check_pixels, with_full_range
from export.quantization.correct_bias import NUM_IMAGES
from export.settings import ExportSettings
from export.tflite.class_scores import up_to_class_scores
from export.tflite.inspect import inspect_bytes
from keras_graph.walk import named_layers

Pixels = npt.NDArray[np.uint8]
ErrorOf = Callable[[bytes], float]

FEWEST_IMAGES = 32
"""With fewer calibration images none is held out, and nothing is tried."""
_MOST_HELD_OUT = 168
_FEWEST = 12
_MOST_MULTIPLICATIONS = 1.5e10
"""In the float model, over the calibration images that are tried: a net larger than MobileNet 1.0 at 224
pixels is tried with fewer images, down to _FEWEST."""
_TINY = 1e-12
_LEAST_GAIN = 0.05
"""Share by which the error must fall: less could be chance."""
_HARM = 0.2
"""Share by which the error may grow where channels are equalized and biases not yet corrected."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What makes an int8 file most accurate, and the file."""

    equalization: Equalization
    content: bytes
    """Calibrated with all images."""


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Which of the calibration images are for what."""

    num_equalized: int
    """The first ones: those that channels are equalized on."""
    num_tried: int
    """The first ones: those that the compared files have seen, and that their biases are corrected on."""
    held_out: npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class _Way:
    """A graph that has seen the tried images, and the error of its int8 file."""

    graph: Int8Graph
    factors: dict[str, str]
    found: CalibratedGraph
    error: float


def equalization_asked(
    model: keras.Model, settings: ExportSettings, pixels: Pixels | None
) -> Equalization | None:
    """What the settings ask for, without a choice; None for nothing."""
    if not settings.equalize:
        return None
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), settings.precision)
    assert pixels is not None  # checked
    return Equalization(factors=equalized(model, pixels), corrects_biases=True)


def can_choose(pixels: Pixels | None, settings: ExportSettings) -> TypeGuard[Pixels]:
    """Whether the settings leave the choice open, and there are images enough to make it."""
    is_open = settings.equalize is None and bool(settings.rewrites)
    return is_open and pixels is not None and len(pixels) >= FEWEST_IMAGES


def chosen(
    model: keras.Model,
    settings: ExportSettings,
    pixels: Pixels,
    *,
    choosing: Progress | None = None,
    progress: Progress | None = None,
) -> Chosen:
    """Channels equalized, biases corrected, both or neither: what has the smallest error on held-out images.

    The error is that of the middle image's class scores against the float graph, as a share of their spread,
    in files that have seen few images; the best one sees all. A mean would be ruled by the few images whose
    activations lie beyond the ranges. `choosing` is called with (done, all) images of the
    comparison, `progress` with those of the calibration.
    """
    check_pixels(pixels, tuple(model.inputs[0].shape[1:]), settings.precision)
    parts = _parts(len(pixels), multiplications(model))
    ways, error_of = _ways(model, settings, pixels, parts, choosing)
    plain, way = ways[0], min(ways, key=lambda each: each.error)
    error, means = way.error, None
    for each in _in_order(ways):
        own = each.found.means(pixels)
        known = {name: found[: parts.num_tried] for name, found in own.items()}
        corrected = error_of(each.found.corrected(pixels[: parts.num_tried], known))
        if corrected < error:
            error, way, means = corrected, each, own
        if error <= plain.error * (1 - _LEAST_GAIN):
            break
    else:
        error, way, means = plain.error, plain, None
    way.graph.see(pixels[parts.num_tried :], progress, num_all=len(pixels))
    best = way.graph.calibrated()
    done = Equalization(
        factors=way.factors,
        corrects_biases=means is not None,
        plain_error=plain.error,
        error=error,
        num_held_out=len(parts.held_out),
    )
    content = best.plain if means is None else best.corrected(pixels, means)
    return Chosen(equalization=done, content=way.graph.finished(content))


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


def _parts(number: int, multiplications: int) -> _Parts:
    """The parts of so many images. Biases of the final file are never corrected on images held out."""
    affordable = max(_FEWEST, int(_MOST_MULTIPLICATIONS / max(multiplications, 1)))
    first = min(2 * NUM_IMAGES, number - number // 4)
    held_out = first + np.random.default_rng(0).permutation(number - first)
    return _Parts(
        num_equalized=min(first, 2 * affordable),
        num_tried=min(first, NUM_IMAGES, affordable),
        held_out=held_out[: min(_MOST_HELD_OUT, 4 * affordable)],
    )


def _ways(
    model: keras.Model, settings: ExportSettings, pixels: Pixels, parts: _Parts, progress: Progress | None
) -> tuple[list[_Way], ErrorOf]:
    """The model as it is, and equalized, if it can be; and what measures an int8 file's error."""
    tried = pixels[: parts.num_tried]
    graphs = _graphs(model, settings, pixels[: parts.num_equalized])
    for number, (graph, _) in enumerate(graphs):
        graph.see(tried[1:], _part(progress, number, len(graphs)), num_all=len(tried))
    found = [graph.calibrated() for graph, _ in graphs]
    error_of = _error_against(found[0], pixels[parts.held_out])
    return [
        _Way(graph=graph, factors=factors, found=own, error=error_of(own.plain))
        for (graph, factors), own in zip(graphs, found, strict=True)
    ], error_of


def _graphs(
    model: keras.Model, settings: ExportSettings, images: Pixels
) -> list[tuple[Int8Graph, dict[str, str]]]:
    """The model's graph, and the equalized one with its factors, if it can be equalized."""
    first = with_full_range(images[:1])
    plan = plan_of(model, settings, images, None, Equalization())
    found: list[tuple[Int8Graph, dict[str, str]]] = [(Int8Graph(plan, model, settings, first), {})]
    try:
        plan, factors = equalized_plan(model, settings, images)
    except ExportError:  # it would not be the same in float
        return found
    return [*found, (Int8Graph(plan, model, settings, first), factors)] if factors else found


def _in_order(ways: Sequence[_Way]) -> Sequence[_Way]:
    """The ways in the order in which to correct biases: equalized first, unless this alone does harm."""
    plain, *others = ways
    harmful = [each for each in others if each.error > plain.error * (1 + _HARM)]
    return [*(each for each in others if each not in harmful), plain, *harmful]


def _part(progress: Progress | None, number: int, num_parts: int) -> Progress | None:
    """Progress of one of several calibrations."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, num_parts * total)


def _error_against(graph: CalibratedGraph, images: Pixels) -> ErrorOf:
    """What measures an int8 file's error: the rms of an image's difference by its scores' (medians)."""
    floats = images.astype(np.float32)
    expected = _scores(graph.calibrated, graph.rescaling(floats))
    spread = _middle(expected - expected.mean(axis=0)) if expected.shape[1] == 1 else _middle(expected)
    return lambda content: _middle(_scores(content, floats) - expected) / max(spread, _TINY)


def _middle(scores: npt.NDArray[np.float32]) -> float:
    """The median over images (n, classes) of the rms of their values, each image's mean left out."""
    several = scores.shape[1] > 1
    centred = scores - scores.mean(axis=1, keepdims=True) if several else scores
    return float(np.median(np.sqrt(np.square(centred).mean(axis=1))))


def _scores(content: bytes, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The class scores of a file, for what its input takes of raw pixels, or for values of a float file."""
    scores = up_to_class_scores(content)
    return Runner(scores, inspect_bytes(scores, name="a candidate")).outputs(images)

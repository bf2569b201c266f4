"""The graph that a file computes: a Keras model equalized, rewritten, and split from its rescaling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export.artifact import Equalization
from export.graph.equality import check_equal, random_images
from export.graph.probabilities import ends_in, without_probabilities
from export.graph.rescaling import (
    RAW,
    Rescaling,
    folded_rescaling,
    in_one_operator,
    rescaling_of,
    split_rescaling,
    why_not_folded,
    without_rescaling,
)
from export.graph.rewrite import Rewritten, rewrite
from export.quantization.equalize import decoded, encoded, equalize, scaled
from export.settings import ExportSettings
from export.source.serving import is_serving_function

Trained = Callable[..., Any]
"""(values (1, height, width, channels), training=False) -> class scores, with fake quantizers inside."""

EQUALIZED_TOLERANCE = 1e-3
"""Share of the largest class score, like TOLERANCE; channels scaled by up to 100 are rounded differently."""
_NUM_PROVEN = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The graph to convert, and the rescaling of raw pixels to its input."""

    graph: Any
    """A keras.Model, or a function of (values, training=False) with its own quantizers."""
    rescaling: Rescaling


def equalized(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> dict[str, str]:
    """The factors of equalize(), encoded, for Equalization.

    Raises ExportError if the equalized model differs from the given one on some of `pixels`.
    """
    alike = equalize(model, pixels)
    _check_equalized(model, alike.model, pixels)
    return encoded(alike.factors)


def converted_model(
    model: keras.Model,
    settings: ExportSettings,
    *,
    has_quantizers: bool = False,
    equalization: Equalization | None = None,
) -> keras.Model | None:
    """The rewritten and equalized model, on raw pixels, that a file of these settings computes.

    None for a file with float activations, and for a serving function, which shows no layers.
    `has_quantizers`: the file was made from trained quantizers.
    `equalization` is in the file's sidecar. Corrected biases bring the file nearer to this model.
    """
    if not settings.precision.spec.is_calibrated or is_serving_function(model):
        return None
    if equalization is not None and equalization.factors:
        model = scaled(model, decoded(equalization.factors))
    whole = without_probabilities(model) if settings.logits else model
    return whole if has_quantizers else _rewritten(whole, settings).model


def normalization_in_words(
    model: keras.Model, settings: ExportSettings, *, has_quantizers: bool = False
) -> str:
    """Where a file of these settings turns raw pixels into the network's values; empty if it does not."""
    if rescaling_of(model) == RAW:
        return ""
    if not settings.precision.spec.is_integer:
        return "in float, as the model does"
    if _by_the_input(model) != RAW:
        return "in the input's scale and zero point"
    operator = "in one operator, a 1x1 depthwise convolution"
    if has_quantizers:
        return f"{operator}: it was trained quantized with it"
    why_not = why_not_folded(_rewritten(model, settings).model)
    return f"{operator}: {why_not}" if why_not else "in the weights and bias of the first convolution"


def plan_of(
    model: keras.Model,
    settings: ExportSettings,
    pixels: npt.NDArray[np.uint8] | None,
    trained: Trained | None,
    equalization: Equalization,
) -> Plan:
    """The graph to convert. Raises ExportError if a rewrite changed it, on some of `pixels`."""
    source = scaled(model, decoded(equalization.factors)) if equalization.factors else model
    whole = without_probabilities(source) if settings.logits else source
    if trained is not None:
        graph = _with_activation(trained, ends_in(whole))
        return Plan(graph=graph, rescaling=_by_the_input(model))
    rewritten = _rewritten(whole, settings)
    if rewritten.done:
        check_equal(whole, rewritten.model, _images_like(model, pixels))
        whole = rewritten.model
    return _split(whole, settings)


def equalized_plan(
    model: keras.Model, settings: ExportSettings, pixels: npt.NDArray[np.uint8]
) -> tuple[Plan, dict[str, str]]:
    """The plan of the model equalized on these images, and the factors; none if there was nothing to scale.

    Raises ExportError if what is to be converted differs from the model on some of `pixels`.
    """
    alike = equalize(model, pixels)
    scores, whole = (
        without_probabilities(each) if settings.logits else each for each in (model, alike.model)
    )
    made = _rewritten(whole, settings).model
    if alike.factors:
        _check_equalized(scores, made, pixels)
    return _split(made, settings), encoded(alike.factors)


def _split(model: keras.Model, settings: ExportSettings) -> Plan:
    """The plan of a rewritten model: the rescaling that an integer input does is cut off."""
    if not settings.precision.spec.is_integer:
        return Plan(graph=model, rescaling=RAW)
    rescaling = _by_the_input(model)
    instead = folded_rescaling(model) if rescaling == RAW else rescaling
    if instead is None:
        return int8_plan(model)
    return Plan(graph=without_rescaling(model, instead), rescaling=instead)


def _check_equalized(model: keras.Model, made: keras.Model, pixels: npt.NDArray[np.uint8]) -> None:
    images = _images_like(model, pixels)
    check_equal(model, made, images, tolerance=EQUALIZED_TOLERANCE, instead="with --no-equalize")


def int8_plan(model: keras.Model) -> Plan:
    """The plan for the int8 file of a model (batch, height, width, channels) whose layers stay as they are.

    Where the zero of its rescaling is no whole grey level, values are shifted by at most half of one.
    """
    if (rescaling := _by_the_input(model)) != RAW:
        return Plan(graph=split_rescaling(model).rest, rescaling=rescaling)
    return Plan(graph=model if rescaling_of(model) == RAW else in_one_operator(model), rescaling=RAW)


def _rewritten(model: keras.Model, settings: ExportSettings) -> Rewritten:
    return rewrite(model, settings.rewrites, bounds=settings.precision.spec.bounds)


def _with_activation(scores: Trained, activation: str | None) -> Trained:
    """The same with a softmax or sigmoid behind it; None adds nothing."""
    if activation is None:
        return scores
    function = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[activation]

    def probabilities(values: tf.Tensor, **settings: bool) -> tf.Tensor:
        return function(scores(values, **settings))

    return probabilities


def _images_like(model: keras.Model, pixels: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    """Some images to check a rewrite on: of the given ones, or else random ones, as smooth as photos."""
    if pixels is not None:
        return pixels[:_NUM_PROVEN]
    return random_images(_NUM_PROVEN, tuple(model.inputs[0].shape[1:]))


def _by_the_input(model: keras.Model) -> Rescaling:
    """The rescaling that the input's quantization can do; RAW if there is none."""
    rescaling = rescaling_of(model)
    if rescaling == RAW or not rescaling.is_scalar or not _fits_quantization(rescaling):
        return RAW
    return _on_whole_levels(rescaling)


def _fits_quantization(rescaling: Rescaling) -> bool:
    """Whether scale > 0 and black..white includes zero, as a quantized tensor's range must."""
    scale, offset = rescaling.scale[0], rescaling.offset[0]
    return scale > 0 and offset <= 0 <= 255 * scale + offset


def _on_whole_levels(rescaling: Rescaling) -> Rescaling:
    """The rescaling with its zero rounded to a whole grey level."""
    scale, offset = rescaling.scale[0], rescaling.offset[0]
    return Rescaling(scale=(scale,), offset=(scale * float(np.rint(offset / scale)),))

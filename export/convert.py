"""Converts a Keras image classifier to the bytes of a .tflite file, in any precision."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export import native_output
from export.artifact import TensorInfo
from export.errors import ExportError
from export.graph.layer_names import layer_named
from export.graph.rescaling import (
    RAW,
    Rescaling,
    in_one_operator,
    input_error_levels,
    rescaling_of,
    split_rescaling,
    without_rescaling,
)
from export.graph.rewrite import Rewritten, check_equal, ends_in, rewrite, without_probabilities
from export.precisions import IoDtype, Precision
from export.quantization import calibrate
from export.quantization.correct_bias import correct_bias
from export.quantization.equalize import equalize as with_channels_alike
from export.quantization.float_layers import check_names, operators_to_keep, weighted_layer
from export.settings import ExportSettings
from export.source.keras_file import check_image_classifier
from export.tflite.inspect import inspect_bytes
from export.tflite.notes import PIXELS, with_note

Progress = Callable[[int, int], None]

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


def convert(
    model: keras.Model,
    settings: ExportSettings,
    *,
    pixels: npt.NDArray[np.uint8] | None = None,
    trained: Trained | None = None,
    progress: Progress | None = None,
) -> bytes:
    """The .tflite file's content: one image (1, height, width, channels) in, (1, classes) out.

    The file takes raw 0-255 pixels: as float32, or in an integer file as int8 (pixel - 128) or uint8 (pixel);
    its metadata says which. `pixels` (n, height, width, channels) uint8 are the calibration images, already
    chosen by the settings; `progress` is called with (done, all) of them.

    A scalar rescaling at the model's start becomes the quantization of an integer input. It is exact if its
    zero is a whole grey level, as in (x - 128) / 128; otherwise, as in x / 127.5 - 1, the rest goes into
    the bias of the first convolution, and only padded borders are shifted, by at most half a grey level. A
    rescaling per channel becomes a 1x1 depthwise convolution.

    `trained` is the network with quantizers from quantization-aware training: an int8 file is then made from
    it, without calibration and rewrites. Rewrites are checked on the calibration pixels, or on random ones.

    An operator without an integer kernel stays float (`export.tflite.inspect` names it, `export.exporter`
    refuses it). Raises ExportError if the converter fails.
    """
    check_image_classifier(model, f"model '{model.name}'")
    shape = tuple(model.inputs[0].shape[1:])
    spec = settings.precision.spec
    trained = trained if spec.takes_quantizers else None
    calibrated = settings.precision.is_calibrated(has_quantizers=trained is not None)
    if calibrated:
        calibrate.check_pixels(pixels, shape, settings.precision)
    check_names(model, settings.keep_float)
    plan = _plan(model, settings, pixels, trained)
    said = native_output.Noise()
    try:
        with native_output.captured() as said:
            frozen = _frozen(plan.graph, shape)
            if calibrated:
                _refuse_crashing(frozen, settings.precision)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
            _set_up(converter, settings, calibrated=calibrated)
            if calibrated and pixels is not None:
                converter.representative_dataset = calibrate.generator(pixels, plan.rescaling, progress)
            if settings.keep_float and calibrated:
                content = _partly_float(converter, model, settings)
            else:
                content = bytes(converter.convert())
    except (ExportError, KeyboardInterrupt):
        raise
    except Exception as error:  # the converter has no own error class
        raise ExportError(_why_not(settings.precision, error, said.text)) from error
    if spec.is_integer:
        _check_input(content, plan.rescaling, settings.io_dtype)
    stored = inspect_bytes(content, name="the converted file").inputs[0]
    return with_note(content, PIXELS, pixels_in_words(stored))


def equalized_model(
    model: keras.Model, pixels: npt.NDArray[np.uint8], *, keep_float: Collection[str] = ()
) -> keras.Model:
    """The model that an equalized int8 file is converted from: BatchNorms folded, channels equalized, biases
    corrected.

    Inputs, outputs and layer names are unchanged. Checked on some of `pixels` before the biases are
    corrected; the layers of `keep_float` are not rounded and keep their biases.
    """
    alike = with_channels_alike(model, pixels).model
    check_equal(
        model,
        alike,
        _images_like(model, pixels),
        tolerance=EQUALIZED_TOLERANCE,
        instead="without --equalize",
    )
    corrected = correct_bias(alike, pixels)
    for name in {weighted_layer(model, name) for name in keep_float} & set(corrected.shifts):
        layer = layer_named(corrected.model, name)
        *weights, bias = layer.get_weights()
        layer.set_weights([*weights, bias + corrected.shifts[name]])
    return corrected.model


def converted_model(
    model: keras.Model,
    settings: ExportSettings,
    *,
    has_quantizers: bool = False,
    pixels: npt.NDArray[np.uint8] | None = None,
) -> keras.Model | None:
    """The rewritten model, on raw pixels, that a file of these settings computes.

    None for a file with float activations, and for an equalized one without the `pixels` that it was
    calibrated with. `has_quantizers`: the file was made from trained quantizers.
    """
    if not settings.precision.spec.is_calibrated or (settings.equalize and pixels is None):
        return None
    if settings.equalize and pixels is not None:
        model = equalized_model(model, pixels, keep_float=settings.keep_float)
    whole = without_probabilities(model) if settings.logits else model
    return whole if has_quantizers else _rewritten(whole, settings).model


def _plan(
    model: keras.Model,
    settings: ExportSettings,
    pixels: npt.NDArray[np.uint8] | None,
    trained: Trained | None,
) -> Plan:
    source = _equalized(model, pixels, trained, settings.keep_float) if settings.equalize else model
    whole = without_probabilities(source) if settings.logits else source
    if trained is not None:
        graph = _with_activation(trained, ends_in(whole))
        return Plan(graph=graph, rescaling=_by_the_input(model))
    rewritten = _rewritten(whole, settings)
    if rewritten.done:
        check_equal(whole, rewritten.model, _images_like(model, pixels))
        whole = rewritten.model
    if not settings.precision.spec.is_integer:
        return Plan(graph=whole, rescaling=RAW)
    rescaling = _by_the_input(whole)
    if rescaling == RAW:
        return int8_plan(whole)
    return Plan(graph=without_rescaling(whole, rescaling), rescaling=rescaling)


def _rewritten(model: keras.Model, settings: ExportSettings) -> Rewritten:
    return rewrite(model, settings.rewrites, bounds=settings.precision.spec.bounds)


def _equalized(
    model: keras.Model,
    pixels: npt.NDArray[np.uint8] | None,
    trained: Trained | None,
    keep_float: Collection[str],
) -> keras.Model:
    if trained is not None:
        raise ExportError(
            f"'{model.name}' was trained with quantizers, whose ranges equalizing would invalidate. "
            "Export it without --equalize, or equalize the run that it was made from."
        )
    assert pixels is not None  # checked: int8 is calibrated
    return equalized_model(model, pixels, keep_float=keep_float)


def _partly_float(converter: Any, model: keras.Model, settings: ExportSettings) -> bytes:  # noqa: ANN401
    """The int8 file in which the operators of some layers stay in float.

    Calibrates, then quantizes all operators except those given by their output tensors, as
    tf.lite.experimental.QuantizationDebugger does, whose own file has float inputs.
    """
    converter._experimental_calibrate_only = True
    calibrated = bytes(converter.convert())
    contents = inspect_bytes(calibrated, name="the calibrated file")
    kept = operators_to_keep(contents, model, settings.keep_float)
    dtype = tf.dtypes.as_dtype(settings.io_dtype)
    names = [contents.tensors[operator.outputs[0]].name for operator in kept]
    return bytes(
        mlir_quantize(calibrated, input_data_type=dtype, output_data_type=dtype, denylisted_nodes=names)
    )


def _with_activation(scores: Trained, activation: str | None) -> Trained:
    """The same with a softmax or sigmoid behind it; None adds nothing."""
    if activation is None:
        return scores
    function = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[activation]

    def probabilities(values: tf.Tensor, **settings: bool) -> tf.Tensor:
        return function(scores(values, **settings))

    return probabilities


def _images_like(model: keras.Model, pixels: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    """Some images to check a rewrite on: of the given ones, or else random ones."""
    if pixels is not None:
        return pixels[:_NUM_PROVEN]
    shape = (_NUM_PROVEN, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def int8_plan(model: keras.Model) -> Plan:
    """The plan for the int8 file of a model (batch, height, width, channels) whose layers stay as they are.

    Where the zero of its rescaling is no whole grey level, values are shifted by at most half of one.
    """
    if (rescaling := _by_the_input(model)) != RAW:
        return Plan(graph=split_rescaling(model).rest, rescaling=rescaling)
    return Plan(graph=model if rescaling_of(model) == RAW else in_one_operator(model), rescaling=RAW)


def _by_the_input(model: keras.Model) -> Rescaling:
    """The rescaling that the input's quantization can do; RAW if there is none."""
    rescaling = rescaling_of(model)
    if rescaling == RAW or not rescaling.is_scalar or not _fits_quantization(rescaling):
        return RAW
    return _on_whole_levels(rescaling)


def pixels_in_words(stored: TensorInfo) -> str:
    """The expected input of a file of ours, in words."""
    colours = "RGB" if stored.shape[-1] == 3 else "grey"
    values = {"int8": "int8: pixel - 128", "uint8": "uint8: the pixel itself"}
    return f"raw 0-255 {colours} as {values.get(stored.dtype, stored.dtype)}"


def _fits_quantization(rescaling: Rescaling) -> bool:
    """Whether scale > 0 and black..white includes zero, as a quantized tensor's range must."""
    scale, offset = rescaling.scale[0], rescaling.offset[0]
    return scale > 0 and offset <= 0 <= 255 * scale + offset


def _on_whole_levels(rescaling: Rescaling) -> Rescaling:
    """The rescaling with its zero rounded to a whole grey level."""
    scale, offset = rescaling.scale[0], rescaling.offset[0]
    return Rescaling(scale=(scale,), offset=(scale * float(np.rint(offset / scale)),))


def _frozen(graph: Any, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - TensorFlow carries no types
    """The graph at batch 1, with frozen variables, for the converter.

    TFLiteConverter.from_keras_model saves and loads the variables twice: 27 s against 9 s for DenseNet-121.
    """

    def classify(image: tf.Tensor) -> tf.Tensor:
        return tf.cast(graph(image, training=False), tf.float32)

    image = tf.TensorSpec((1, *shape), tf.float32, name="image")
    return convert_variables_to_constants_v2(tf.function(classify).get_concrete_function(image))


def _refuse_crashing(frozen: Any, precision: Precision) -> None:  # noqa: ANN401
    """Raises ExportError for a graph whose conversion would crash the process."""
    kinds = precision.spec.crashes_on
    found = [operation.name for operation in frozen.graph.get_operations() if operation.type in kinds]
    if found:
        places = ", ".join(name.rpartition("/")[0] or name for name in found[:3])
        raise ExportError(
            f"TensorFlow's {precision} quantizer crashes on exponentials, and the model computes "
            f"{len(found)} outside its softmax, at {places}. Give these layers an activation with an integer "
            "kernel, such as relu, swish or gelu, not selu, softplus, mish or exp; export as dynamic or "
            "float16; or leave them in float by training: pipeline compress --qat --skip-layer LAYER."
        )


def _set_up(converter: Any, settings: ExportSettings, *, calibrated: bool) -> None:  # noqa: ANN401
    spec = settings.precision.spec
    if spec.is_optimized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if spec.weight_types:
        converter.target_spec.supported_types = [tf.dtypes.as_dtype(each) for each in spec.weight_types]
    if spec.op_sets and calibrated:
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, each) for each in spec.op_sets]
    if spec.is_integer:
        converter.inference_input_type = tf.dtypes.as_dtype(settings.io_dtype)
        converter.inference_output_type = tf.dtypes.as_dtype(settings.io_dtype)


def _check_input(content: bytes, rescaling: Rescaling, io_dtype: IoDtype) -> None:
    """Raises ExportError unless the file takes int8 = pixel - 128, or uint8 = pixel."""
    stored = inspect_bytes(content, name="the converted file").inputs[0]
    levels = input_error_levels(stored, rescaling)
    if stored.dtype != io_dtype or levels > 0.01:
        raise ExportError(
            f"the converted file's input is {stored.dtype} with scale {stored.scale:.8g} and zero point "
            f"{stored.zero_point}, {levels:.3g} grey levels off raw 0-255 pixels. Expected {io_dtype} = "
            f"pixel{' - 128' if io_dtype == 'int8' else ''}. The model's first layers are at fault: "
            "begin it with one keras.layers.Rescaling."
        )


def _why_not(precision: Precision, error: Exception, said: str) -> str:
    text = f"{error}\n{said}"
    operators = sorted(set(re.findall(r"'(?:tf|tfl)\.(\w+)' op", text)))
    if operators:
        reason = f"it cannot convert {', '.join(operators)}"
    else:
        lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
        reason = f'{type(error).__name__}: "{(lines or [""])[0][:300]}"'
    return (
        f"the TFLite converter could not make a {precision} file: {reason}. "
        "Replace these layers, or export in another precision (float32 takes the most layers)."
    )

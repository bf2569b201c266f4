"""Converts a Keras image classifier to the bytes of a .tflite file, in any precision."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.optimize.calibrator import Calibrator
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export import native_output
from export.artifact import Equalization, TensorInfo
from export.check.runner import stored_input
from export.errors import ExportError
from export.graph.rescaling import Rescaling, input_error_levels
from export.plan import Plan, Trained, equalized, plan_of
from export.precisions import IoDtype, Precision
from export.quantization import calibrate
from export.quantization.correct_bias import NUM_IMAGES, correct_biases, float_means
from export.quantization.float_layers import check_names, operators_to_keep
from export.settings import ExportSettings
from export.source.keras_file import check_image_classifier
from export.tflite.inspect import inspect_bytes
from export.tflite.notes import PIXELS, with_note

Progress = Callable[[int, int], None]


def convert(
    model: keras.Model,
    settings: ExportSettings,
    *,
    pixels: npt.NDArray[np.uint8] | None = None,
    trained: Trained | None = None,
    equalization: Equalization | None = None,
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

    `equalization` is what to do before and after the rounding of an int8 file, from
    export.choose_int8.chosen(); without it, it is what `settings.equalize` asks for, and nothing for None.

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
    equalization = _equalization(model, settings, pixels, trained, equalization)
    plan = plan_of(model, settings, pixels, trained, equalization)
    if calibrated and spec.is_integer:
        assert pixels is not None  # checked above
        graph = Int8Graph(plan, model, settings, calibrate.with_full_range(pixels[:1]))
        graph.see(pixels[1:], progress, num_all=len(pixels))
        found = graph.calibrated()
        return graph.finished(found.corrected(pixels) if equalization.corrects_biases else found.plain)
    with _failures_told(settings.precision):
        seen = calibrate.with_full_range(pixels) if calibrated and pixels is not None else None
        content = bytes(_converter(plan, shape, settings, seen, progress).convert())
    return _finished(content, plan.rescaling, settings)


@dataclass(frozen=True, kw_only=True)
class CalibratedGraph:
    """A calibrated graph, and its int8 file."""

    calibrated: bytes
    """The float file, with the range of each tensor."""
    plain: bytes
    """The int8 file; it carries no note of its pixels."""
    rescaling: Rescaling
    io_dtype: IoDtype

    def means(self, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
        """What biases are corrected by, whatever the ranges are: float_means() of these images."""
        return float_means(self.calibrated, self.rescaling(pixels[:NUM_IMAGES].astype(np.float32)))

    def corrected(
        self,
        pixels: npt.NDArray[np.uint8],
        means: Mapping[str, npt.NDArray[np.float64]] | None = None,
    ) -> bytes:
        """The int8 file with biases corrected on these images; `means` are theirs, if they are known."""
        stored = stored_input(pixels[:NUM_IMAGES].astype(np.float32), self.io_dtype)
        return correct_biases(self.plain, self.means(pixels) if means is None else means, stored).content


class Int8Graph:
    """A model's graph in float, whose ranges widen with each image that it sees, to make int8 files from."""

    def __init__(
        self, plan: Plan, model: keras.Model, settings: ExportSettings, first: npt.NDArray[np.uint8]
    ) -> None:
        """`first` is the image that it sees first, (1, height, width, channels), from with_full_range()."""
        check_names(model, settings.keep_float)
        self._rescaling, self._model, self._settings = plan.rescaling, model, settings
        self._num_seen = 0
        with _failures_told(settings.precision):
            converter = _converter(plan, tuple(model.inputs[0].shape[1:]), settings, first, None)
            converter._experimental_calibrate_only = True
            self._float = bytes(converter.convert())
            self._calibrator = Calibrator(self._float)
        self.see(first)

    def see(
        self, pixels: npt.NDArray[np.uint8], progress: Progress | None = None, *, num_all: int = 0
    ) -> None:
        """Widens the ranges to these images; `progress` is called with (all seen so far, num_all)."""
        begin = self._num_seen
        count = None if progress is None else (lambda done, _: progress(begin + done, num_all))
        self._num_seen += len(pixels)
        if len(pixels):
            with _failures_told(self._settings.precision):
                images = calibrate.generator(pixels, self._rescaling, count)
                self._float = bytes(self._calibrator.calibrate(images))

    def calibrated(self) -> CalibratedGraph:
        """The graph with the ranges of what it has seen; layers that stay in float are not quantized.

        These are given by their output tensors, as in tf.lite.experimental.QuantizationDebugger, whose own
        file has float inputs.
        """
        contents = inspect_bytes(self._float, name="the calibrated file")
        kept = operators_to_keep(contents, self._model, self._settings.keep_float)
        dtype = tf.dtypes.as_dtype(self._settings.io_dtype)
        names = [contents.tensors[operator.outputs[0]].name for operator in kept]
        with _failures_told(self._settings.precision):
            plain = mlir_quantize(
                self._float, input_data_type=dtype, output_data_type=dtype, denylisted_nodes=names
            )
        return CalibratedGraph(
            calibrated=self._float,
            plain=bytes(plain),
            rescaling=self._rescaling,
            io_dtype=self._settings.io_dtype,
        )

    def finished(self, content: bytes) -> bytes:
        """A file of calibrated(), its input checked, with a note of the pixels that it takes."""
        return _finished(content, self._rescaling, self._settings)


def calibrate_int8(
    model: keras.Model,
    settings: ExportSettings,
    pixels: npt.NDArray[np.uint8],
    equalization: Equalization,
) -> CalibratedGraph:
    """The model's graph, equalized if it says so, calibrated with these images."""
    plan = plan_of(model, settings, pixels, None, equalization)
    graph = Int8Graph(plan, model, settings, calibrate.with_full_range(pixels[:1]))
    graph.see(pixels[1:])
    return graph.calibrated()


def _finished(content: bytes, rescaling: Rescaling, settings: ExportSettings) -> bytes:
    """The converted file with a note of the pixels that it takes."""
    if settings.precision.spec.is_integer:
        _check_input(content, rescaling, settings.io_dtype)
    stored = inspect_bytes(content, name="the converted file").inputs[0]
    return with_note(content, PIXELS, pixels_in_words(stored))


def _equalization(
    model: keras.Model,
    settings: ExportSettings,
    pixels: npt.NDArray[np.uint8] | None,
    trained: Trained | None,
    given: Equalization | None,
) -> Equalization:
    """What to do: as given, or else as the settings ask."""
    if trained is not None and settings.equalize:
        raise ExportError(
            f"'{model.name}' was trained with quantizers, whose ranges equalizing would invalidate. "
            "Export it without --equalize, or equalize the run that it was made from."
        )
    if given is not None or not settings.equalize:
        return given or Equalization()
    assert pixels is not None  # checked: int8 is calibrated
    return Equalization(factors=equalized(model, pixels), corrects_biases=True)


@contextmanager
def _failures_told(precision: Precision) -> Iterator[None]:
    """Turns what the converter raises, which has no own error class, into ExportError."""
    said = native_output.Noise()
    try:
        with native_output.captured() as said:
            yield
    except (ExportError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ExportError(_why_not(precision, error, said.text)) from error


def _converter(
    plan: Plan,
    shape: tuple[int, ...],
    settings: ExportSettings,
    pixels: npt.NDArray[np.uint8] | None,
    progress: Progress | None,
) -> Any:  # noqa: ANN401 - TensorFlow carries no types
    """The converter of a plan; with `pixels` it calibrates."""
    frozen = _frozen(plan.graph, shape)
    if pixels is not None:
        _refuse_crashing(frozen, settings.precision)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
    _set_up(converter, settings, calibrated=pixels is not None)
    if pixels is not None:
        converter.representative_dataset = calibrate.generator(pixels, plan.rescaling, progress)
    return converter


def pixels_in_words(stored: TensorInfo) -> str:
    """The expected input of a file of ours, in words."""
    colours = "RGB" if stored.shape[-1] == 3 else "grey"
    values = {"int8": "int8: pixel - 128", "uint8": "uint8: the pixel itself"}
    return f"raw 0-255 {colours} as {values.get(stored.dtype, stored.dtype)}"


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
            "float16; or train quantized, which leaves them in float: pipeline compress --qat"
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
        reason = f'{type(error).__name__}: "{(lines or [""])[0]}"'
    article = "an" if precision.startswith("i") else "a"
    return (
        f"the TFLite converter could not make {article} {precision} file: {reason}. "
        "Replace these layers, or export in another precision (float32 takes the most layers)."
    )

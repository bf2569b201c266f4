"""What stays in float in the int8 file of a network trained quantized, found by converting it untrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tf_keras

from export.convert import convert
from export.errors import ExportError
from export.precisions import Precision
from export.quantization.float_layers import layers_in_float
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes
from export.tflite.layer import Layer
from export.tflite.layers import read_layers
from export.tflite.output import CONVERSIONS
from pipeline.compression.places import is_surely_integer, places_of
from pipeline.errors import PipelineError
from spelling import some


@dataclass(frozen=True, kw_only=True)
class InFloat:
    """The layers without integer operators, and their cost."""

    layers: tuple[str, ...] = ()
    in_words: str = ""


def may_stay_in_float(model: tf_keras.Model) -> bool:
    """Whether a twin has layers that are not known to have integer operators."""
    places = places_of(model)
    return not all(is_surely_integer(place, places) for place in places.values())


def find_in_float(model: keras.Model, quantized: tf_keras.Model) -> InFloat:
    """What stays in float in the int8 file of a model with quantizers.

    Raises PipelineError if there can be no such file.
    """
    try:
        content = convert(model, ExportSettings(Precision.INT8), trained=quantized)
        layers = layers_in_float(inspect_bytes(content, name="int8"), model)
    except ExportError as error:
        raise PipelineError(
            f"'{model.name}' cannot be exported after --qat or --cluster: {error} Leave these out, and "
            "export with calibration: pipeline export --int8"
        ) from error
    if not layers:
        return InFloat()
    return InFloat(layers=layers, in_words=_in_words(layers, read_layers(content, name="int8").layers))


def _in_words(names: Sequence[str], operators: Sequence[Layer]) -> str:
    running = [each for each in operators if not each.on_loading and each.operator not in CONVERSIONS]
    in_float = [each for each in running if each.computes_in_float]
    macs = sum(each.macs for each in running)
    share = sum(each.macs for each in in_float) / macs if macs else 0.0
    kinds = some(dict.fromkeys(each.operator for each in in_float))
    return (
        f"{len(in_float)} of {len(running)} operators ({kinds}; {share:.1%} of the multiplications) stay in "
        f"float in the int8 file, in {some(names, quoted=True)}: values are converted before and after "
        "them, and an "
        "accelerator for integers alone leaves them to the CPU."
    )

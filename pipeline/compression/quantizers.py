"""Quantizers of kernels and activations for TensorFlow Model Optimization, and which of them a layer has."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantizers

from pipeline.compression.places import FIXED, LEARNS, OWN

_quantization: Any = tfmot.quantization.keras
_DECAY = 0.999
"""Momentum per step of the activations' ranges; TFMOT's."""
_NARROWEST = 1e-6
"""Smallest range: activations that are all zero, as on black images, would give an invalid scale of zero."""

shared_ranges: dict[str, dict[str, tf.Variable]] = {}
"""The shared ranges of concatenations, used while the wrappers of one model are built."""


class LearnedRange(_quantization.quantizers.MovingAverageQuantizer):
    """The range of an activation: a moving average over the training batches."""

    observed: int | None = None
    """Number of batches averaged so far while ranges are observed; None in training."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)

    def __call__(self, inputs: Any, training: Any, weights: Any, **settings: Any) -> Any:  # noqa: ANN401, ARG002
        low, high = weights["min_var"], weights["max_var"]
        if training:
            kept = _DECAY if self.observed is None else self.observed / (self.observed + 1)
            least = tf.minimum(tf.reduce_min(inputs), 0.0)
            most = tf.maximum(tf.reduce_max(inputs), least + _NARROWEST)
            low = low.assign(kept * low + (1 - kept) * least)
            high = high.assign(kept * high + (1 - kept) * most)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)


class _SharedRange(LearnedRange):
    """The range of a chain of concatenations, which share one scale in TFLite; the last one learns it."""

    def __init__(self, group: str, *, learns: bool) -> None:
        super().__init__()
        self.group, self.learns = group, learns

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, tf.Variable]:  # noqa: ANN401
        if self.group not in shared_ranges:
            shared_ranges[self.group] = super().build(tensor_shape, name, layer)
        return shared_ranges[self.group]

    def __call__(self, inputs: Any, training: Any, weights: Any, **settings: Any) -> Any:  # noqa: ANN401
        if self.observed is not None and not self.learns:
            return inputs  # the range is not known before the end of the chain
        return super().__call__(inputs, training if self.learns else False, weights, **settings)


class _FixedRange(_quantization.quantizers.Quantizer):
    """A range that is given by the operator."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, tf.Variable]:  # noqa: ANN401, ARG002
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **settings: Any) -> Any:  # noqa: ANN401, ARG002
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class _RangesAlike(default_8bit_quantizers.Default8BitConvWeightsQuantizer):
    """One range for a kernel, stored per channel, as the converter needs it to fold a BatchNormalization."""

    def __call__(self, inputs: Any, training: Any, weights: Any, **settings: Any) -> Any:  # noqa: ANN401, ARG002
        low, high = weights["min_var"], weights["max_var"]
        if training:
            largest = tf.reduce_max(tf.abs(inputs))
            low = low.assign(tf.fill(low.shape, -largest))
            high = high.assign(tf.fill(high.shape, largest))
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            inputs, low, high, num_bits=8, narrow_range=True
        )


class LayerConfig(_quantization.QuantizeConfig):
    """How a layer's kernel and output are quantized: `ranges` as kernel_ranges() says, `output` as
    output_range() does."""

    def __init__(self, kernel: str | None, ranges: str, output: str) -> None:
        self.kernel, self.ranges, self.output = kernel, ranges, output

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
        if self.kernel is None:
            return []
        quantizers = {
            "channel": default_8bit_quantizers.Default8BitConvWeightsQuantizer,
            "alike": _RangesAlike,
            "tensor": lambda: _quantization.quantizers.LastValueQuantizer(
                num_bits=8, per_axis=False, symmetric=True, narrow_range=True
            ),
        }
        return [(getattr(layer, self.kernel), quantizers[self.ranges]())]

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:  # noqa: ANN401, ARG002
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:  # noqa: ANN401
        if self.kernel is not None:
            setattr(layer, self.kernel, quantize_weights[0])

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:  # noqa: ANN401
        pass

    def get_output_quantizers(self, layer: Any) -> list[Any]:  # noqa: ANN401, ARG002
        how, _, rest = self.output.partition(" ")
        if not how:
            return []
        if how == OWN:
            return [LearnedRange()]
        if how == FIXED:
            low, high = map(float, rest.split())
            return [_FixedRange(low, high)]
        return [_SharedRange(rest, learns=how == LEARNS)]

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "ranges": self.ranges, "output": self.output}

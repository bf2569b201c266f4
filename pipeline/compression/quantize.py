"""Quantization-aware training of a tf_keras twin by TensorFlow Model Optimization, for all families.

TFMOT's 8-bit scheme (0.8.1) is replaced where it falls short. It does not quantize the kernel of a
convolution followed by a ReLU without BatchNormalization (SqueezeNet), quantizes only one tensor of a chain
of concatenations (DenseNet), gives an average pooling a separate scale, which the converter refuses, and
starts every activation's range at -6 to 6, a third of which remains after 1,000 steps. So each layer is
annotated with what TFLite does there, a fused operator is quantized once, at its end, and ranges start as
observed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_transforms
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
    model_transformer,
)

from export.trained_names import QUANTIZED_PREFIX
from pipeline.compression.places import KERNELS, is_part_of, kernel_ranges, output_range, places_of
from pipeline.compression.quantizers import LayerConfig, LearnedRange, shared_ranges
from pipeline.compression.shrink import clustered_layers
from pipeline.records.compression import CompressConfig

INPUT_QUANTIZER = "quantized_pixels"
"""Name of the layer that quantizes the input."""
_quantization: Any = tfmot.quantization.keras


def quantize(
    model: tf_keras.Model, config: CompressConfig, *, input_range: tuple[float, float]
) -> tf_keras.Model:
    """The twin with quantizers on weights and activations, whose ranges are learned in training.

    `input_range` are the values of black and white, since the exported file's input must be exactly the
    camera's bytes. The kernels of clustered layers get one scale each, not one per channel, so that their
    values stay few in the file and the download small.
    """
    places = places_of(model)
    clustered = clustered_layers(model, config)

    def annotated(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        skipped = next((each for each in config.kept_in_float if is_part_of(layer.name, each)), None)
        settings = LayerConfig(
            kernel=None if skipped else KERNELS.get(type(layer).__name__),
            ranges=kernel_ranges(layer.name, places, clustered=layer.name in clustered),
            output=output_range(layer.name, places, skipped=skipped),
        )
        return _quantization.quantize_annotate_layer(layer, quantize_config=settings)

    with _quantization.quantize_scope({"LayerConfig": LayerConfig}):
        marked = tf_keras.models.clone_model(model, clone_function=annotated)  # quantize_apply copies it
        quantized = _quantization.quantize_apply(marked, _Scheme())
    shared_ranges.clear()
    _keep_frozen(quantized)
    fix_input_range(quantized, input_range)
    return quantized


def _keep_frozen(quantized: tf_keras.Model) -> None:
    """Takes the kernels of frozen layers from those to train, where TFMOT's wrapper puts all kernels."""
    for layer in quantized.layers:
        if hasattr(layer, "_weight_vars") and not layer.trainable:
            kernels = [variable for variable, _, _ in layer._weight_vars]
            # in place, since an assigned list of variables is registered as trainable again
            layer._trainable_weights[:] = [
                each for each in layer._trainable_weights if all(each is not kernel for kernel in kernels)
            ]
            layer._non_trainable_weights.extend(kernels)


def fix_input_range(quantized: tf_keras.Model, input_range: tuple[float, float]) -> None:
    """Sets the range of the input's quantizer, which TFMOT can only widen."""
    for layer in quantized.layers:
        if type(layer).__name__ == "QuantizeLayer":
            for variable in layer.weights:
                for ending, value in zip(("_min", "_max"), input_range, strict=True):
                    if variable.name.split(":")[0].endswith(ending):
                        variable.assign(value)


def freeze_norms(quantized: tf_keras.Model, plain: tf_keras.Model, *, frozen: bool) -> None:
    """Freezes the BatchNorms' statistics in training, or those alone that are frozen in the plain twin.

    Scales and offsets of the others are trained anyway: a layer that is not trainable normalises by its
    moving statistics; TFMOT's wrapper has already registered its weights as trainable.
    """
    for layer in _norms(quantized):
        layer.trainable = not frozen and plain.get_layer(layer.name).trainable


def _norms(quantized: tf_keras.Model) -> list[tf_keras.layers.BatchNormalization]:
    layers = [getattr(layer, "layer", layer) for layer in quantized.layers]
    return [layer for layer in layers if isinstance(layer, tf_keras.layers.BatchNormalization)]


def observe(quantized: tf_keras.Model, values: Any, *, batch_size: int) -> None:  # noqa: ANN401
    """Sets the activations' ranges to the mean over batches of `values` (n, height, width, channels).

    Otherwise only the kernels' ranges change, which always follow the kernels.
    """
    layers = [getattr(layer, "layer", layer) for layer in quantized.layers]
    dropouts = [layer for layer in layers if isinstance(layer, tf_keras.layers.Dropout)]
    quantizers = [
        quantizer
        for layer in quantized.layers
        for quantizer in getattr(layer, "_output_quantizers", None) or ()
        if isinstance(quantizer, LearnedRange)
    ]
    before = [(layer, "trainable", layer.trainable) for layer in _norms(quantized)]
    before += [(layer, "rate", layer.rate) for layer in dropouts]
    # ranges are learned in training mode, which nothing else may be in
    for layer, setting, value in before:
        setattr(layer, setting, type(value)(0))
    for number, start in enumerate(range(0, len(values), batch_size)):
        for quantizer in quantizers:
            quantizer.observed = number
        quantized(values[start : start + batch_size], training=True)
    for quantizer in quantizers:
        quantizer.observed = None
    for layer, setting, value in before:
        setattr(layer, setting, value)


def take_weights(quantized: tf_keras.Model, plain: tf_keras.Model) -> None:
    """Copies the trained weights from the model with quantizers to the one it was made from."""
    wrapped = {layer.name.removeprefix(QUANTIZED_PREFIX): layer for layer in quantized.layers}
    for layer in plain.layers:
        trained = _variables(wrapped[layer.name]) if layer.weights else {}
        for variable in layer.weights:
            variable.assign(trained[_last(variable.name)])


def kernel_variables(model: tf_keras.Model, names: Collection[str]) -> dict[str, tf.Variable]:
    """Layer -> its kernel's variable, for the named layers, in a model with or without quantizers."""
    layers = {layer.name.removeprefix(QUANTIZED_PREFIX): layer for layer in model.layers}
    return {name: _variables(layers[name])["kernel"] for name in names if name in layers}


class _Scheme(_quantization.default_8bit.Default8BitQuantizeScheme):
    """TFMOT's scheme, changing the graph only by a quantizer after the input."""

    def get_layout_transformer(self) -> Any:  # noqa: ANN401
        return _InputOnly()


class _InputOnly:
    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> Any:  # noqa: ANN401
        return model_transformer.ModelTransformer(
            model,
            [_QuantizedInput()],
            set(layer_quantize_map),
            layer_quantize_map,
        ).transform()


class _QuantizedInput(default_8bit_transforms.InputLayerQuantize):
    """TFMOT's, with one name: a number that counts all models of a process would change a file's bytes."""

    def replacement(self, match_layer: Any) -> Any:  # noqa: ANN401
        node = super().replacement(match_layer)
        node.layer["name"] = node.layer["config"]["name"] = INPUT_QUANTIZER
        return node


def _variables(layer: Any) -> dict[str, tf.Variable]:  # noqa: ANN401
    """Original name, such as kernel or gamma, -> variable of a layer that may be wrapped."""
    inner = getattr(layer, "layer", layer)
    found = {_last(variable.name): variable for variable in inner.weights}
    # the wrapper replaces the weights that it quantizes by tensors
    found |= {_last(variable.name): variable for variable, _, _ in getattr(layer, "_weight_vars", [])}
    return found


def _last(name: str) -> str:
    return name.split(":")[0].split("/")[-1]

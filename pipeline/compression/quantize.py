"""Quantization-aware training of a tf_keras twin by TensorFlow Model Optimization, for all families.

TFMOT's 8-bit scheme (0.8.1) is replaced where it falls short. It does not quantize the kernel of a
convolution followed by a ReLU without BatchNormalization (SqueezeNet), quantizes only one tensor of a chain
of concatenations (DenseNet), gives an average pooling a separate scale, which the converter refuses, and
starts every activation's range at -6 to 6, a third of which remains after 1,000 steps. So each layer is
annotated with what TFLite does there, a fused operator is quantized once, at its end, and ranges start as
observed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantizers,
    default_8bit_transforms,
)
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
    model_transformer,
)

from pipeline.compression.shrink import clustered_layers
from pipeline.errors import PipelineError
from pipeline.records.compression import CompressConfig

PREFIX = "quant_"
"""Prefix of TFMOT's wrappers, followed by the layer's name."""

_quantization: Any = tfmot.quantization.keras
_KERNELS = {"Conv2D": "kernel", "Dense": "kernel", "DepthwiseConv2D": "depthwise_kernel"}
_CLIPS = ("relu", "relu6", "linear")
_SAME_SCALE = (
    "AveragePooling2D",
    "Dropout",
    "Flatten",
    "GlobalMaxPooling2D",
    "MaxPooling2D",
    "Reshape",
    "SpatialDropout2D",
    "UpSampling2D",
    "ZeroPadding2D",
)
"""Layers whose output has their input's scale in TFLite, and so no range to learn."""
_DECAY = 0.999
"""Momentum per step of the activations' ranges; TFMOT's."""
_NARROWEST = 1e-6
"""Smallest range: activations that are all zero, as on black images, would give an invalid scale of zero."""
_OWN_SCALE = ("Add", "Concatenate", "GlobalAveragePooling2D", "ReLU")


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A layer of the twin and its neighbours."""

    kind: str
    activation: str | None
    feeds_on: tuple[str, ...]
    consumers: tuple[str, ...]


def check_quantizable(model: tf_keras.Model, config: CompressConfig) -> None:
    """Raises PipelineError with every layer that cannot be trained quantized and is not skipped."""
    places = _places(model)
    strangers = {
        name: reason
        for name, place in places.items()
        if name not in config.skip_layers and (reason := _why_not(place, places))
    }
    if strangers:
        said = ", ".join(f"layer '{name}' {reason}" for name, reason in strangers.items())
        flags = " ".join(f"--skip-layer {name}" for name in strangers)
        raise PipelineError(
            f"{said}: that cannot be trained quantized. Leave it in float with {flags}, or leave out --qat "
            "and --cluster: `pipeline export --int8` calibrates instead, and names what it cannot take."
        )


def quantize(
    model: tf_keras.Model, config: CompressConfig, *, input_range: tuple[float, float]
) -> tf_keras.Model:
    """The twin with quantizers on weights and activations, whose ranges are learned in training.

    `input_range` are the values of black and white, since the exported file's input must be exactly the
    camera's bytes. The kernels of clustered layers get one scale each, not one per channel, so that their
    values stay few in the file and the download small.
    """
    places = _places(model)
    clustered = clustered_layers(model, config) if config.cluster is not None else ()

    def annotated(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        # a skipped layer's output is still quantized: its readers would compute in float otherwise
        settings = _LayerConfig(
            kernel=None if layer.name in config.skip_layers else _KERNELS.get(type(layer).__name__),
            ranges=_ranges(layer.name, places, clustered=layer.name in clustered),
            output=_output(layer.name, places),
        )
        return _quantization.quantize_annotate_layer(layer, quantize_config=settings)

    with _quantization.quantize_scope({"_LayerConfig": _LayerConfig}):
        marked = tf_keras.models.clone_model(model, clone_function=annotated)  # quantize_apply copies it
        quantized = _quantization.quantize_apply(marked, _Scheme())
    _SHARED.clear()
    fix_input_range(quantized, input_range)
    return quantized


def fix_input_range(quantized: tf_keras.Model, input_range: tuple[float, float]) -> None:
    """Sets the range of the input's quantizer, which TFMOT can only widen."""
    for layer in quantized.layers:
        if type(layer).__name__ == "QuantizeLayer":
            for variable in layer.weights:
                for ending, value in zip(("_min", "_max"), input_range, strict=True):
                    if variable.name.split(":")[0].endswith(ending):
                        variable.assign(value)


def freeze_norms(quantized: tf_keras.Model, *, frozen: bool) -> None:
    """Freezes or unfreezes the BatchNorms' statistics in training; scales and offsets are trained anyway.

    A layer that is not trainable normalises by its moving statistics; TFMOT's wrapper has already registered
    its weights as trainable.
    """
    for layer in _norms(quantized):
        layer.trainable = not frozen


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
        if isinstance(quantizer, _LearnedRange)
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
    wrapped = {layer.name.removeprefix(PREFIX): layer for layer in quantized.layers}
    for layer in plain.layers:
        trained = _variables(wrapped[layer.name]) if layer.weights else {}
        for variable in layer.weights:
            variable.assign(trained[_last(variable.name)])


def kernel_variables(model: tf_keras.Model, names: Collection[str]) -> dict[str, tf.Variable]:
    """Layer -> its kernel's variable, for the named layers, in a model with or without quantizers."""
    layers = {layer.name.removeprefix(PREFIX): layer for layer in model.layers}
    return {name: _variables(layers[name])["kernel"] for name in names if name in layers}


_SHARED: dict[str, dict[str, tf.Variable]] = {}
"""The shared ranges of concatenations, used while the wrappers of one model are built."""


class _LearnedRange(_quantization.quantizers.MovingAverageQuantizer):
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


class _SharedRange(_LearnedRange):
    """The range of a chain of concatenations, which share one scale in TFLite; the last one learns it."""

    def __init__(self, group: str, *, learns: bool) -> None:
        super().__init__()
        self.group, self.learns = group, learns

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, tf.Variable]:  # noqa: ANN401
        if self.group not in _SHARED:
            _SHARED[self.group] = super().build(tensor_shape, name, layer)
        return _SHARED[self.group]

    def __call__(self, inputs: Any, training: Any, weights: Any, **settings: Any) -> Any:  # noqa: ANN401
        if self.observed is not None and not self.learns:
            return inputs  # the range is not known before the end of the chain
        return super().__call__(inputs, training if self.learns else False, weights, **settings)


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


class _LayerConfig(_quantization.QuantizeConfig):
    """How a layer's kernel and output are quantized.

    `ranges` of the kernel are "channel" (one per channel), "tensor" (one) or "alike" (one, stored per
    channel). `output` is "" (not quantized, since the next layer is fused or has the same scale), "own", or
    "learns GROUP" or "shares GROUP" for concatenations.
    """

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
        if not self.output:
            return []
        if self.output != "own":
            how, group = self.output.split(maxsplit=1)
            return [_SharedRange(group, learns=how == "learns")]
        return [_LearnedRange()]

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "ranges": self.ranges, "output": self.output}


class _Scheme(_quantization.default_8bit.Default8BitQuantizeScheme):
    """TFMOT's scheme, changing the graph only by a quantizer after the input."""

    def get_layout_transformer(self) -> Any:  # noqa: ANN401
        return _InputOnly()


class _InputOnly:
    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> Any:  # noqa: ANN401
        return model_transformer.ModelTransformer(
            model,
            [default_8bit_transforms.InputLayerQuantize()],
            set(layer_quantize_map),
            layer_quantize_map,
        ).transform()


def _why_not(place: _Place, places: Mapping[str, _Place]) -> str:
    """Why a layer cannot be trained quantized; empty if it can."""
    if place.kind in (*_SAME_SCALE, *_OWN_SCALE, "InputLayer"):
        return ""
    if place.kind in _KERNELS or place.kind == "Activation":
        return "" if place.activation in _CLIPS else f"has the activation {place.activation}"
    if place.kind == "BatchNormalization":
        before = places[place.feeds_on[0]]
        folds = before.kind in ("Conv2D", "DepthwiseConv2D") and before.activation == "linear"
        alone = folds and len(before.consumers) == 1  # the converter does not fold one into a Dense
        return "" if alone else "is a BatchNormalization without a convolution before it"
    return f"is a {place.kind}"


def _ranges(name: str, places: Mapping[str, _Place], *, clustered: bool) -> str:
    """The `ranges` of a layer's kernel, as in _LayerConfig."""
    place = places[name]
    if place.kind == "DepthwiseConv2D":
        return "channel"  # this gives one scale too, but the converter takes no other form
    if place.kind != "Conv2D":
        return "tensor"
    if not clustered:
        return "channel"
    return "alike" if any(places[each].kind == "BatchNormalization" for each in place.consumers) else "tensor"


def _output(name: str, places: Mapping[str, _Place]) -> str:
    """The `output` of a layer, as in _LayerConfig."""
    place = places[name]
    behind = [places[each] for each in place.consumers]
    if place.kind in _SAME_SCALE:
        return ""
    if place.kind == "Concatenate":
        last = _last_concatenation(name, places)
        return f"learns {last}" if last == name else f"shares {last}"
    fused = place.kind in (*_KERNELS, "BatchNormalization", "Add") and place.activation in (None, "linear")
    if fused and len(behind) == 1 and _is_fused(behind[0], place):
        return ""
    if behind and all(each.kind == "Concatenate" for each in behind):
        return ""  # the joint tensor's scale is this one's
    return "own"


def _is_fused(behind: _Place, place: _Place) -> bool:
    if behind.kind == "BatchNormalization":
        return place.kind in _KERNELS
    return behind.kind == "ReLU" or (behind.kind == "Activation" and behind.activation in _CLIPS)


def _last_concatenation(name: str, places: Mapping[str, _Place]) -> str:
    """The end of a chain of concatenations, whose tensor holds all the others."""
    following = [each for each in places[name].consumers if places[each].kind == "Concatenate"]
    return _last_concatenation(following[0], places) if following else name


def _places(model: tf_keras.Model) -> dict[str, _Place]:
    layers = {layer["name"]: layer for layer in model.get_config()["layers"]}
    feeds_on = {name: _sources(layer["inbound_nodes"]) for name, layer in layers.items()}
    return {
        name: _Place(
            kind=layer["class_name"],
            activation=layer["config"].get("activation"),
            feeds_on=feeds_on[name],
            consumers=tuple(other for other, sources in feeds_on.items() if name in sources),
        )
        for name, layer in layers.items()
    }


def _sources(inbound_nodes: Any) -> tuple[str, ...]:  # noqa: ANN401
    """The layer names in tf_keras's [[[name, node, tensor, {}], ...]]."""
    if inbound_nodes and isinstance(inbound_nodes[0], str):
        return (inbound_nodes[0],)
    return tuple(name for each in inbound_nodes for name in _sources(each))


def _variables(layer: Any) -> dict[str, tf.Variable]:  # noqa: ANN401
    """Original name, such as kernel or gamma, -> variable of a layer that may be wrapped."""
    inner = getattr(layer, "layer", layer)
    found = {_last(variable.name): variable for variable in inner.weights}
    # the wrapper replaces the weights that it quantizes by tensors
    found |= {_last(variable.name): variable for variable, _, _ in getattr(layer, "_weight_vars", [])}
    return found


def _last(name: str) -> str:
    return name.split(":")[0].split("/")[-1]

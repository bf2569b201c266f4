"""What TFLite does with each layer of a tf_keras twin, and so where int8 rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tf_keras

from export.trained_names import PART

KERNELS = {"Conv2D": "kernel", "Dense": "kernel", "DepthwiseConv2D": "depthwise_kernel"}
"""The layers whose kernels are quantized, and the kernels' names."""
_CLIPS = ("relu", "relu6", "linear")
"""Activations that the operator before them takes in."""
_SAME_SCALE = (
    "AveragePooling2D",
    "Cropping2D",
    "Dropout",
    "Flatten",
    "GlobalMaxPooling2D",
    "InputLayer",
    "MaxPooling2D",
    "Permute",
    "Reshape",
    "Resizing",
    "SpatialDropout2D",
    "UpSampling2D",
    "ZeroPadding2D",
)
"""Layers whose output has their input's scale in TFLite, and so no range to learn."""
_FIXED_RANGES = {"sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
"""Activations whose scale TFLite has fixed: 1/256 and 1/128."""
_TAKES_CLIP = (*KERNELS, "BatchNormalization", "Add", "Multiply", "Subtract")
_OWN_SCALE = ("Add", "Concatenate", "GlobalAveragePooling2D", "LeakyReLU", "Multiply", "PReLU", "Subtract")

FIXED, LEARNS, SHARES, OWN = "fixed", "learns", "shares", "own"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A layer of the twin and its neighbours."""

    kind: str
    """Its type; of a carried one, what it runs."""
    activation: str | None
    is_carried: bool
    clips: bool
    """Whether it does no more than to clip its input, as relu and relu6."""
    feeds_on: tuple[str, ...]
    consumers: tuple[str, ...]


def places_of(model: tf_keras.Model) -> dict[str, Place]:
    """The places of a model's layers by name."""
    layers = {layer["name"]: layer for layer in model.get_config()["layers"]}
    feeds_on = {name: _sources(layer["inbound_nodes"]) for name, layer in layers.items()}
    return {
        name: _place(
            layer, feeds_on[name], tuple(other for other, sources in feeds_on.items() if name in sources)
        )
        for name, layer in layers.items()
    }


def is_surely_integer(place: Place, places: Mapping[str, Place]) -> bool:
    """Whether a layer is known to have an integer operator, or none."""
    if place.is_carried:
        return place.kind in ("Add", "Multiply", "gelu", "hard_silu", "leaky_relu")
    if place.kind in KERNELS:
        return True
    if place.kind == "Activation":
        return place.clips or place.activation in _FIXED_RANGES
    if place.kind == "ReLU":
        return place.clips
    if place.kind == "BatchNormalization":
        before = places[place.feeds_on[0]]
        folds = before.kind in ("Conv2D", "DepthwiseConv2D") and before.activation == "linear"
        return folds and len(before.consumers) == 1  # the converter does not fold one into a Dense
    return place.kind in (*_SAME_SCALE, *_OWN_SCALE, "Softmax")


def kernel_ranges(name: str, places: Mapping[str, Place], *, clustered: bool) -> str:
    """The ranges of a layer's kernel: "channel" (one per channel), "tensor" (one), or "alike" (one, stored
    per channel)."""
    place = places[name]
    if place.kind == "DepthwiseConv2D":
        return "channel"  # this gives one scale too, but the converter takes no other form
    if place.kind != "Conv2D":
        return "tensor"
    if not clustered:
        return "channel"
    return "alike" if any(places[each].kind == "BatchNormalization" for each in place.consumers) else "tensor"


def is_part_of(name: str, layer: str) -> bool:
    """Whether a layer of the twin stands for a layer of the model, or for a part of it."""
    return name == layer or name.startswith(layer + PART)


def output_range(name: str, places: Mapping[str, Place], *, skipped: str | None = None) -> str:
    """How a layer's output is quantized: "" (not, since the next layer is fused or has the same scale),
    "own", "fixed LOW HIGH", or "learns GROUP" or "shares GROUP" for concatenations.

    The output of a `skipped` layer, of which this is a part, is quantized, since its readers would compute in
    float otherwise, but nothing within it.
    """
    place = places[name]
    behind = [places[each] for each in place.consumers]
    if skipped and behind and all(is_part_of(each, skipped) for each in place.consumers):
        return ""
    if place.kind in _SAME_SCALE:
        return ""
    if place.kind == "Concatenate":
        last = _last_concatenation(name, places)
        return f"{LEARNS} {last}" if last == name else f"{SHARES} {last}"
    fixed = "softmax" if place.kind == "Softmax" else place.activation or ""
    if fixed in _FIXED_RANGES:
        low, high = _FIXED_RANGES[fixed]
        return f"{FIXED} {low!r} {high!r}"
    takes_clip = place.kind in _TAKES_CLIP and place.activation in (None, "linear")
    if takes_clip and len(behind) == 1 and (behind[0].clips or _folds(behind[0], place)):
        return ""
    if behind and all(each.kind == "Concatenate" for each in behind):
        return ""  # the joint tensor's scale is this one's
    return OWN


def _folds(behind: Place, place: Place) -> bool:
    return behind.kind == "BatchNormalization" and place.kind in KERNELS


def _last_concatenation(name: str, places: Mapping[str, Place]) -> str:
    """The end of a chain of concatenations, whose tensor holds all the others.

    Of two chains it is the first: before the other the converter turns the values into its scale.
    """
    following = [each for each in places[name].consumers if places[each].kind == "Concatenate"]
    return _last_concatenation(following[0], places) if following else name


def _place(layer: Mapping[str, Any], feeds_on: tuple[str, ...], consumers: tuple[str, ...]) -> Place:
    config = layer["config"]
    is_carried = layer["class_name"].endswith("Carried")
    kind = config["kind"] if is_carried else layer["class_name"]
    return Place(
        kind=kind,
        activation=config.get("activation"),
        is_carried=is_carried,
        clips=not is_carried and _clips(kind, config),
        feeds_on=feeds_on,
        consumers=consumers,
    )


def _clips(kind: str, config: Mapping[str, Any]) -> bool:
    if kind == "ReLU":
        return config["max_value"] in (None, 6.0) and not (config["negative_slope"] or config["threshold"])
    return kind == "Activation" and config["activation"] in _CLIPS


def _sources(inbound_nodes: Any) -> tuple[str, ...]:  # noqa: ANN401
    """The layer names in tf_keras's [[[name, node, tensor, {}], ...]]."""
    if inbound_nodes and isinstance(inbound_nodes[0], str):
        return (inbound_nodes[0],)
    return tuple(name for each in inbound_nodes for name in _sources(each))

"""Loads published weights into our models; every weight must be filled and every array used.

Keras 3's `.weights.h5` has `layers/<kind>_<n>/vars/<i>`: the n-th layer of a kind fills our n-th of that
kind; a last 1x1 convolution without a counterpart fills the dense layer `logits`. Other layouts are known by
the names of their arrays, and each family describes its own. Kernels are (h, w, in, out) in Keras's files and
(out, in, h, w) in others, as in PyTorch.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from models.family import Family, Filling, function_of
from models.registry import FAMILIES
from models.weights.arrays import Arrays, is_keras_layout, read_arrays
from spelling import counted, some


def load_weights(model: keras.Model, path: Path | str, *, without: str | None = None) -> None:
    """Fills every weight of the model from a file in a known layout; pixel scaling is not in the file.

    `without` names the layer of the class scores, which keeps its own weights: the file may then have other
    classes. Raises CheckpointError, with the model unchanged, for a damaged file, a layer without an array,
    an array without a layer, or a wrong shape.
    """
    path = Path(path)
    arrays = read_arrays(path)
    filling = _filling(path, model, arrays)
    _check_complete(path, model, arrays, filling, without)
    places = [(layer, index) for layer, index in _places(model) if layer.name != without]
    values = [
        _value(path, layer, index, arrays[filling[layer.name, index]], filling) for layer, index in places
    ]
    for (layer, index), value in zip(places, values, strict=True):
        layer.weights[index].assign(value)


def family_with(arrays: Mapping[str, object]) -> Family | None:
    """The family whose arrays have these names; None for Keras 3's layout and unknown names."""
    found = _published_layout(arrays)
    return found and found[0]


def _published_layout(arrays: Mapping[str, object]) -> tuple[Family, Filling] | None:
    """The first family with a layout of these names, and the array for each weight."""
    for family in FAMILIES.values():
        for layout in family.layouts:
            filling: Filling | None = function_of(layout.filling)(tuple(arrays))
            if filling:
                return family, filling
    return None


def _places(model: keras.Model) -> list[tuple[keras.layers.Layer, int]]:
    return [(layer, index) for layer in model.layers for index in range(len(layer.weights))]


def _filling(path: Path, model: keras.Model, arrays: Arrays) -> Filling:
    """The array for each weight, by Keras's layout or the first family layout with these names."""
    if is_keras_layout(arrays):
        return _fill_from_keras(model, arrays)
    if (found := _published_layout(arrays)) is not None:
        return found[1]
    layouts = [layout for family in FAMILIES.values() for layout in family.layouts]
    raise CheckpointError(
        f"{path} has none of the known layouts; its arrays have names such as "
        f"{some(arrays, quoted=True) if arrays else '(none at all)'}. Known: Keras .weights.h5, "
        f"{', '.join(layout.about for layout in layouts)}."
    )


KERAS_NAME = re.compile(
    r"layers/(?P<kind>conv2d|depthwise_conv2d|batch_normalization|dense)(_(?P<layer>\d+))?"
    r"/vars/(?P<index>\d+)"
)
KERAS_KINDS = {
    "conv2d": "Conv2D",
    "depthwise_conv2d": "DepthwiseConv2D",
    "batch_normalization": "BatchNormalization",
    "dense": "Dense",
}


def _fill_from_keras(model: keras.Model, arrays: Arrays) -> Filling:
    by_class: dict[str, list[str]] = defaultdict(list)
    for layer in model.layers:
        by_class[type(layer).__name__].append(layer.name)
    has_dense = any(name.startswith("layers/dense/") for name in arrays)
    convolutions = by_class["Conv2D"] + ([] if has_dense else by_class["Dense"])
    partners = by_class | {"Conv2D": convolutions}
    filling: Filling = {}
    for name in arrays:
        match = KERAS_NAME.fullmatch(name)
        if match is None:
            continue
        layers = partners[KERAS_KINDS[match["kind"]]]
        number = int(match["layer"] or 0)
        if number < len(layers):
            filling[layers[number], int(match["index"])] = name
    return filling


def _check_complete(
    path: Path, model: keras.Model, arrays: Arrays, filling: Filling, without: str | None
) -> None:
    places = [(layer.name, index) for layer, index in _places(model)]
    empty = [layer for layer, index in places if (layer, index) not in filling and layer != without]
    if empty:
        empty = list(dict.fromkeys(empty))
        raise CheckpointError(
            f"{path} leaves {counted(len(empty), 'layer')} of {model.name} without weights: "
            f"{some(empty, quoted=True)}. It was made for another model: build that one."
        )
    used = {filling[place] for place in places if place in filling}
    unused = [name for name in arrays if name not in used]
    if unused:
        raise CheckpointError(
            f"{path} holds {counted(len(unused), 'array')} that no layer of {model.name} takes: "
            f"{some(unused, quoted=True)}. It was made for another model: build that one."
        )


def _value(
    path: Path, layer: keras.layers.Layer, index: int, array: npt.NDArray[Any], filling: Filling
) -> npt.NDArray[np.float32]:
    """The array for a weight, transposed from the file's layout to Keras's."""
    name = filling[layer.name, index]
    shape = array.shape
    if not _is_keras_order(name):
        array = _from_torch(layer, array)
    if isinstance(layer, keras.layers.Dense) and array.ndim == 4 and array.shape[:2] == (1, 1):
        array = array[0, 0]
    expected = tuple(layer.weights[index].shape)
    if array.shape != expected:
        raise CheckpointError(
            f"{path} holds {name} with shape {shape}, and layer '{layer.name}' expects {expected}. "
            "Build the model with the width and the number of classes that the file was made for."
        )
    return array.astype(np.float32)


def _is_keras_order(name: str) -> bool:
    return "/vars/" in name or name.endswith(":0")


def _from_torch(layer: keras.layers.Layer, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim == 4:
        # a depthwise kernel is (channels, 1, h, w) there and (h, w, channels, 1) here
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        return array.transpose(2, 3, 0, 1) if depthwise else array.transpose(2, 3, 1, 0)
    return array.T if array.ndim > 1 else array

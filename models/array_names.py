"""PyTorch's and old Keras's names of arrays, which the families' layouts share. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from models.family import Filling

_TORCH_PARTS = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
_KERAS_PARTS = {
    "kernel": 0,
    "depthwise_kernel": 0,
    "bias": 1,
    "gamma": 0,
    "beta": 1,
    "moving_mean": 2,
    "moving_variance": 3,
}
_KERAS_NAME = re.compile(r"(?P<layer>.+)/(?P<part>[a-z_]+)(_\d+)?:0")


def torch_filling(names: Sequence[str], layer_of: Callable[[str], str | None]) -> Filling | None:
    """The array for each weight; `layer_of` gives our layer for PyTorch's. None if it knows none of them."""
    found: Filling = {}
    for name in names:
        torch_layer, _, part = name.rpartition(".")
        layer = layer_of(torch_layer)
        if layer is not None and part in _TORCH_PARTS:
            found[layer, _TORCH_PARTS[part]] = name
    return found or None


def keras_h5_filling(names: Sequence[str], layer_of: Callable[[str], str | None]) -> Filling | None:
    """The same for HDF5 files of Keras 1 and 2, whose arrays are `<layer>/<layer>/kernel:0`."""
    found: Filling = {}
    for name in names:
        match = _KERAS_NAME.fullmatch(name)
        if match is None or match["part"] not in _KERAS_PARTS:
            continue
        layer = layer_of(_once(match["layer"]))
        if layer is not None:
            found[layer, _KERAS_PARTS[match["part"]]] = name
    return found or None


def _once(path: str) -> str:
    """The layer's name from a path that has it twice, such as conv1/bn/conv1/bn."""
    path = path.removeprefix("model_weights/")
    half = len(path) // 2
    return path[:half] if path[:half] == path[half + 1 :] else path

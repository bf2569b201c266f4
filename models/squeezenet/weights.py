"""Maps the arrays of SqueezeNet's published weights to our layers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras

from models.family import Filling

_NAME = re.compile(r"weights/\w*conv(?P<layer>\d+)_(?P<part>weight|bias)")


def filling(model: keras.Model, names: Sequence[str]) -> Filling | None:
    """The array for each weight: `weights/<any>_conv<n>_weight` and `_bias` fill our n-th convolution."""
    if not any(_NAME.fullmatch(name) for name in names):
        return None
    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    found: Filling = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match and int(match["layer"]) < len(convolutions):
            found[convolutions[int(match["layer"])], ("weight", "bias").index(match["part"])] = name
    return found

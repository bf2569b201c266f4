"""Maps the arrays of SqueezeNet's published weights to our layers. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.array_names import keras_h5_filling, torch_filling
from models.family import Filling

_CAFFE_NAME = re.compile(r"weights/\w*conv(?P<layer>\d+)_(?P<part>weight|bias)")
_FIRES = range(2, 10)
_IN_ORDER = (
    "conv1",
    *(f"fire{fire}_{part}" for fire in _FIRES for part in ("squeeze1x1", "expand1x1", "expand3x3")),
    "conv10",
)
_TORCHVISION_FIRES = {
    "1.0": {3: 2, 4: 3, 5: 4, 7: 5, 8: 6, 9: 7, 10: 8, 12: 9},
    "1.1": {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9},
}
"""torchvision's place in `features` -> the fire module; the pooling layers in between differ."""


def onnx(names: Sequence[str]) -> Filling | None:
    """The ONNX model zoo's names: `weights/<any>_conv<n>_weight` and `_bias` are the n-th convolution's."""
    found: Filling = {}
    for name in names:
        match = _CAFFE_NAME.fullmatch(name)
        if match and int(match["layer"]) < len(_IN_ORDER):
            found[_IN_ORDER[int(match["layer"])], ("weight", "bias").index(match["part"])] = name
    return found or None


def torchvision(names: Sequence[str]) -> Filling | None:
    """torchvision's names, such as features.3.squeeze.weight."""
    if not any(re.fullmatch(r"features\.\d+\.squeeze\.weight", name) for name in names):
        return None
    version = "1.0" if "features.5.squeeze.weight" in names else "1.1"
    return torch_filling(names, lambda layer: _from_torchvision(layer, version))


def keras_squeezenet(names: Sequence[str]) -> Filling | None:
    """Keras's names of several published files, such as fire2/squeeze1x1/kernel:0."""
    if not any(re.search(r"fire2[/_]squeeze1x1", name) for name in names):
        return None
    return keras_h5_filling(names, lambda layer: layer.replace("/", "_"))


def _from_torchvision(layer: str, version: str) -> str | None:
    ends = {"features.0": "conv1", "classifier.1": "conv10"}
    if layer in ends:
        return ends[layer]
    match = re.fullmatch(r"features\.(\d+)\.(squeeze|expand1x1|expand3x3)", layer)
    fire = _TORCHVISION_FIRES[version].get(int(match[1])) if match else None
    if match is None or fire is None:
        return None
    return f"fire{fire}_{'squeeze1x1' if match[2] == 'squeeze' else match[2]}"

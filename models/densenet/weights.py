"""Maps the arrays of DenseNet-BC's published weights to our layers. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.family import Filling

_PARTS = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
_ENDS = {"conv1": "conv1", "bn1": "final_bn", "fc": "logits"}


def filling(_: object, names: Sequence[str]) -> Filling | None:
    """The array for each weight, from PyTorch's names such as block1.layer.0.bn1.weight."""
    if not any(name.startswith("block1.layer.") for name in names):
        return None
    found: Filling = {}
    for name in names:
        torch_layer, _, part = name.rpartition(".")
        layer = _layer(torch_layer)
        if layer is not None and part in _PARTS:
            found[layer, _PARTS[part]] = name
    return found


def _layer(torch_layer: str) -> str | None:
    """Our name for a layer of the PyTorch DenseNet-BC, or None."""
    if torch_layer in _ENDS:
        return _ENDS[torch_layer]
    if match := re.fullmatch(r"block(\d+)\.layer\.(\d+)\.(bn1|conv1|bn2|conv2)", torch_layer):
        name = f"block{match[1]}_layer{int(match[2]) + 1}"
        return name + {"bn1": "_bottleneck_bn", "conv1": "_bottleneck", "bn2": "_bn", "conv2": ""}[match[3]]
    if match := re.fullmatch(r"trans(\d+)\.(bn1|conv1)", torch_layer):
        return f"transition{match[1]}" + {"bn1": "_bn", "conv1": ""}[match[2]]
    return None

"""Maps the arrays of MobileNet's published weights to our layers. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.array_names import keras_h5_filling, torch_filling
from models.family import Filling

_TIMM_BLOCKS = (1, 2, 2, 6, 2)
"""Blocks in each of timm's five stages (timm/models/efficientnet.py, _gen_mobilenet_v1)."""


def timm(names: Sequence[str]) -> Filling | None:
    """timm's names, such as blocks.2.1.conv_dw.weight."""
    if not any(re.fullmatch(r"blocks\.\d+\.\d+\.conv_dw\.weight", name) for name in names):
        return None
    return torch_filling(names, _from_timm)


def keras_applications(names: Sequence[str]) -> Filling | None:
    """Keras's names, such as conv_dw_1/conv_dw_1/depthwise_kernel:0; only the last layer's is not ours."""
    if not any(name.endswith("depthwise_kernel:0") for name in names):
        return None
    return keras_h5_filling(names, lambda layer: {"conv_preds": "logits"}.get(layer, layer))


def _from_timm(layer: str) -> str | None:
    ends = {"conv_stem": "conv1", "bn1": "conv1_bn", "classifier": "logits"}
    if layer in ends:
        return ends[layer]
    match = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(conv_dw|bn1|conv_pw|bn2)", layer)
    if match is None:
        return None
    number = sum(_TIMM_BLOCKS[: int(match[1])]) + int(match[2]) + 1
    return {
        "conv_dw": f"conv_dw_{number}",
        "bn1": f"conv_dw_{number}_bn",
        "conv_pw": f"conv_pw_{number}",
        "bn2": f"conv_pw_{number}_bn",
    }[match[3]]

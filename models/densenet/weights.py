"""Maps the arrays of DenseNet's published weights to our layers. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.array_names import keras_h5_filling, torch_filling
from models.family import Filling


def dice(names: Sequence[str]) -> Filling | None:
    """DenseNet-BC for CIFAR, such as block1.layer.0.bn1.weight (deeplearning-wisc/dice)."""
    if not any(name.startswith("block1.layer.") for name in names):
        return None
    return torch_filling(names, _from_dice)


def torchvision(names: Sequence[str]) -> Filling | None:
    """torchvision's and timm's names, such as features.denseblock1.denselayer1.norm1.weight."""
    if not any(name.startswith("features.denseblock1.") for name in names):
        return None
    return torch_filling(names, _from_torchvision)


def keras_applications(names: Sequence[str]) -> Filling | None:
    """Keras's names, such as conv2_block1_0_bn/gamma:0."""
    if not any("conv2_block1_0_bn/" in name for name in names):
        return None
    return keras_h5_filling(names, _from_keras)


def _from_dice(layer: str) -> str | None:
    ends = {"conv1": "conv1", "bn1": "final_bn", "fc": "logits"}
    if layer in ends:
        return ends[layer]
    if match := re.fullmatch(r"block(\d+)\.layer\.(\d+)\.(bn1|conv1|bn2|conv2)", layer):
        return _in_block(match[1], int(match[2]) + 1, match[3])
    if match := re.fullmatch(r"trans(\d+)\.(bn1|conv1)", layer):
        return f"transition{match[1]}" + {"bn1": "_bn", "conv1": ""}[match[2]]
    return None


def _from_torchvision(layer: str) -> str | None:
    ends = {"conv0": "conv1", "norm0": "conv1_bn", "norm5": "final_bn"}
    name = layer.removeprefix("features.")
    if layer == "classifier":
        return "logits"
    if name in ends:
        return ends[name]
    # a dot before the number as well: files converted from the oldest ones
    if match := re.fullmatch(r"denseblock(\d+)\.denselayer(\d+)\.(norm|conv)\.?([12])", name):
        return _in_block(match[1], int(match[2]), {"norm": "bn", "conv": "conv"}[match[3]] + match[4])
    if match := re.fullmatch(r"transition(\d+)\.(norm|conv)", name):
        return f"transition{match[1]}" + {"norm": "_bn", "conv": ""}[match[2]]
    return None


def _from_keras(layer: str) -> str | None:
    name = layer.replace("/", "_")
    ends = {"conv1_conv": "conv1", "conv1_bn": "conv1_bn", "bn": "final_bn", "fc1000": "logits"}
    ends |= {"predictions": "logits"}
    if name in ends:
        return ends[name]
    if match := re.fullmatch(r"conv(\d+)_block(\d+)_([012])_(bn|conv)", name):
        part = {"0_bn": "bn1", "1_conv": "conv1", "1_bn": "bn2", "2_conv": "conv2"}
        kind = part.get(f"{match[3]}_{match[4]}")
        return None if kind is None else _in_block(str(int(match[1]) - 1), int(match[2]), kind)
    if match := re.fullmatch(r"pool(\d+)_(bn|conv)", name):
        return f"transition{int(match[1]) - 1}" + {"bn": "_bn", "conv": ""}[match[2]]
    return None


def _in_block(block: str, layer: int, part: str) -> str:
    """Our name of the first (bottleneck) or second BatchNorm or convolution of a dense layer."""
    ends = {"bn1": "_bottleneck_bn", "conv1": "_bottleneck", "bn2": "_bn", "conv2": ""}
    return f"block{block}_layer{layer}{ends[part]}"

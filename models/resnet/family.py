"""ResNet for CIFAR: knobs, recipe and figures. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from models.errors import KnobError
from models.family import Family, PublishedFigure, Recipe, combinations
from models.knobs import Knob
from models.shared_knobs import COMMON, IMAGE_SIZE, NUM_CLASSES

_CIFAR10 = (
    (20, 269_722, 40.6, 8.75, 8.27),
    (32, 464_154, 68.9, 7.51, 7.37),
    (44, 658_586, 97.2, 7.17, 6.90),
    (56, 853_018, 125.5, 6.97, 6.61),
    (110, 1_727_962, 252.9, 6.43, 6.32),
)
"""depth, parameters, M MACs, error in the paper's Table 6, error in akamaster's table."""
_SMALLEST_DEPTH = 8
_LARGEST_DEPTH = 1202
_COMMON = {
    IMAGE_SIZE.name: dataclasses.replace(IMAGE_SIZE, default=32),
    NUM_CLASSES.name: dataclasses.replace(NUM_CLASSES, default=10),
}


def _check(resolved: Mapping[str, Any]) -> None:
    depth = resolved["depth"]
    if (depth - 2) % 6:
        lower = depth - (depth - 2) % 6
        raise KnobError(
            f"depth {depth} does not make three equal stages of pairs: depth - 2 must be a multiple of 6. "
            f"Nearest: {lower} or {lower + 6}."
        )


def _short(resolved: Mapping[str, Any]) -> str:
    return f"resnet{resolved['depth']}"


def _published() -> tuple[PublishedFigure, ...]:
    return tuple(
        PublishedFigure(
            family="resnet",
            knobs={"depth": depth},
            parameters=parameters,
            mmacs=mmacs,
            top1=round(100 - error, 2),
            top1_dataset="CIFAR-10, shifted and mirrored",
            source=source,
        )
        for depth, parameters, mmacs, paper, akamaster in _CIFAR10
        for error, source in ((paper, "paper, Table 6"), (akamaster, "akamaster/pytorch_resnet_cifar10"))
    )


FAMILY = Family(
    name="resnet",
    title="ResNet for CIFAR",
    paper="He et al. 2015, arXiv:1512.03385, section 4.2",
    builder="models.resnet.network:resnet",
    check=_check,
    short=_short,
    knobs=(
        Knob(
            name="depth",
            type=int,
            default=20,
            minimum=_SMALLEST_DEPTH,
            maximum=_LARGEST_DEPTH,
            published=(20, 1202),
            about="Convolutions and the last layer counted: 6n + 2 for three stages of n pairs. The paper's "
            "are 20, 32, 44, 56 and 110.",
        ),
    ),
    common=tuple(_COMMON.get(knob.name, knob) for knob in COMMON),
    # 64,000 steps, the rate divided by 10 at 50% and 75%; the paper warms up depth 110 alone
    recipe=Recipe(
        optimizer="sgd",
        learning_rate=0.1,
        batch_size=128,
        schedule="steps",
        weight_decay=1e-4,
        source="He et al. 2015, arXiv:1512.03385, section 4.2",
    ),
    min_crop_area=0.22,  # section 3.4: 224 x 224 of an image whose shorter side is 256 to 480
    grid=combinations(depth=(20, 32, 44, 56, 110)),
    small={"depth": 14},
    tiny={"depth": 8, "image_size": 16},
    published=_published(),
)

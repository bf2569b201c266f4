"""DenseNet's knobs, recipe and figures. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from models.errors import KnobError
from models.family import Checkpoint, Family, Layout, PublishedFigure, Recipe, imagenet_figure
from models.knobs import GIVEN, Default, Knob
from models.shared_knobs import (
    CIFAR10_CLASSES,
    CIFAR10_MEAN,
    CIFAR10_STD,
    COMMON,
    IMAGE_SIZE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    dropout,
    normalisation,
)

BLOCKS = {
    "121": (6, 12, 24, 16),
    "169": (6, 12, 32, 32),
    "201": (6, 12, 48, 32),
    "264": (6, 12, 64, 48),
    "161": (6, 12, 36, 24),
}
"""Layers in each dense block, Huang et al. 2016, Table 1 (161: the authors' repository)."""

_IMAGENET = (
    ("121", 7_978_856, 2834.0, 25.02, "paper, Table 3"),
    ("169", 14_149_480, 3360.0, 23.80, "paper, Table 3"),
    ("201", 20_013_928, 4291.0, 22.58, "paper, Table 3"),
    ("264", 33_337_704, 5752.0, 22.15, "paper, Table 3"),
    ("161", 28_681_000, 7728.0, 22.2, "authors' repository"),
)
"""variant, parameters, M MACs, top-1 error with one crop."""

_CIFAR10 = (
    (40, 12, False, 1_019_722, 264.8, 5.24),
    (100, 12, False, 6_979_642, 1769.5, 4.10),
    (100, 24, False, 27_249_082, 6889.0, 3.74),
    (100, 12, True, 769_162, 287.9, 4.51),
    (250, 24, True, 15_324_406, 5419.0, 3.62),
    (190, 40, True, 25_624_430, 9302.0, 3.46),
)
"""depth, growth_rate, bottleneck and compression, parameters, M MACs, error on C10+."""

_VARIANT = {"variant": GIVEN}
_DEPTH = {"depth": GIVEN}
_GROWTH_RATE = (
    Default(value=48, when={"variant": "161"}),
    Default(value=32, when=_VARIANT),
    Default(value=12, when=_DEPTH),
)


def _check(resolved: Mapping[str, Any]) -> None:
    variant, depth = resolved["variant"], resolved["depth"]
    if depth is None:
        return
    if variant is not None:
        raise KnobError(
            f"variant {variant} and depth {depth} are both given. Give variant for the ImageNet nets, or "
            "depth for the CIFAR nets."
        )
    step = 6 if resolved["bottleneck"] else 3
    if (depth - 4) % step:
        lower = max(depth - (depth - 4) % step, 4 + step)
        kind = "three blocks of two convolutions a layer" if step == 6 else "three equal blocks"
        raise KnobError(
            f"depth {depth} does not make {kind}: depth - 4 must be a multiple of {step}. "
            f"Nearest: {lower} or {lower + step}."
        )


def _short(resolved: Mapping[str, Any]) -> str:
    variant, growth_rate = resolved["variant"], resolved["growth_rate"]
    bottleneck, compression = resolved["bottleneck"], resolved["compression"]
    if variant is not None:
        name = f"densenet{variant}"
        usual = next(each.value for each in _GROWTH_RATE if each.holds({"variant": variant}))
        name += f"k{growth_rate}" if growth_rate != usual else ""
        name += "" if bottleneck else "_nobottleneck"
        return name + (f"_compression{compression:g}" if compression != 0.5 else "")
    kind = ("b" if bottleneck else "") + ("c" if compression < 1 else "")
    name = f"densenet_{kind or 'l'}{resolved['depth']}k{growth_rate}"
    return name + (f"_compression{compression:g}" if compression not in (0.5, 1.0) else "")


def _cifar_figure(
    depth: int, growth_rate: int, bottleneck: bool, *, parameters: int, mmacs: float, error: float
) -> PublishedFigure:
    return PublishedFigure(
        family="densenet",
        knobs={"depth": depth, "growth_rate": growth_rate, "bottleneck": bottleneck, "num_classes": 10},
        parameters=parameters,
        mmacs=mmacs,
        top1=round(100 - error, 2),
        top1_dataset="CIFAR-10, shifted and mirrored",
        source="paper, Table 2",
    )


_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/densenet/"
_KERAS = (
    ("121", 75.0, "9d60b8095a5708f2dcce2bca79d332c7"),
    ("169", 76.2, "d699b8f76981ab1b30698df4c175e90b"),
    ("201", 77.3, "1ceb130c1ea1b78c3bf6114dbdfd8807"),
)
"""variant, top-1 in Keras's table, MD5 in keras.applications."""
_SIZE_MB = {"121": 32.5, "169": 57.5, "201": 81.5}
_TIMM = (
    ("121", "ra", 75.6, "Ross Wightman (RandAugment)"),
    ("121", "tv", 74.75, "torchvision"),
    ("169", "tv", 75.9, "torchvision"),
    ("201", "tv", 77.3, "torchvision"),
)
"""variant, timm's tag, top-1 in timm's table, who trained it."""


def _checkpoints() -> dict[str, Checkpoint]:
    """Keras's three, timm's four, and one for CIFAR-10."""
    imagenet = normalisation(IMAGENET_MEAN, IMAGENET_STD)
    found = {}
    for variant, top1, md5 in _KERAS:
        file = f"densenet{variant}_weights_tf_dim_ordering_tf_kernels.h5"
        found[f"densenet{variant}"] = Checkpoint(
            family="densenet",
            knobs={"variant": variant, "epsilon": 1.001e-5, **imagenet},
            file=file,
            url=_KERAS_URL + file,
            md5=md5,
            size_mb=_SIZE_MB[variant],
            top1=top1,
            printed="ImageNet, 224 pixels; keras.io/api/applications",
            source="Keras, from the authors' Torch file",
            licence="BSD-3-Clause",
        )
    for variant, tag, top1, author in _TIMM:
        found[f"densenet{variant}_{tag}_timm"] = Checkpoint(
            family="densenet",
            knobs={"variant": variant, **imagenet},
            file="model.safetensors",
            hub=f"timm/densenet{variant}.{tag}_in1k",
            size_mb=_SIZE_MB[variant],
            top1=top1,
            printed="ImageNet, 224 pixels; timm's results table",
            source=f"timm, trained by {author}",
            licence="Apache-2.0",
        )
    found["densenet_bc_100_12_cifar10"] = Checkpoint(
        family="densenet",
        knobs={
            "depth": 100,
            "growth_rate": 12,
            "bottleneck": True,
            "compression": 0.5,
            "num_classes": 10,
            **normalisation([mean / 255 for mean in CIFAR10_MEAN], [std / 255 for std in CIFAR10_STD]),
        },
        file="densenet_bc_100_12_cifar10.npz",
        size_mb=3.2,
        top1=94.03,
        printed="CIFAR-10's test set; measured here",
        source="deeplearning-wisc/dice",
        licence="MIT",
        obtain="load dice's DenseNet-BC checkpoint in PyTorch and save its state_dict as .safetensors",
        class_names=CIFAR10_CLASSES,
    )
    return found


FAMILY = Family(
    name="densenet",
    title="DenseNet",
    paper="Huang et al. 2016, arXiv:1608.06993",
    builder="models.densenet.network:densenet",
    check=_check,
    short=_short,
    knobs=(
        Knob(
            name="variant",
            type=str,
            default=None,
            choices=tuple(BLOCKS),
            defaults=(Default(value="121", when={"depth": None}),),
            about="The ImageNet nets with four blocks.",
        ),
        Knob(
            name="depth",
            type=int,
            default=None,
            minimum=7,
            maximum=1000,
            published=(40, 250),
            about="The CIFAR nets with three equal blocks: convolutions and the last layer counted.",
        ),
        Knob(
            name="growth_rate",
            type=int,
            default=None,
            minimum=1,
            maximum=512,
            published=(12, 48),
            defaults=_GROWTH_RATE,
            about="Channels that each layer adds.",
        ),
        Knob(
            name="bottleneck",
            type=bool,
            default=None,
            defaults=(Default(value=True, when=_VARIANT), Default(value=False, when=_DEPTH)),
            about="A 1x1 convolution to 4 * growth_rate channels before each 3x3 (the B of BC).",
        ),
        # the ImageNet nets are all BC, with 0.5; the CIFAR nets are plain, with 1, or BC (sections 3 and 4)
        Knob(
            name="compression",
            type=float,
            default=None,
            above=0.0,
            maximum=1.0,
            published=(0.5, 1.0),
            defaults=(
                Default(value=0.5, when=_VARIANT),
                Default(value=0.5, when={"bottleneck": True}),
                Default(value=1.0, when=_DEPTH | {"bottleneck": False}),
            ),
            about="Share of channels that a transition keeps (the C of BC).",
        ),
        Knob(
            name="epsilon",
            type=float,
            default=1e-5,
            above=0.0,
            label="eps{:g}",
            changes_cost=False,
            about="BatchNormalization's: 1e-5 in PyTorch's weights, 1.001e-5 in Keras's.",
        ),
        dropout(0.0, "after every convolution except the first"),
    ),
    common=(dataclasses.replace(IMAGE_SIZE, defaults=(Default(value=32, when=_DEPTH),)), *COMMON[1:]),
    recipe=Recipe(
        optimizer="sgd",
        learning_rate=0.1,
        batch_size=64,
        schedule="steps",
        weight_decay=1e-4,
        source="Huang et al. 2017, arXiv:1608.06993, section 4.2",
    ),
    min_crop_area=0.08,  # section 4.2: as the ResNets were trained
    grid=(
        {"depth": 40, "bottleneck": True},
        {"depth": 100, "bottleneck": True},
        *({"variant": variant} for variant in ("121", "169", "201")),
    ),
    small={"depth": 22, "bottleneck": True},
    tiny={"depth": 7, "growth_rate": 4, "image_size": 16},
    published=(
        *(
            imagenet_figure(
                "densenet", {"variant": variant}, parameters, mmacs, top1=round(100 - error, 2), source=source
            )
            for variant, parameters, mmacs, error, source in _IMAGENET
        ),
        *(
            _cifar_figure(depth, growth_rate, bottleneck, parameters=parameters, mmacs=mmacs, error=error)
            for depth, growth_rate, bottleneck, parameters, mmacs, error in _CIFAR10
        ),
    ),
    checkpoints=_checkpoints(),
    layouts=(
        Layout(about="DenseNet-BC for CIFAR of dice", filling="models.densenet.weights:dice"),
        Layout(about="DenseNet of torchvision and timm", filling="models.densenet.weights:torchvision"),
        Layout(about="DenseNet of keras.applications", filling="models.densenet.weights:keras_applications"),
    ),
)

"""SqueezeNet's knobs, recipe and figures. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.family import Checkpoint, Family, Layout, Recipe, combinations, imagenet_figure
from models.knobs import Knob
from models.shared_knobs import IMAGENET_MEAN, IMAGENET_STD, dropout, normalisation

_PUBLISHED = (
    ({"version": "1.0", "image_size": 224}, 1_248_424, 818.9, 57.5, "paper, Table 2"),
    ({"version": "1.0", "image_size": 227}, 1_248_424, 832.7, 57.5, "paper, Table 2"),
    ({"version": "1.1", "image_size": 224}, 1_235_496, 349.2, 58.178, "torchvision"),
    ({"version": "1.1", "image_size": 227}, 1_235_496, 387.7, None, "authors' repository"),
    ({"version": "1.0", "conv10_pad": 1, "image_size": 224}, 1_248_424, 847.6, None, "authors' Caffe file"),
    ({"version": "1.0", "conv10_pad": 1, "image_size": 227}, 1_248_424, 861.3, 57.5, "authors' Caffe file"),
    ({"version": "1.1", "conv10_pad": 1, "image_size": 224}, 1_235_496, 377.8, None, "authors' Caffe file"),
    ({"version": "1.1", "conv10_pad": 1, "image_size": 227}, 1_235_496, 418.5, None, "authors' Caffe file"),
    ({"version": "1.0", "bypass": "simple"}, 1_248_424, 818.9, 60.4, "paper, Table 3"),
    ({"version": "1.0", "bypass": "complex"}, 1_589_672, 1165.0, 58.8, "paper, Table 3"),
)
"""Knobs, parameters, M MACs, top-1. The paper prints 7.7 MB for the complex bypass; its layers make 6.36."""


def _short(resolved: Mapping[str, Any]) -> str:
    return f"squeezenet_{resolved['version']}"


_PARAMETERS = {"1.0": 1_248_424, "1.1": 1_235_496}


def _checkpoints() -> dict[str, Checkpoint]:
    imagenet = normalisation(IMAGENET_MEAN, IMAGENET_STD)
    found = {
        "squeezenet_1.1": Checkpoint(
            family="squeezenet",
            knobs={"version": "1.1", **imagenet},
            file="squeezenet_v1.1_imagenet.npz",
            top1=None,
            size_mb=4.9,
            printed="not printed; three golden outputs",
            source="ONNX model zoo, SqueezeNet 1.1",
            licence="Apache-2.0",
            obtain="save the initializers of the ONNX model zoo's squeezenet1.1-7.onnx as .npz",
        )
    }
    for version, top1 in (("1.0", 58.09), ("1.1", 58.18)):
        name = f"squeezenet{version.replace('.', '_')}"
        found[f"squeezenet_{version}_torchvision"] = Checkpoint(
            family="squeezenet",
            knobs={"version": version, **imagenet},
            file=f"{name}.safetensors",
            top1=top1,
            size_mb=round(_PARAMETERS[version] * 4e-6, 1),
            printed="ImageNet, 224 pixels; torchvision's table of weights",
            source="torchvision",
            licence="BSD-3-Clause",
            obtain=f"in PyTorch, safetensors.torch.save_file("
            f"torchvision.models.{name}(weights='IMAGENET1K_V1').state_dict(), '{name}.safetensors')",
        )
    return found


FAMILY = Family(
    name="squeezenet",
    title="SqueezeNet",
    paper="Iandola et al. 2016, arXiv:1602.07360",
    builder="models.squeezenet.network:squeezenet",
    short=_short,
    knobs=(
        Knob(
            name="version",
            type=str,
            default="1.1",
            choices=("1.0", "1.1"),
            about="1.0 is the paper's net, 1.1 the authors' with 2.4 times fewer MACs.",
        ),
        Knob(
            name="bypass",
            type=str,
            default="none",
            choices=("none", "simple", "complex"),
            label="{}bypass",
            about="Shortcuts around fire modules: simple where the channels match, complex around all.",
        ),
        Knob(
            name="conv10_pad",
            type=int,
            default=0,
            minimum=0,
            maximum=1,
            label="pad{}",
            about="Pixels of zeros around the last convolution's input; the authors' Caffe file has 1.",
        ),
        Knob(
            name="conv1_padding",
            type=str,
            default="valid",
            choices=("valid", "same"),
            label="conv1{}",
            about="The first convolution of the imagenet stem: valid as in Caffe, same as in several ports.",
        ),
        Knob(
            name="pooling",
            type=str,
            default="ceil",
            choices=("ceil", "floor"),
            label="{}pool",
            about="How a pooling rounds its size: ceil as in Caffe and PyTorch, floor as in several ports.",
        ),
        dropout(0.5, "after fire9"),
    ),
    # solver.prototxt: learning rate 0.04, falling linearly to 0; momentum 0.9, decay 2e-4. The clipping is
    # ours: without it the scores' ReLU dies on a few classes and the loss stays at that of guessing
    recipe=Recipe(
        optimizer="sgd",
        learning_rate=0.04,
        clip_norm=1.0,
        batch_size=64,
        schedule="linear",
        weight_decay=2e-4,
        source="Iandola et al. 2016, arXiv:1602.07360, and forresti/SqueezeNet's solver.prototxt",
    ),
    min_crop_area=0.75,  # 227 x 227 of 256 x 256 is 79%
    grid=combinations(version=("1.1", "1.0"), image_size=(128, 160, 192, 224)),
    small={},
    tiny={"image_size": 32},
    published=tuple(
        imagenet_figure("squeezenet", knobs, parameters, mmacs, top1=top1, source=source)
        for knobs, parameters, mmacs, top1, source in _PUBLISHED
    ),
    checkpoints=_checkpoints(),
    layouts=(
        Layout(about="SqueezeNet of the ONNX model zoo", filling="models.squeezenet.weights:onnx"),
        Layout(about="SqueezeNet of torchvision", filling="models.squeezenet.weights:torchvision"),
        Layout(about="SqueezeNet of Keras ports", filling="models.squeezenet.weights:keras_squeezenet"),
    ),
    head="conv10",
)

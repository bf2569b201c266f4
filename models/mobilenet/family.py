"""MobileNet v1's knobs, recipe and figures. Standard library only.

MACs are counted from the layers. slim's table prints 317, 233, 162 and 104 M for alpha 0.75 (layers: 325.4,
239.3, 166.4 and 106.8) and 34 M for 0.25_192 (layers: 30.2); the paper prints 4866 M for the full-convolution
net, without the last layer's 1.0 M.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.family import (
    Checkpoint,
    Family,
    Layout,
    PublishedFigure,
    Recipe,
    combinations,
    imagenet_figure,
)
from models.knobs import Alias, Knob
from models.shared_knobs import IMAGE_SIZE, dropout

_PARAMETERS = {1.0: 4_231_976, 0.75: 2_585_560, 0.5: 1_331_592, 0.25: 470_072}
_TOP1 = (
    (1.0, 224, 568.7, 70.6, 70.9),
    (1.0, 192, 418.1, 69.1, 70.0),
    (1.0, 160, 290.7, 67.2, 68.0),
    (1.0, 128, 186.4, 64.4, 65.2),
    (0.75, 224, 325.4, 68.4, 68.4),
    (0.75, 192, 239.3, None, 67.2),
    (0.75, 160, 166.4, None, 65.3),
    (0.75, 128, 106.8, None, 62.1),
    (0.5, 224, 149.5, 63.7, 63.3),
    (0.5, 192, 110.0, None, 61.7),
    (0.5, 160, 76.5, 60.2, 59.1),
    (0.5, 128, 49.2, None, 56.3),
    (0.25, 224, 41.0, 50.6, 49.8),
    (0.25, 192, 30.2, None, 47.7),
    (0.25, 160, 21.1, None, 45.5),
    (0.25, 128, 13.6, None, 41.5),
)
"""alpha, image_size, M MACs, top-1 in the paper's Tables 6, 7 and 9, top-1 in slim's table of 2018-02-22."""


_KERAS_TOP1 = {
    1.0: {224: 70.7, 192: 69.3, 160: 67.2, 128: 64.1},
    0.75: {224: 68.4, 192: 67.4, 160: 65.2, 128: 61.8},
    0.5: {224: 64.0, 192: 62.1, 160: 59.9, 128: 56.2},
    0.25: {224: 50.6, 192: 49.0, 160: 46.0, 128: 41.3},
}
"""alpha -> image_size -> top-1 of TensorFlow slim's checkpoints of 2017-06-14, which are Keras's files."""
_SIZE_MB = {1.25: 25.2, 1.0: 17.1, 0.75: 10.5, 0.5: 5.5, 0.25: 2.0}
_KERAS_ALPHA = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
_TIMM = ((1.0, "mobilenetv1_100", 75.38), (1.25, "mobilenetv1_125", 76.92))
"""alpha, timm's name, top-1 at 224 pixels."""
_MINUS1_TO_1 = {"scale": 1 / 127.5, "offset": -1.0}


def _checkpoints() -> dict[str, Checkpoint]:
    """Keras's sixteen, then timm's."""
    found = {}
    for alpha, by_size in _KERAS_TOP1.items():
        for size, top1 in by_size.items():
            file = f"mobilenet_{_KERAS_ALPHA[alpha]}_{size}_tf.h5"
            found[f"mobilenet_{alpha:g}_{size}".replace("_1_", "_1.0_")] = Checkpoint(
                family="mobilenet",
                knobs={"alpha": alpha, "image_size": size, **_MINUS1_TO_1},
                file=file,
                url=_KERAS_URL + file,
                size_mb=_SIZE_MB[alpha],
                top1=top1,
                printed=f"ImageNet, {size} pixels; TensorFlow slim's mobilenet_v1.md, 2017-06-14",
                source="Keras, from TensorFlow slim's checkpoint of 2017-06-14",
                licence="Apache-2.0 and MIT",
            )
    for alpha, name, top1 in _TIMM:
        found[f"{name}_timm"] = Checkpoint(
            family="mobilenet",
            knobs={"alpha": alpha, "padding": "both_sides", "epsilon": 1e-5, **_MINUS1_TO_1},
            file="model.safetensors",
            hub=f"timm/{name}.ra4_e3600_r224_in1k",
            size_mb=_SIZE_MB[alpha],
            top1=top1,
            printed="ImageNet, 224 pixels; timm's README",
            source="timm, trained by Ross Wightman (ra4, 3600 epochs)",
            licence="Apache-2.0",
        )
    return found


def _short(_: Mapping[str, Any]) -> str:
    return "mobilenet"


def _published() -> tuple[PublishedFigure, ...]:
    rows = []
    for alpha, size, mmacs, paper_top1, slim_top1 in _TOP1:
        sources = ((paper_top1, "paper, Tables 6, 7 and 9"), (slim_top1, "TensorFlow slim, 2018-02-22"))
        knobs, parameters = {"alpha": alpha, "image_size": size}, _PARAMETERS[alpha]
        rows += [
            imagenet_figure("mobilenet", knobs, parameters, mmacs, top1=top1, source=source)
            for top1, source in sources
            if top1 is not None
        ]
    return (
        *rows,
        imagenet_figure(
            "mobilenet", {"full_conv": True}, 29_294_088, 4867.3, top1=71.7, source="paper, Table 4"
        ),
        imagenet_figure("mobilenet", {"shallow": True}, 2_887_976, 307.3, top1=65.3, source="paper, Table 5"),
    )


FAMILY = Family(
    name="mobilenet",
    title="MobileNet v1",
    paper="Howard et al. 2017, arXiv:1704.04861",
    builder="models.mobilenet.network:mobilenet",
    short=_short,
    knobs=(
        Knob(
            name="alpha",
            type=float,
            default=1.0,
            above=0.0,
            label="alpha{:g}",
            published=(0.25, 1.0),
            about="Width multiplier: every layer has alpha times the channels, rounded down, at least 1. "
            "The paper's are 0.25, 0.5, 0.75 and 1.",
        ),
        Knob(
            name="rho",
            type=float,
            default=None,
            above=0.0,
            alias=Alias(
                knob="image_size",
                value=lambda rho: round(rho * IMAGE_SIZE.default),
                formula=f"rho * {IMAGE_SIZE.default}",
            ),
            about="Resolution multiplier: image_size is 224 * rho, rounded. Instead of image_size.",
        ),
        Knob(
            name="shallow",
            type=bool,
            default=False,
            label="shallow",
            about="Leave out the five equal blocks in the middle (paper, Table 5).",
        ),
        Knob(
            name="full_conv",
            type=bool,
            default=False,
            label="fullconv",
            about="Full 3x3 convolutions instead of depthwise separable ones (paper, Table 4).",
        ),
        Knob(
            name="activation",
            type=str,
            default="relu6",
            choices=("relu", "relu6"),
            label="{}",
            changes_cost=False,
            about="relu6 as in all published checkpoints; the paper's text says relu.",
        ),
        Knob(
            name="padding",
            type=str,
            default="same",
            choices=("same", "both_sides"),
            label="pad_{}",
            changes_cost=False,
            about="Where a convolution of stride 2 pads an even image: same at the bottom and "
            "right, as in TensorFlow, or both_sides, as in PyTorch and its weights.",
        ),
        Knob(
            name="epsilon",
            type=float,
            default=1e-3,
            above=0.0,
            label="eps{:g}",
            changes_cost=False,
            about="BatchNormalization's: 1e-3 in TensorFlow's and Keras's weights, 1e-5 in PyTorch's.",
        ),
        dropout(0.001, "before the class scores"),
    ),
    # RMSprop as for Inception V3, "very little or no weight decay", one recipe for all sizes
    recipe=Recipe(
        optimizer="rmsprop",
        learning_rate=0.045,
        batch_size=64,
        schedule="cosine",
        weight_decay=0.0,
        source="Howard et al. 2017, arXiv:1704.04861, section 3.2",
    ),
    min_crop_area=0.5,  # section 3.2 limits how small crops are, without a figure; half is ours
    grid=combinations(alpha=(0.25, 0.5, 0.75, 1.0), image_size=(128, 160, 192, 224)),
    small={"alpha": 0.25},
    tiny={"alpha": 0.25, "shallow": True, "image_size": 32},
    published=_published(),
    checkpoints=_checkpoints(),
    layouts=(
        Layout(
            about="MobileNet of keras.applications", filling="models.mobilenet.weights:keras_applications"
        ),
        Layout(about="MobileNet of timm", filling="models.mobilenet.weights:timm"),
    ),
)

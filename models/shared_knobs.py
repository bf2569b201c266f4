"""The knobs that all or several families share. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from models.knobs import Knob

LARGEST_SMALL_IMAGE = 96
"""Images up to this many pixels get the small stem when stem is auto."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of pixels scaled to 0-1, R, G, B."""
CIFAR10_MEAN = (125.3, 123.0, 113.9)
CIFAR10_STD = (63.0, 62.1, 66.7)
"""Of 0-255 pixels, R, G, B."""
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

IMAGE_SIZE = Knob(
    name="image_size",
    type=int,
    default=224,
    minimum=8,
    maximum=2048,
    about="Pixels along each side of the square input.",
)
NUM_CLASSES = Knob(
    name="num_classes", type=int, default=1000, minimum=2, maximum=100_000, about="Number of classes."
)
STEM = Knob(
    name="stem",
    type=str,
    default="auto",
    choices=("auto", "imagenet", "small"),
    about="How fast the first layers shrink the image: imagenet as in the paper, small keeps more of a "
    f"small image; auto is small up to {LARGEST_SMALL_IMAGE} pixels.",
)
SCALE = Knob(
    name="scale",
    type=tuple,
    default=1 / 128,
    label="rescaled",
    changes_cost=False,
    about="Factor for raw 0-255 pixels, one number or one for each of R, G and B.",
)
OFFSET = Knob(
    name="offset",
    type=tuple,
    default=-1.0,
    label="rescaled",
    changes_cost=False,
    about="Added to the scaled pixels, one number or one for each of R, G and B.",
)
COMMON = (IMAGE_SIZE, NUM_CLASSES, STEM, SCALE, OFFSET)
"""Every family has these; it may have its own defaults for them."""


def normalisation(mean: Sequence[float], std: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """The knobs scale and offset of (x / 255 - mean) / std, where mean and std are of pixels from 0 to 1."""
    return {
        "scale": tuple(1 / (255 * each) for each in std),
        "offset": tuple(-middle / each for middle, each in zip(mean, std, strict=True)),
    }


def dropout(default: float, where: str) -> Knob:
    """The share of values that a family drops in training; `where` says after which layers."""
    return Knob(
        name="dropout",
        type=float,
        default=default,
        minimum=0.0,
        maximum=0.95,
        published=(0.0, 0.5),
        label="dropout{:g}",
        changes_cost=False,
        about=f"Share of values set to zero while training, {where}; 0 leaves the layers out.",
    )

"""The table of families: builder, knobs with ranges and defaults, paper. Standard library only.

A family is one file with a builder and one row of FAMILIES. Knobs whose default hangs on another knob are
completed by the row's own `complete` function, here, so that no check needs keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import KnobError
from models.knobs import Knob, did_you_mean

LARGEST_SMALL_IMAGE = 96
"""Images up to this many pixels get the small stem when stem is auto."""
SMALLEST_IMAGENET_IMAGE = 32
"""Fewer pixels leave nothing of the image after the stem and the poolings of the ImageNet nets."""

COMMON = (
    Knob(
        name="image_size",
        type=int,
        default=224,
        minimum=8,
        maximum=2048,
        help="Pixels along each side of the square input.",
    ),
    Knob(name="num_classes", type=int, default=1000, minimum=2, maximum=100_000, help="Classes told apart."),
    Knob(
        name="stem",
        type=str,
        default="auto",
        choices=("auto", "imagenet", "small"),
        help="How fast the first layers shrink the image: imagenet as in the paper, small keeps more of a "
        f"small image; auto is small up to {LARGEST_SMALL_IMAGE} pixels.",
    ),
    Knob(
        name="scale",
        type=tuple,
        default=1 / 128,
        help="Factor for raw 0-255 pixels, one number or one for each of R, G and B.",
    ),
    Knob(
        name="offset",
        type=tuple,
        default=-1.0,
        help="Added to the scaled pixels, one number or one for each of R, G and B.",
    ),
)

DENSENET_BLOCKS = {
    "121": (6, 12, 24, 16),
    "169": (6, 12, 32, 32),
    "201": (6, 12, 48, 32),
    "264": (6, 12, 64, 48),
    "161": (6, 12, 36, 24),
}
"""Layers in each dense block, Huang et al. 2016, Table 1 (161: the authors' repository)."""
DENSENET_GROWTH_RATES = {"121": 32, "169": 32, "201": 32, "264": 32, "161": 48}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A row of the registry."""

    name: str
    title: str
    builder: str
    """'module:function'; the function takes the scaled pixels and the knobs, and returns the class scores."""
    knobs: tuple[Knob, ...]
    """The family's own; those that all families share are in COMMON."""
    paper: str
    complete: Callable[[dict[str, Any]], dict[str, Any]]
    """Fills the defaults that hang on other knobs and refuses knobs that contradict each other."""
    short: Callable[[Mapping[str, Any]], str]
    """The label without the common knobs, from resolved knobs."""

    @property
    def all_knobs(self) -> tuple[Knob, ...]:
        """The family's own knobs, then the common ones."""
        return self.knobs + COMMON

    def knob(self, name: str) -> Knob:
        """The knob of that name; KnobError with the nearest one where there is none."""
        by_name = {knob.name: knob for knob in self.all_knobs}
        if name not in by_name:
            raise KnobError(
                f"{self.name} has no knob '{name}'. {did_you_mean(name, by_name)}"
                f"Known: {', '.join(sorted(by_name))}."
            )
        return by_name[name]


def spec(family: str) -> ModelSpec:
    """The family's row; KnobError with the nearest name where there is none."""
    if family not in FAMILIES:
        raise KnobError(
            f"unknown model '{family}'. {did_you_mean(family, FAMILIES)}Known: {', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[family]


def resolve(family: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Every knob of the family with its value: those given, checked, and defaults for the rest.

    MobileNet's rho is only another way to write image_size: it is turned into it, and not in the result.
    Resolving a result again gives the same result. Raises KnobError for an unknown family or knob, a value
    out of range, or knobs that contradict each other.
    """
    row = spec(family)
    given = {name: row.knob(name).check(value) for name, value in knobs.items()}
    completed = row.complete({name: value for name, value in given.items() if value is not None})
    resolved = {knob.name: knob.default for knob in row.all_knobs if knob.name != "rho"} | completed
    if resolved["stem"] == "imagenet" and resolved["image_size"] < SMALLEST_IMAGENET_IMAGE:
        raise KnobError(
            f"image_size {resolved['image_size']} is too small for the imagenet stem. "
            f"Give at least {SMALLEST_IMAGENET_IMAGE}, or stem 'small'."
        )
    return resolved


def chosen_stem(resolved: Mapping[str, Any]) -> str:
    """'imagenet' or 'small': what stem and image_size of resolved knobs come to."""
    if resolved["stem"] != "auto":
        return str(resolved["stem"])
    return "small" if resolved["image_size"] <= LARGEST_SMALL_IMAGE else "imagenet"


def label(family: str, knobs: Mapping[str, Any]) -> str:
    """A short name that is safe in file names, such as mobilenet_alpha0.5_160.

    It names what differs from the defaults, and the image size last. Not in it: num_classes, which the data
    set says.
    """
    row = spec(family)
    resolved = resolve(family, knobs)
    parts = [row.short(resolved)]
    if resolved["dropout"] != row.knob("dropout").default:
        parts.append(f"dropout{resolved['dropout']:g}")
    if chosen_stem(resolved) != chosen_stem({**resolved, "stem": "auto"}):
        parts.append(f"{resolved['stem']}stem")
    if any(resolved[knob.name] != knob.default for knob in COMMON if knob.name in ("scale", "offset")):
        parts.append("rescaled")
    return "_".join([*parts, str(resolved["image_size"])])


def _complete_squeezenet(given: dict[str, Any]) -> dict[str, Any]:
    return given


def _complete_mobilenet(given: dict[str, Any]) -> dict[str, Any]:
    if "rho" not in given:
        return given
    if "image_size" in given:
        raise KnobError(
            f"rho {given['rho']:g} and image_size {given['image_size']} are both given, and rho means an "
            "image_size of rho * 224. Give one of the two."
        )
    size = SPEC_IMAGE_SIZE.check(round(SPEC_IMAGE_SIZE.default * given["rho"]))
    return {name: value for name, value in given.items() if name != "rho"} | {"image_size": size}


def _complete_densenet(given: dict[str, Any]) -> dict[str, Any]:
    if "depth" not in given:
        variant = given.get("variant", "121")
        defaults = {
            "variant": variant,
            "growth_rate": DENSENET_GROWTH_RATES[variant],
            "bottleneck": True,
            "compression": 0.5,
        }
        return defaults | given
    if "variant" in given:
        raise KnobError(
            f"variant {given['variant']} and depth {given['depth']} are both given. Give variant for the "
            "ImageNet nets, or depth for the CIFAR nets."
        )
    bottleneck = given.get("bottleneck", False)
    _check_densenet_depth(given["depth"], bottleneck)
    defaults = {
        "growth_rate": 12,
        "bottleneck": bottleneck,
        "compression": 0.5 if bottleneck else 1.0,
        "image_size": 32,
    }
    return defaults | given


def _check_densenet_depth(depth: int, bottleneck: bool) -> None:
    step = 6 if bottleneck else 3
    if (depth - 4) % step:
        lower = max(depth - (depth - 4) % step, 4 + step)
        kind = "three blocks of two convolutions a layer" if bottleneck else "three equal blocks"
        raise KnobError(
            f"depth {depth} does not make {kind}: depth - 4 must be a multiple of {step}. "
            f"Nearest: {lower} or {lower + step}."
        )


def _short_squeezenet(resolved: Mapping[str, Any]) -> str:
    name = f"squeezenet_{resolved['version']}"
    if resolved["bypass"] != "none":
        name += f"_{resolved['bypass']}bypass"
    return name + ("_pad1" if resolved["conv10_pad"] else "")


def _short_mobilenet(resolved: Mapping[str, Any]) -> str:
    parts = ["mobilenet"]
    if resolved["alpha"] != 1:
        parts.append(f"alpha{resolved['alpha']:g}")
    parts += [name.replace("_", "") for name in ("shallow", "full_conv") if resolved[name]]
    if resolved["activation"] != "relu6":
        parts.append(resolved["activation"])
    return "_".join(parts)


def _short_densenet(resolved: Mapping[str, Any]) -> str:
    variant, growth_rate = resolved["variant"], resolved["growth_rate"]
    bottleneck, compression = resolved["bottleneck"], resolved["compression"]
    if variant is not None:
        name = f"densenet{variant}"
        name += f"k{growth_rate}" if growth_rate != DENSENET_GROWTH_RATES[variant] else ""
        name += "" if bottleneck else "_nobottleneck"
        return name + (f"_compression{compression:g}" if compression != 0.5 else "")
    kind = ("b" if bottleneck else "") + ("c" if compression < 1 else "")
    name = f"densenet_{kind or 'l'}{resolved['depth']}k{growth_rate}"
    return name + (f"_compression{compression:g}" if compression not in (0.5, 1.0) else "")


def _dropout(default: float, where: str) -> Knob:
    return Knob(
        name="dropout",
        type=float,
        default=default,
        minimum=0.0,
        maximum=0.95,
        help=f"Share of values set to zero while training, {where}; 0 leaves the layers out.",
    )


SPEC_IMAGE_SIZE = COMMON[0]

SQUEEZENET = ModelSpec(
    name="squeezenet",
    title="SqueezeNet",
    builder="models.squeezenet:squeezenet",
    paper="Iandola et al. 2016, arXiv:1602.07360",
    complete=_complete_squeezenet,
    short=_short_squeezenet,
    knobs=(
        Knob(
            name="version",
            type=str,
            default="1.1",
            choices=("1.0", "1.1"),
            help="1.0 is the paper's net, 1.1 the authors' with 2.4 times fewer MACs.",
        ),
        Knob(
            name="bypass",
            type=str,
            default="none",
            choices=("none", "simple", "complex"),
            help="Shortcuts around fire modules: simple where the channels match, complex around all.",
        ),
        Knob(
            name="conv10_pad",
            type=int,
            default=0,
            minimum=0,
            maximum=1,
            help="Pixels of zeros around the last convolution's input; the authors' Caffe file has 1.",
        ),
        _dropout(0.5, "after fire9"),
    ),
)

MOBILENET = ModelSpec(
    name="mobilenet",
    title="MobileNet v1",
    builder="models.mobilenet:mobilenet",
    paper="Howard et al. 2017, arXiv:1704.04861",
    complete=_complete_mobilenet,
    short=_short_mobilenet,
    knobs=(
        Knob(
            name="alpha",
            type=float,
            default=1.0,
            above=0.0,
            help="Width multiplier: every layer has alpha times the channels, rounded down, at least 1. "
            "The paper's are 0.25, 0.5, 0.75 and 1.",
        ),
        Knob(
            name="rho",
            type=float,
            default=None,
            above=0.0,
            help="Resolution multiplier: image_size is 224 * rho, rounded. Instead of image_size.",
        ),
        Knob(
            name="shallow",
            type=bool,
            default=False,
            help="Leave out the five equal blocks in the middle (paper, Table 5).",
        ),
        Knob(
            name="full_conv",
            type=bool,
            default=False,
            help="Full 3x3 convolutions instead of depthwise separable ones (paper, Table 4).",
        ),
        Knob(
            name="activation",
            type=str,
            default="relu6",
            choices=("relu", "relu6"),
            help="relu6 as in all published checkpoints; the paper's text says relu.",
        ),
        _dropout(0.001, "before the class scores"),
    ),
)

DENSENET = ModelSpec(
    name="densenet",
    title="DenseNet",
    builder="models.densenet:densenet",
    paper="Huang et al. 2016, arXiv:1608.06993",
    complete=_complete_densenet,
    short=_short_densenet,
    knobs=(
        Knob(
            name="variant",
            type=str,
            default=None,
            choices=tuple(DENSENET_BLOCKS),
            help="The ImageNet nets with four blocks; 121 when neither variant nor depth is given.",
        ),
        Knob(
            name="depth",
            type=int,
            default=None,
            minimum=7,
            maximum=1000,
            help="The CIFAR nets with three equal blocks: convolutions and the last layer counted; "
            "image_size is then 32 unless given.",
        ),
        Knob(
            name="growth_rate",
            type=int,
            default=None,
            minimum=1,
            maximum=512,
            help="Channels that each layer adds: the variant's own, or 12 with depth.",
        ),
        Knob(
            name="bottleneck",
            type=bool,
            default=None,
            help="A 1x1 convolution to 4 * growth_rate channels before each 3x3 (the B of BC): "
            "on for variants, off with depth.",
        ),
        Knob(
            name="compression",
            type=float,
            default=None,
            above=0.0,
            maximum=1.0,
            help="Share of channels that a transition keeps (the C of BC): 0.5 with bottleneck, 1 without.",
        ),
        _dropout(0.0, "after every convolution except the first"),
    ),
)

FAMILIES: dict[str, ModelSpec] = {row.name: row for row in (SQUEEZENET, MOBILENET, DENSENET)}

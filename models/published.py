"""What the papers and their authors' repositories print, beside our own figures. Standard library only.

Parameters and MACs are those recomputed from the papers' layers where a printed figure disagrees with them:
slim's table prints 317, 233, 162 and 104 M MACs for MobileNet alpha 0.75 and 34 M for 0.25_192, where the
layers have 325.4, 239.3, 166.4, 106.8 and 30.2; the paper prints 4866 M for the full-convolution MobileNet,
which leaves out the last layer's 1.0 M; SqueezeNet's complex bypass is printed as 7.7 MB, where its layers
make 6.36 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.registry import chosen_stem, resolve

NOT_COMPARED = ("scale", "offset", "dropout", "activation")
"""Knobs that change neither parameters nor MACs."""


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """One row of a published table."""

    family: str
    knobs: Mapping[str, Any]
    """Those that differ from the defaults."""
    parameters: int
    """Trainable."""
    mmacs: float
    """Millions of multiply-accumulates for one image."""
    top1: float | None
    """Percent, one crop; None where nothing is printed."""
    top1_dataset: str | None
    source: str


def published_for(family: str, knobs: Mapping[str, Any]) -> tuple[PublishedFigure, ...]:
    """The published rows of the very model these knobs make; none for a model that nobody published.

    The classes are compared too: a net for 10 classes is not the published one for 1000.
    """
    wanted = _compared(family, knobs)
    return tuple(row for row in PUBLISHED if row.family == family and _compared(family, row.knobs) == wanted)


def _compared(family: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    resolved = resolve(family, knobs)
    compared = {name: value for name, value in resolved.items() if name not in NOT_COMPARED}
    return compared | {"stem": chosen_stem(resolved)}


MOBILENET_PARAMETERS = {1.0: 4_231_976, 0.75: 2_585_560, 0.5: 1_331_592, 0.25: 470_072}
_MOBILENET_GRID = (
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

_SQUEEZENET = (
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

_DENSENET_IMAGENET = (
    ("121", 7_978_856, 2834.0, 25.02, "paper, Table 3"),
    ("169", 14_149_480, 3360.0, 23.80, "paper, Table 3"),
    ("201", 20_013_928, 4291.0, 22.58, "paper, Table 3"),
    ("264", 33_337_704, 5752.0, 22.15, "paper, Table 3"),
    ("161", 28_681_000, 7728.0, 22.2, "authors' repository"),
)
"""variant, parameters, M MACs, top-1 error with one crop."""

_DENSENET_CIFAR10 = (
    (40, 12, False, 1_019_722, 264.8, 5.24),
    (100, 12, False, 6_979_642, 1769.5, 4.10),
    (100, 24, False, 27_249_082, 6889.0, 3.74),
    (100, 12, True, 769_162, 287.9, 4.51),
    (250, 24, True, 15_324_406, 5419.0, 3.62),
    (190, 40, True, 25_624_430, 9302.0, 3.46),
)
"""depth, growth_rate, bottleneck and compression, parameters, M MACs, error on C10+."""


def _mobilenet_rows() -> list[PublishedFigure]:
    rows = []
    for alpha, size, mmacs, paper_top1, slim_top1 in _MOBILENET_GRID:
        sources = ((paper_top1, "paper, Tables 6, 7 and 9"), (slim_top1, "TensorFlow slim, 2018-02-22"))
        rows += [
            _imagenet(
                "mobilenet",
                {"alpha": alpha, "image_size": size},
                MOBILENET_PARAMETERS[alpha],
                mmacs,
                top1=top1,
                source=source,
            )
            for top1, source in sources
            if top1 is not None
        ]
    rows.append(
        _imagenet("mobilenet", {"full_conv": True}, 29_294_088, 4867.3, top1=71.7, source="paper, Table 4")
    )
    rows.append(
        _imagenet("mobilenet", {"shallow": True}, 2_887_976, 307.3, top1=65.3, source="paper, Table 5")
    )
    return rows


def _imagenet(
    family: str,
    knobs: Mapping[str, Any],
    parameters: int,
    mmacs: float,
    *,
    top1: float | None,
    source: str,
) -> PublishedFigure:
    return PublishedFigure(
        family=family,
        knobs=knobs,
        parameters=parameters,
        mmacs=mmacs,
        top1=top1,
        top1_dataset="ImageNet" if top1 is not None else None,
        source=source,
    )


def _cifar_row(
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


PUBLISHED: tuple[PublishedFigure, ...] = (
    *(
        _imagenet("squeezenet", knobs, parameters, mmacs, top1=top1, source=source)
        for knobs, parameters, mmacs, top1, source in _SQUEEZENET
    ),
    *_mobilenet_rows(),
    *(
        _imagenet(
            "densenet", {"variant": variant}, parameters, mmacs, top1=round(100 - error, 2), source=source
        )
        for variant, parameters, mmacs, error, source in _DENSENET_IMAGENET
    ),
    *(
        _cifar_row(depth, growth_rate, bottleneck, parameters=parameters, mmacs=mmacs, error=error)
        for depth, growth_rate, bottleneck, parameters, mmacs, error in _DENSENET_CIFAR10
    ),
)

"""What a family is: knobs, builder, recipe, crop, published figures and more. Standard library only.

Each family is one folder: `family.py` with a FAMILY, which imports no keras, and what its builder needs.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.errors import KnobError
from models.knobs import Knob
from models.shared_knobs import COMMON
from spelling import did_you_mean

SMALL_MODEL_PARAMETERS = 500_000
"""Below this many a model gets no weight decay: it hardly overfits (MobileNets, section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A family's default training settings; others have the training's own defaults.

    The papers' ImageNet batches do not fit a laptop, so the learning rate is adapted to the batch size here;
    `docs/training.md` lists the changes and the results.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    schedule: str
    weight_decay: float
    clip_norm: float = 0.0
    """Largest global norm of the gradients; 0 does not clip."""
    source: str

    def weight_decay_for(self, parameters: int) -> float:
        """The weight decay for a model with this many parameters; 0 for a small one."""
        return 0.0 if parameters < SMALL_MODEL_PARAMETERS else self.weight_decay


Filling = dict[tuple[str, int], str]
"""A layer's name and the index of a weight in layer.weights -> the name of the array that fills it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names that a published file's arrays have."""

    about: str
    """Short description, such as 'SqueezeNet .npz with weights/...'."""
    filling: str
    """'module:function'; the function takes the names of the arrays, and returns a Filling, or None for
    another layout."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published file of weights, and the knobs to build its model with, pixel scaling included."""

    family: str
    knobs: Mapping[str, Any]
    file: str
    """Its name where it is published, and in the cache of the library that publishes it."""
    url: str = ""
    """Its address, for files of Keras."""
    md5: str = ""
    """Of the file, where its publisher gives it."""
    hub: str = ""
    """Its repository on the Hugging Face hub, such as timm/densenet121.ra_in1k."""
    size_mb: float
    """About what it downloads, in megabytes."""
    top1: float | None
    """Percent, one crop; None if none is printed."""
    printed: str
    """What was measured, and where the figure is printed."""
    source: str
    licence: str
    obtain: str = ""
    """How to get it, where no library fetches it."""
    class_names: tuple[str, ...] = ()
    """Of its outputs, where they are not ImageNet's."""


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
    """Percent, one crop; None if not published."""
    top1_dataset: str | None
    source: str


def _no_contradiction(_: Mapping[str, Any]) -> None:
    """Any values go together."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models."""

    name: str
    title: str
    paper: str
    builder: str
    """'module:function'; the function takes the scaled pixels and the knobs, and returns the class scores."""
    knobs: tuple[Knob, ...]
    """The family's own, in the order in which their defaults are filled in and the label names them."""
    common: tuple[Knob, ...] = COMMON
    """Those that all families have, with this family's defaults."""
    check: Callable[[Mapping[str, Any]], None] = _no_contradiction
    """Raises KnobError for resolved knobs that contradict each other."""
    short: Callable[[Mapping[str, Any]], str]
    """The start of the label, from resolved knobs; the parts that knobs declare follow."""
    recipe: Recipe
    min_crop_area: float
    """Smallest area of a training crop, as a share of the image; small images are shifted instead."""
    grid: tuple[Mapping[str, Any], ...]
    """Knobs of the models to compare."""
    small: Mapping[str, Any]
    """For tests: a small model with every kind of layer of the family, at any image size."""
    tiny: Mapping[str, Any]
    """For tests: a model, with its image size, that is small enough to train."""
    published: tuple[PublishedFigure, ...]
    """Figures of the paper and its authors' repository.

    Parameters and MACs are recomputed from the paper's layers where the printed figure disagrees with them.
    """
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    """Published weights by name."""
    layouts: tuple[Layout, ...] = ()
    """Layouts of published weights other than Keras 3's."""
    head: str = "logits"
    """The layer whose weights give the class scores."""

    @property
    def all_knobs(self) -> tuple[Knob, ...]:
        """The family's own knobs, then the common ones."""
        return self.knobs + self.common

    def knob(self, name: str) -> Knob:
        """The knob with this name; KnobError with the nearest name if there is none."""
        by_name = {knob.name: knob for knob in self.all_knobs}
        if name not in by_name:
            raise KnobError(
                f"{self.name} has no knob '{name}'. {did_you_mean(name, by_name)}"
                f"Known: {', '.join(sorted(by_name))}."
            )
        return by_name[name]


def function_of(path: str) -> Callable[..., Any]:
    """Imports the module of 'module:function' and returns the function."""
    module, function = path.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def combinations(**values: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    """Knobs with every combination of the values: a grid."""
    return tuple(dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))


def imagenet_figure(
    family: str,
    knobs: Mapping[str, Any],
    parameters: int,
    mmacs: float,
    *,
    top1: float | None,
    source: str,
) -> PublishedFigure:
    """A row for ImageNet's 1000 classes."""
    return PublishedFigure(
        family=family,
        knobs=knobs,
        parameters=parameters,
        mmacs=mmacs,
        top1=top1,
        top1_dataset="ImageNet" if top1 is not None else None,
        source=source,
    )

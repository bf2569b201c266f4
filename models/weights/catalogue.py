"""The published files of weights that are known, by name, and the best one for a family's knobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import CheckpointError
from models.family import Checkpoint
from models.registry import FAMILIES, family_of, resolve
from spelling import did_you_mean

CHECKPOINTS: dict[str, Checkpoint] = {
    name: checkpoint for family in FAMILIES.values() for name, checkpoint in family.checkpoints.items()
}
"""The published files of all families."""
FREE_KNOBS = ("image_size", "num_classes", "stem", "dropout")
"""Knobs that a file's weights do not depend on: the head is a new one where the classes differ."""
FROM_FILE = ("scale", "offset", "padding", "epsilon", "conv1_padding", "pooling")
"""Knobs that are the file's, unless the user gives them."""


def checkpoint_of(name: str) -> Checkpoint:
    """The published file of this name; CheckpointError with the nearest name if there is none."""
    if name not in CHECKPOINTS:
        raise CheckpointError(
            f"there are no published weights called '{name}'. {did_you_mean(name, CHECKPOINTS)}"
            "All of them: pipeline weights"
        )
    return CHECKPOINTS[name]


def fits(checkpoint: Checkpoint, family: str, given: Mapping[str, Any]) -> bool:
    """Whether the file has weights for the family with the given knobs, its own head left out."""
    if checkpoint.family != family:
        return False
    ours = resolve(family, {**_defaults_of(checkpoint), **given})
    theirs = resolve(family, checkpoint.knobs)
    return all(ours[name] == value for name, value in theirs.items() if name not in FREE_KNOBS)


def best_for(family: str, given: Mapping[str, Any]) -> str | None:
    """The name of the file of ImageNet weights with the highest top-1, trained nearest to the image size."""
    size = resolve(family, dict(given))["image_size"]
    names = [
        name
        for name, checkpoint in family_of(family).checkpoints.items()
        if (checkpoint.url or checkpoint.hub) and fits(checkpoint, family, given)
    ]

    def order(name: str) -> tuple[float, float]:
        checkpoint = CHECKPOINTS[name]
        distance = abs(resolve(family, checkpoint.knobs)["image_size"] - size)
        return -distance, checkpoint.top1 or 0.0

    return max(names, key=order, default=None)


def knobs_with(checkpoint: Checkpoint, given: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a model that takes the file's weights: the file's, with the given ones in their place."""
    free = {name: value for name, value in checkpoint.knobs.items() if name not in FREE_KNOBS}
    return {**free, **given}


def _defaults_of(checkpoint: Checkpoint) -> dict[str, Any]:
    return {name: value for name, value in checkpoint.knobs.items() if name in FROM_FILE}

"""Keeps the weights of layers that a fine-tuning must not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from models.registry import family_of
from pipeline.errors import UsageError
from spelling import did_you_mean

ALL, NONE = "all", "none"


@contextmanager
def frozen(model: keras.Model, family: str, freeze: str) -> Iterator[None]:
    """Within it, BatchNorm keeps its statistics, gamma and beta, and the layers up to `freeze` their weights.

    `freeze` is a layer's name, 'none', or 'all' for every layer but the head.
    """
    kept = [*kept_layers(model, family, freeze), *_norms(model)]
    try:
        for layer in kept:
            layer.trainable = False
        yield
    finally:
        for layer in kept:
            layer.trainable = True


def kept_layers(model: keras.Model, family: str, freeze: str) -> list[keras.layers.Layer]:
    """The layers that keep their weights. UsageError if there is no layer of that name."""
    names = [layer.name for layer in model.layers if layer.weights]
    head = family_of(family).head
    if freeze == NONE:
        return []
    if freeze == ALL:
        return [layer for layer in model.layers if layer.weights and layer.name != head]
    if freeze not in names or freeze == head:
        raise UsageError(
            f"--freeze: {model.name} has no layer '{freeze}' with weights before its head. "
            f"{did_you_mean(freeze, names)}Expected all, none, or a layer from {names[0]} to {names[-2]}."
        )
    last = names.index(freeze)
    return [model.get_layer(name) for name in names[: last + 1]]


def _norms(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]

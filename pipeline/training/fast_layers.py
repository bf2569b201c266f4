"""Trains a model with faster kernels than its Keras layers have; the model itself stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_graph.walk import named_layers
from pipeline.training.depthwise import Depthwise
from pipeline.training.fused_norm import FusedNorm

_FAST: dict[type[keras.layers.Layer], type[keras.layers.Layer]] = {
    keras.layers.BatchNormalization: FusedNorm,
    keras.layers.DepthwiseConv2D: Depthwise,
}


@contextmanager
def fast_layers(model: keras.Model) -> Iterator[None]:
    """Within it, layers of these very types compute the same by other kernels; afterwards as before.

    A function traced within it keeps the kernels.
    """
    changed = [(layer, type(layer)) for _, layer in named_layers(model) if type(layer) in _FAST]
    for layer, kind in changed:
        layer.__class__ = _FAST[kind]
    try:
        yield
    finally:
        for layer, kind in changed:
            layer.__class__ = kind

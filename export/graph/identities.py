"""Layers that return their input in inference: dropout, noise, and augmentation of training images."""

from __future__ import annotations

import keras

from keras_graph.nodes import Node
from keras_graph.walk import calls, is_graph

_NOISE = (
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
)
_AUGMENTATION = (
    "AugMix",
    "CutMix",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
"""Not RandomCrop, which crops in inference too."""


def is_identity(operation: keras.Operation) -> bool:
    """Whether an operation, or each layer of a nested model, returns its input in inference."""
    if is_graph(operation):
        return all(is_identity(node.operation) for node in calls(operation))
    if type(operation) is keras.layers.Activation:
        return operation.activation is keras.activations.linear
    if type(operation) in (keras.layers.ActivityRegularization, keras.layers.Identity):
        return _keeps_dtype(operation)
    return acts_in_training(operation) and _keeps_dtype(operation)


def acts_in_training(operation: keras.Operation) -> bool:
    """Whether a layer changes its input in training only."""
    name = type(operation).__name__
    known = name in (*_NOISE, *_AUGMENTATION)
    return known and type(operation) is getattr(keras.layers, name, None)


def _keeps_dtype(layer: keras.Layer) -> bool:
    called: list[Node] = layer._inbound_nodes
    return all(node.input_tensors[0].dtype == node.outputs[0].dtype for node in called)

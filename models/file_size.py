"""How large the exported .tflite file of a model will be, before it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

OPERATOR_BYTES = 1000
"""An operator with weights: its entry, its tensors' entries and their names, as measured on trained files."""
CHANNEL_BYTES = 24
"""int8: a float32 scale and an int64 zero point for each channel, for the weights and for the bias."""


@dataclass(frozen=True, kw_only=True)
class FileSize:
    """Bytes to expect; trained files of the three families were within 5% of it."""

    float32_bytes: int
    int8_bytes: int


def file_size(model: keras.Model) -> FileSize:
    """The size of the float32 and the fully integer int8 file that the converter makes of the model.

    Convolutions are counted with a bias and without the BatchNormalization behind them, which the converter
    folds; a BatchNormalization without one (DenseNet) stays, as a multiplication and an addition.
    """
    float32 = int8 = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            weights, channels = math.prod(kernel.shape), layer.output.shape[-1]
            float32 += 4 * (weights + channels) + OPERATOR_BYTES
            int8 += weights + (4 + CHANNEL_BYTES) * channels + OPERATOR_BYTES
        elif isinstance(layer, keras.layers.BatchNormalization) and not _follows_convolution(layer):
            channels = layer.output.shape[-1]
            float32 += 8 * channels + OPERATOR_BYTES
            int8 += 2 * channels + OPERATOR_BYTES
    return FileSize(float32_bytes=float32, int8_bytes=int8)


def _follows_convolution(layer: keras.Layer) -> bool:
    producer = layer.input._keras_history.operation
    users = sum(len(node.operation._inbound_nodes) > 0 for node in producer._outbound_nodes)
    return getattr(producer, "kernel", None) is not None and users == 1

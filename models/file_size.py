"""Estimates the size of a model's exported .tflite file before training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from models.graph import Call, Graph

OPERATOR_BYTES = 165
QUANTIZED_OPERATOR_BYTES = 350
"""Bytes of the entries of an operator and its tensors without names; measured on files of three families."""
SCALE_BYTES = 4
"""int8: a float32 for each channel, of the weights and again of the bias; zero points are stored once."""
FUSED = (keras.layers.InputLayer, keras.layers.ReLU, keras.layers.Dropout, keras.layers.Rescaling)
"""Layers that become part of another operator, or none."""


@dataclass(frozen=True, kw_only=True)
class FileSize:
    """Bytes to expect; trained files of three families were within 5% of it."""

    float32_bytes: int
    int8_bytes: int


def file_size(model: keras.Model) -> FileSize:
    """The expected sizes of the model's float32 and fully integer int8 files.

    Convolutions are counted with a bias and without the BatchNormalization after them, which is folded; a
    BatchNormalization without a convolution before it (DenseNet) becomes a 1x1 depthwise convolution. Class
    names are not counted.
    """
    graph = Graph(model)
    float32 = int8 = 0
    for call in graph.calls:
        kernel = getattr(call.layer, "kernel", None)
        channels = graph.shapes[call.outputs[0]][-1]
        if isinstance(call.layer, FUSED) or (_is_norm(call) and _is_folded(call, graph)):
            continue
        float32 += OPERATOR_BYTES
        int8 += QUANTIZED_OPERATOR_BYTES
        if kernel is not None or _is_norm(call):
            weights = math.prod(kernel.shape) if kernel is not None else channels
            has_bias = kernel is None or call.layer.use_bias or _has_folded_norm(call, graph)
            float32 += 4 * weights + 4 * channels * has_bias
            int8 += weights + 2 * SCALE_BYTES * channels + 4 * channels * has_bias
    return FileSize(float32_bytes=float32, int8_bytes=int8)


def _is_norm(call: Call) -> bool:
    return isinstance(call.layer, keras.layers.BatchNormalization)


def _has_folded_norm(call: Call, graph: Graph) -> bool:
    """Whether a BatchNormalization, and nothing else, reads the call's output."""
    readers = graph.readers(call)
    return len(readers) == 1 and isinstance(readers[0].layer, keras.layers.BatchNormalization)


def _is_folded(norm: Call, graph: Graph) -> bool:
    writer = graph.writer(norm.inputs[0])
    return writer is not None and hasattr(writer.layer, "kernel") and _has_folded_norm(writer, graph)

"""How large the exported .tflite file of a model will be, before it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from models.graph import Call, Graph

OPERATOR_BYTES = 300
QUANTIZED_OPERATOR_BYTES = 430
"""An operator's entry, its tensors' entries and their names, as measured on files of the three families."""
BIAS_BYTES = 450
"""What a bias adds to that: its tensor's entry, and names that grow when a BatchNormalization is folded."""
SCALE_BYTES = 12
"""int8: a float32 scale and an int64 zero point for each channel, of the weights and again of the bias."""
FUSED = (keras.layers.InputLayer, keras.layers.ReLU, keras.layers.Dropout, keras.layers.Rescaling)
"""Layers that become part of another operator, or none."""


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
    graph = Graph(model)
    float32 = int8 = 0
    for call in graph.calls:
        kernel = getattr(call.layer, "kernel", None)
        channels = graph.shapes[call.outputs[0]][-1]
        if kernel is not None:
            weights = math.prod(kernel.shape)
            float32 += 4 * weights + OPERATOR_BYTES
            int8 += weights + SCALE_BYTES * channels + QUANTIZED_OPERATOR_BYTES
            if call.layer.use_bias or _has_folded_norm(call, graph):
                float32 += 4 * channels + BIAS_BYTES
                int8 += (4 + SCALE_BYTES) * channels + BIAS_BYTES
        elif isinstance(call.layer, keras.layers.BatchNormalization):
            if not _is_folded(call, graph):
                float32 += 8 * channels + 2 * OPERATOR_BYTES
                int8 += 2 * channels + 2 * QUANTIZED_OPERATOR_BYTES
        elif not isinstance(call.layer, FUSED):
            float32 += OPERATOR_BYTES
            int8 += QUANTIZED_OPERATOR_BYTES
    return FileSize(float32_bytes=float32, int8_bytes=int8)


def _has_folded_norm(call: Call, graph: Graph) -> bool:
    """Whether a BatchNormalization, and nothing else, reads the call's output."""
    readers = graph.readers(call)
    return len(readers) == 1 and isinstance(readers[0].layer, keras.layers.BatchNormalization)


def _is_folded(norm: Call, graph: Graph) -> bool:
    writer = graph.writer(norm.inputs[0])
    return writer is not None and hasattr(writer.layer, "kernel") and _has_folded_norm(writer, graph)

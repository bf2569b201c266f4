"""Multiply-accumulates (MACs) of one call of a layer or operation: of its convolution or matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from models.graph import Call, Graph

Shape = tuple[int | None, ...]

_UNKNOWN_LAYERS = ("AdditiveAttention", "GroupedQueryAttention", "Lambda", "TFSMLayer", "TorchModuleWrapper")
_UNKNOWN_OPERATIONS = (
    "AssociativeScan",
    "CDist",
    "Cond",
    "ConvTranspose",
    "Corrcoef",
    "Correlate",
    "DotProductAttention",
    "FFT",
    "FFT2",
    "ForiLoop",
    "IFFT2",
    "IRFFT",
    "ISTFT",
    "Inner",
    "Kron",
    "Map",
    "Outer",
    "RFFT",
    "STFT",
    "Scan",
    "SeparableConv",
    "Switch",
    "Tensordot",
    "Vdot",
    "VectorizedMap",
    "WhileLoop",
)
"""Layers without weights, and operations of keras.ops, that multiply and are not counted here."""
_UNKNOWN_MODULE = "keras.src.ops.linalg"


def macs_of(call: Call, graph: Graph) -> int | None:
    """MACs of one call, for one image; None for a multiplication that is not counted here."""
    if isinstance(call.layer, keras.layers.Layer):
        return _layer_macs(call, graph)
    return _operation_macs(call, graph.values(call.outputs[0]))


def _layer_macs(call: Call, graph: Graph) -> int | None:
    layer, kinds = call.layer, keras.layers
    if type(layer).__name__ in _UNKNOWN_LAYERS:
        return None
    read, written = graph.values(call.inputs[0]), graph.values(call.outputs[0])
    if isinstance(layer, (kinds.SeparableConv1D, kinds.SeparableConv2D)):
        channels = math.prod(layer.depthwise_kernel.shape[-2:])
        places = written // layer.filters
        return int(places * channels * math.prod(layer.kernel_size) + written * channels)
    if isinstance(layer, (kinds.DepthwiseConv1D, kinds.DepthwiseConv2D)):
        return int(written * math.prod(layer.kernel_size))
    macs_per_value: int = math.prod(layer.kernel.shape[:-1]) if hasattr(layer, "kernel") else 0
    if isinstance(layer, (kinds.Conv1DTranspose, kinds.Conv2DTranspose, kinds.Conv3DTranspose)):
        return read * macs_per_value
    if isinstance(layer, (kinds.Conv1D, kinds.Conv2D, kinds.Conv3D, kinds.Dense)):
        return written * macs_per_value
    if isinstance(layer, (kinds.EinsumDense, kinds.Dot, kinds.Attention, kinds.MultiHeadAttention)):
        return _product_macs(call, graph)
    if not type(layer).__module__.startswith("keras."):
        return None
    weights = getattr(layer, "weights", ())
    return None if any(len(weight.shape) > 1 for weight in weights) else 0


def _product_macs(call: Call, graph: Graph) -> int | None:
    """MACs of layers that multiply matrices other than a kernel with the last axis."""
    layer, kinds = call.layer, keras.layers
    written = graph.values(call.outputs[0])
    shapes = [(None, *graph.shapes[number]) for number in call.inputs]
    if isinstance(layer, kinds.EinsumDense):
        return _einsum_macs(layer.equation, [shapes[0], tuple(layer.kernel.shape)], written)
    if isinstance(layer, kinds.Dot):
        axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
        return written * int(shapes[0][axis] or 1)
    # query (batch, T, width) and value (batch, S, width), and key as value where it is not given
    query, value, key = (*shapes, shapes[-1])[:3]
    if any(len(shape) != 3 for shape in (query, value, key)):
        return None
    queries, values = int(query[1] or 1), int(value[1] or 1)
    if isinstance(layer, kinds.Attention):
        return queries * values * (int(query[2] or 1) + int(value[2] or 1))
    heads, widths = layer.num_heads, (layer.key_dim, layer.value_dim)
    projected = queries * int(query[2] or 1) * widths[0] + values * int(key[2] or 1) * widths[0]
    projected += values * int(value[2] or 1) * widths[1]
    given_back = widths[1] * graph.values(call.outputs[0])
    return int(heads * (projected + queries * values * sum(widths) + given_back))


def _operation_macs(call: Call, written: int) -> int | None:
    """MACs of a keras.ops operation that writes `written` values."""
    kind = type(call.layer).__name__
    shapes = [tuple(each.shape) for each in call.arguments if hasattr(each, "shape")]
    if kind in ("Matmul", "Dot"):
        return written * int(shapes[0][-1] or 1)
    if kind == "Einsum":
        return _einsum_macs(call.layer.subscripts, shapes, written)
    if kind == "Conv":
        return written * int(math.prod(shapes[1][:-1]))
    if kind == "DepthwiseConv":
        return written * int(math.prod(shapes[1][:-2]))
    known = kind not in _UNKNOWN_OPERATIONS and type(call.layer).__module__ != _UNKNOWN_MODULE
    return 0 if known else None


def _einsum_macs(equation: str, shapes: Sequence[Shape], written: int) -> int | None:
    """MACs of an equation such as 'ab,bc->ac'; 0 for one tensor, None for more than two."""
    equation = equation.replace(" ", "")
    if "->" not in equation:
        return None
    read, given = equation.split("->")
    operands = read.split(",")
    if len(operands) == 1:
        return 0
    if len(operands) > 2 or len(operands) != len(shapes):
        return None
    sizes: dict[str, int | None] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        before, _, after = labels.partition("...")
        sizes |= dict(zip(before, shape, strict=False))
        sizes |= dict(zip(reversed(after), reversed(shape), strict=False))
    summed = [sizes[label] for label in sizes if label not in given]
    return written * math.prod(int(size or 1) for size in summed)

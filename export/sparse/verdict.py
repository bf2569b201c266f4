"""Whether XNNPACK's sparse kernels take a .tflite file's 1x1 convolutions, and if not, why not.

The conditions are XNNPACK's own (src/subgraph.c, xnn_check_nchw_compatibility and
xnn_subgraph_rewrite_for_nchw; xnn_is_chw_compatible_config for the processor), tried with LiteRT 2.3.
"""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.sparse.graph import Graph, read_graph, same_padding, type_names
from export.tflite.inspect import read_tflite

_OPERATOR = schema.BuiltinOperator
_NAMES = {code: name for name, code in vars(_OPERATOR).items() if name[0] != "_"}
_CONVOLUTIONS = (_OPERATOR.CONV_2D, _OPERATOR.DEPTHWISE_CONV_2D)
_DEPTHWISE_PADDING = {(3, 3): 1, (5, 5): 2}
_INSIDE = (
    _OPERATOR.ADD,
    _OPERATOR.MUL,
    _OPERATOR.ABS,
    _OPERATOR.CEIL,
    _OPERATOR.ELU,
    _OPERATOR.FLOOR,
    _OPERATOR.HARD_SWISH,
    _OPERATOR.LEAKY_RELU,
    _OPERATOR.LOGISTIC,
    _OPERATOR.NEG,
    _OPERATOR.RELU,
    _OPERATOR.RELU6,
    _OPERATOR.RELU_N1_TO_1,
    _OPERATOR.ROUND,
    _OPERATOR.SQUARE,
    _OPERATOR.RESIZE_BILINEAR,
)
"""The operators allowed among sparse 1x1 convolutions, besides depthwise ones."""
_ENDS = (_OPERATOR.MEAN, _OPERATOR.DEPTH_TO_SPACE)
_X86 = ("x86_64", "amd64", "i386", "i686", "x86")


@dataclass(frozen=True, kw_only=True)
class SparseVerdict:
    """Whether XNNPACK's sparse kernels take a file, and why not."""

    num_pointwise: int
    """1x1 convolutions."""
    num_taken: int
    """How many of these the sparse kernels take on a supported processor: all or none."""
    sparsity: float
    """Share of zeros in the float32 weights of all 1x1 convolutions, 0 to 1; 0 for another type."""
    reasons: tuple[str, ...]
    """Why none is taken, each with what to do; empty if they are taken."""
    here: bool | None
    """Whether XNNPACK uses them on this machine's processor; None if unknown."""

    @property
    def words(self) -> str:
        """The verdict in a sentence or two."""
        if self.reasons:
            return f"no speed-up from sparse kernels: {'; '.join(self.reasons)}"
        taken = f"sparse kernels take {self.num_taken} of {self.num_pointwise} 1x1 convolutions"
        machine = {
            True: "here and on ARM phones",
            False: "on ARM phones, and none here: XNNPACK keeps to its dense kernels on x86 with AVX",
            None: "on ARM phones",
        }[self.here]
        return f"{taken} ({self.sparsity:.0%} zeros) {machine}"


def sparse_verdict(file: bytes | Path) -> SparseVerdict:
    """Whether the sparse kernels take a .tflite file (path or content), and why not.

    Reads the file and the processor's name, runs nothing. Raises BadModelFileError for a file that cannot be
    read or is no whole .tflite.
    """
    content, name = (file, "the file") if isinstance(file, bytes) else (read_tflite(file), str(file))
    graph = read_graph(content, name=name)
    pointwise = graph.pointwise()
    stored = {graph.stored_weights(operator) for operator in pointwise}
    num_weights = sum(math.prod(graph.shape(tensor)) for tensor in stored)
    num_zeros = sum(graph.num_zeros(tensor) for tensor in stored)
    reasons = _why_not(graph, pointwise, stored, num_zeros=num_zeros, num_weights=num_weights)
    return SparseVerdict(
        num_pointwise=len(pointwise),
        num_taken=0 if reasons else len(pointwise),
        sparsity=num_zeros / num_weights if num_weights else 0.0,
        reasons=reasons,
        here=processor_runs_sparse(),
    )


def processor_runs_sparse() -> bool | None:
    """Whether XNNPACK uses sparse kernels on this processor: not on x86 with AVX; None if unknown."""
    if platform.machine().lower() not in _X86:
        return True
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    flags = [line for line in cpuinfo.splitlines() if line.startswith("flags")]
    return "avx" not in flags[0].split() if flags else None


def _why_not(
    graph: Graph, pointwise: list[Any], stored: set[int], *, num_zeros: int, num_weights: int
) -> tuple[str, ...]:
    if not pointwise:
        return ("it has no 1x1 convolution, and only these have sparse kernels",)
    types = {graph.subgraph.tensors[tensor].type for tensor in stored}
    if types != {schema.TensorType.FLOAT32}:
        return (f"{type_names(types)} weights have no sparse kernels here: export float32",)
    reasons = []
    if num_zeros * 3 <= num_weights * 2:
        reasons.append(
            f"{num_zeros / num_weights:.0%} of the 1x1 weights are zero, and XNNPACK asks for more than 67%: "
            "prune to 75% or more"
        )
    if all(graph.subgraph.tensors[tensor].sparsity is None for tensor in stored):
        reasons.append("its weights are stored densely: export it with sparse weights")
    return (*reasons, *_why_not_in_chain(graph, pointwise))


def _why_not_in_chain(graph: Graph, pointwise: list[Any]) -> tuple[str, ...]:
    """The first operator, in execution order, that prevents the sparse kernels."""
    consumers: dict[int, list[Any]] = {}
    for operator in graph.subgraph.operators:
        for tensor in _activations(graph, operator):
            consumers.setdefault(tensor, []).append(operator)
    waiting, seen, reasons = list(pointwise), {id(operator) for operator in pointwise}, {}
    while waiting:
        operator = waiting.pop()
        reason = _refused(graph, operator)
        neighbours: list[Any] = []
        if reason is None and not _starts(graph, operator):
            before, reason = _before(graph, operator)
            neighbours += before
        if reason is None and graph.kind(operator) not in _ENDS:
            after = [each for tensor in operator.outputs for each in consumers.get(int(tensor), [])]
            reason = None if after else f"no global average pooling follows {_place(graph, operator)}"
            neighbours += after
        if reason is not None:
            reasons[_position(graph, operator)] = reason
        for each in neighbours:
            if id(each) not in seen:
                seen.add(id(each))
                waiting.append(each)
    return (reasons[min(reasons)],) if reasons else ()


def _before(graph: Graph, operator: Any) -> tuple[list[Any], str | None]:  # noqa: ANN401
    """The operators that write its inputs, or what is wrong if there is none."""
    sources = _activations(graph, operator)
    if not all(tensor in graph.producers for tensor in sources):
        return [], f"no 3x3 convolution of stride 2 and 3 channels comes before {_place(graph, operator)}"
    return [graph.producers[tensor] for tensor in sources], None


def _activations(graph: Graph, operator: Any) -> list[int]:  # noqa: ANN401
    """The non-constant inputs of an operator; a PAD before a convolution is skipped, as XNNPACK fuses it."""
    kind = graph.kind(operator)
    if kind in _CONVOLUTIONS:
        source = int(operator.inputs[0])
        pad = graph.producers.get(source)
        fused = pad is not None and graph.kind(pad) == _OPERATOR.PAD and _pad_amounts(graph, pad) is not None
        return [int(pad.inputs[0]) if pad is not None and fused else source]
    if kind in (_OPERATOR.PAD, _OPERATOR.DENSIFY):
        return []
    return [
        int(tensor)
        for tensor in operator.inputs
        if tensor >= 0 and graph.constant(int(tensor), np.uint8) is None
    ]


def _refused(graph: Graph, operator: Any) -> str | None:  # noqa: ANN401
    """Why an operator is not allowed among sparse ones; None if it is."""
    kind, place = graph.kind(operator), _place(graph, operator)
    if kind in _CONVOLUTIONS:
        return _convolution_refused(graph, operator, place)
    if kind in _INSIDE or kind == _OPERATOR.DEPTH_TO_SPACE:
        return None
    if kind == _OPERATOR.MEAN:
        axes = graph.constant(int(operator.inputs[1]), np.int32)
        spatial = axes is not None and sorted(int(axis) for axis in axes) == [1, 2]
        return None if spatial else f"{place} is no mean over height and width"
    return f"{place} has no sparse form"


def _convolution_refused(graph: Graph, operator: Any, place: str) -> str | None:  # noqa: ANN401
    options, shape = operator.builtinOptions, graph.shape(int(operator.inputs[1]))
    kernel = shape[1:3]
    strides = (options.strideH, options.strideW)
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return f"{place} is dilated"
    if graph.kind(operator) == _OPERATOR.DEPTHWISE_CONV_2D:
        if (
            kernel not in _DEPTHWISE_PADDING
            or strides not in ((1, 1), (2, 2))
            or options.depthMultiplier != 1
        ):
            return f"{place} is {_form(kernel, strides)}; expected 3x3 or 5x5, stride 1 or 2, multiplier 1"
        return _padding_refused(graph, operator, place, expected=_DEPTHWISE_PADDING[kernel])
    if kernel == (1, 1):
        return None if strides == (1, 1) else f"{place} is 1x1 with stride {strides[0]}; expected stride 1"
    if kernel != (3, 3) or shape[3] != 3:
        return f"{place} is {_form(kernel, strides)} of {shape[3]} channels, and only 1x1 has sparse kernels"
    if strides != (2, 2):
        return (
            f"{place} has stride {strides[0]}, and a first convolution needs 2: build it with stem imagenet"
        )
    return _padding_refused(graph, operator, place, expected=1)


def _padding_refused(graph: Graph, operator: Any, place: str, *, expected: int) -> str | None:  # noqa: ANN401
    options, source = operator.builtinOptions, int(operator.inputs[0])
    kernel = graph.shape(int(operator.inputs[1]))[1:3]
    sizes, strides = graph.shape(source)[1:3], (options.strideH, options.strideW)
    if options.padding == schema.Padding.SAME:
        found = [same_padding(*each) for each in zip(sizes, kernel, strides, strict=True)]
    else:
        pad = graph.producers.get(source)
        amounts = _pad_amounts(graph, pad) if pad is not None else None
        found = [(0, 0), (0, 0)] if amounts is None else amounts
    if any(each != (expected, expected) for each in found):
        before, after = next(each for each in found if each != (expected, expected))
        return (
            f"{place} pads {before} before and {after} after the image, and sparse kernels need {expected} "
            f"on each side: build the model for 32 n + 1 pixels, such as {_odd_size(graph)}"
        )
    if options.padding == schema.Padding.SAME and strides != (1, 1):
        return f"{place} has padding SAME: export it with sparse weights, which writes it as a PAD operator"
    return None


def _pad_amounts(graph: Graph, pad: Any) -> list[tuple[int, int]] | None:  # noqa: ANN401
    """(before, after) of height and width for a PAD of these alone; None for any other."""
    if graph.kind(pad) != _OPERATOR.PAD:
        return None
    amounts = graph.constant(int(pad.inputs[1]), np.int32)
    if amounts is None or len(amounts) != 8 or any(amounts[[0, 1, 6, 7]]):
        return None
    return [(int(amounts[2]), int(amounts[3])), (int(amounts[4]), int(amounts[5]))]


def _odd_size(graph: Graph) -> int:
    """The image size nearest to the file's that all five halvings of an ImageNet net pad evenly."""
    height = graph.shape(int(graph.subgraph.inputs[0]))[1]
    return max(1, round(height / 32)) * 32 + 1


def _starts(graph: Graph, operator: Any) -> bool:  # noqa: ANN401
    """Whether it is the 3x3 convolution that converts the image to the sparse kernels' layout."""
    return graph.kind(operator) == _OPERATOR.CONV_2D and graph.shape(int(operator.inputs[1]))[1:3] == (3, 3)


def _position(graph: Graph, operator: Any) -> int:  # noqa: ANN401
    return next(place for place, each in enumerate(graph.subgraph.operators) if each is operator)


def _place(graph: Graph, operator: Any) -> str:  # noqa: ANN401
    """Such as 'CONV_2D (operator 2)'; the converter's tensor names are too long for a sentence."""
    return f"{_NAMES[graph.kind(operator)]} (operator {_position(graph, operator)})"


def _form(kernel: tuple[int, ...], strides: tuple[int, int]) -> str:
    return f"{kernel[0]}x{kernel[1]} with stride {strides[0]}"

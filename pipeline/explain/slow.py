"""Why a file is slow, operator by operator."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipeline.explain.explanation import ExplainedFile, ExplainedLayer
from pipeline.explain.finding import Finding, count_of, kinds_of, ms_of, name_of, places_of, time_share

WORTH_MS_SHARE = 0.05
"""Operators below this share of the time get no sentence."""
MAX_DEPTHWISE_PLACES = 25
"""Maximum kernel positions of XNNPACK's depthwise convolution."""
_WITHOUT_INT8_KERNEL = ("RELU", "RELU6", "AVERAGE_POOL_2D")
_SUMS = ("ADD", "SUB")


def outside_xnnpack(file: ExplainedFile) -> Iterator[Finding]:
    """Operators that XNNPACK does not take."""
    left = [each for each in file.running if each.outside_xnnpack]
    share = time_share(file, left)
    if share is None or share < WORTH_MS_SHARE:
        return
    int16 = any(each.layer.dtype == "int16" for each in left)
    yield Finding(
        kind="outside_xnnpack",
        file=file.path,
        weight=share,
        text=f"{share:.0%} of the time ({ms_of(left)}) is in {count_of(left, 'operator')} outside XNNPACK, "
        f"in TFLite's own kernels: {kinds_of(left)}. "
        + (
            "int16x8 has no fast kernels: export --int8, or --float16 where int8 is not accurate enough."
            if int16
            else "Replace these layers by ones that XNNPACK takes, or export in another precision."
        ),
    )


def slow_in_int8(file: ExplainedFile) -> Iterator[Finding]:
    """Operators that make an int8 file slower than its float one."""
    int8 = [each for each in file.running if each.layer.dtype == "int8"]
    lone = [each for each in int8 if each.layer.operator in _WITHOUT_INT8_KERNEL]
    lone = [each for each in lone if each.outside_xnnpack is not False]
    wide = [each for each in int8 if _depthwise_places(each) > MAX_DEPTHWISE_PLACES]
    slow = [*lone, *wide]
    share = time_share(file, slow)
    if share is not None:
        weight, words = share, f"{share:.0%} of the time ({ms_of(slow)}) is in operators"
    else:
        weight = len(slow) / max(1, len(file.running))
        words = f"{len(slow)} of {count_of(file.running, 'operator')} are such"
    if weight < WORTH_MS_SHARE:
        return
    parts = [kinds_of(lone)] if lone else []
    if wide:
        parts.append(f"depthwise kernels of more than {MAX_DEPTHWISE_PLACES} places (5x5) x {len(wide)}")
    yield Finding(
        kind="slow_in_int8",
        file=file.path,
        weight=weight,
        text=f"{words} that XNNPACK has no int8 kernel for, so that the float file may be faster: "
        f"{'; '.join(parts)}."
        + (" `pipeline export` writes what it can of these as small depthwise convolutions." if lone else "")
        + (" Take depthwise kernels of up to 5x5." if wide else ""),
    )


def float_left(file: ExplainedFile) -> Iterator[Finding]:
    """Float operators of an integer file, with the conversions around them."""
    if not file.is_integer:
        return
    borders = {each.layer.index for each in _border_conversions(file)}
    left = [each for each in file.running if each.layer.computes_in_float]
    left = [each for each in left if each.layer.index not in borders]
    between = {each.layer.index for each in file.inner_conversions}
    kinds = [each for each in left if each.layer.index not in between]
    if not kinds:
        return
    share = time_share(file, left)
    yield Finding(
        kind="float_left",
        file=file.path,
        weight=max(share or 0, 0.3),
        text=f"float operators are left in an integer file: {kinds_of(kinds)} compute in float "
        f"({places_of(kinds)})"
        + (
            f"; with the conversions around them they take {share:.0%} of the time ({ms_of(left)})"
            if share
            else ""
        )
        + ". Replace these layers: ReLU, convolutions, pooling, Dense and softmax have integer kernels.",
    )


def dynamic_range(file: ExplainedFile) -> Iterator[Finding]:
    """Operators that quantize their input at every run."""
    mixed = [
        each
        for each in file.running
        if each.layer.macs and each.layer.weights_dtype == "int8" and each.layer.dtype == "float32"
    ]
    if not mixed:
        return
    share = time_share(file, mixed)
    yield Finding(
        kind="dynamic_range",
        file=file.path,
        weight=0.25,
        text=f"dynamic range: {count_of(mixed, 'operator')} with int8 weights turn their float32 input into "
        "int8 at every run"
        + (f", and take {share:.0%} of the time ({ms_of(mixed)})" if share else "")
        + ". `pipeline export --int8` quantizes the activations too.",
    )


def inner_conversions(file: ExplainedFile) -> Iterator[Finding]:
    """Operators inside the graph that only convert numbers."""
    between = file.inner_conversions
    share = time_share(file, between)
    if share is None or share < WORTH_MS_SHARE:
        return
    yield Finding(
        kind="conversions",
        file=file.path,
        weight=share,
        text=f"{count_of(between, 'operator')} inside the graph only convert numbers ({kinds_of(between)}): "
        f"{share:.0%} of the time ({ms_of(between)}). They are between operators of different types or "
        "scales: branches that are concatenated, or float operators.",
    )


def unfolded_normalization(file: ExplainedFile) -> Iterator[Finding]:
    """BatchNormalizations left as MUL and ADD."""
    pairs = _multiply_add_pairs(file)
    if not pairs:
        return
    both = [each for pair in pairs for each in pair]
    share = time_share(file, both)
    yield Finding(
        kind="unfolded_normalization",
        file=file.path,
        weight=share if share is not None else 0.2,
        text=f"batch normalisation is left as MUL and ADD: {count_of(pairs, 'pair')}"
        + (f" cost {ms_of(both)}, {share:.0%} of the time" if share is not None else "")
        + f" (first {name_of(pairs[0][0])}). It folds into a convolution right before it and into nothing "
        "else: put it there, or let `pipeline export` write it as a 1x1 depthwise convolution.",
    )


def _depthwise_places(each: ExplainedLayer) -> float:
    """The number of positions of a depthwise convolution's kernel; 0 for other operators."""
    layer = each.layer
    num_values = math.prod(layer.output_shape)
    return layer.macs / num_values if layer.operator == "DEPTHWISE_CONV_2D" and num_values else 0


def _multiply_add_pairs(file: ExplainedFile) -> list[tuple[ExplainedLayer, ExplainedLayer]]:
    """Pairs of a constant MUL and the constant ADD after it, except the pixel scaling at the input."""
    made = {tensor for each in file.running for tensor in each.layer.outputs}
    borders = {tensor for each in _border_conversions(file) for tensor in each.layer.outputs}
    factors = {
        each.layer.outputs[0]: each
        for each in file.running
        if each.layer.operator == "MUL"
        and each.layer.outputs
        and each.layer.weights_dtype
        and any(tensor in made and tensor not in borders for tensor in each.layer.inputs)
    }
    return [
        (factors[each.layer.inputs[0]], each)
        for each in file.running
        if each.layer.operator in _SUMS
        and each.layer.weights_dtype
        and len(each.layer.inputs) == 1
        and each.layer.inputs[0] in factors
    ]


def _border_conversions(file: ExplainedFile) -> list[ExplainedLayer]:
    inner = {each.layer.index for each in file.inner_conversions}
    conversions = [each for each in file.running if each.layer.operator in ("QUANTIZE", "DEQUANTIZE", "CAST")]
    return [each for each in conversions if each.layer.index not in inner]

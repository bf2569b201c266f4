"""Why a file is slow, large or wrong: sentences from measured figures and the file's content only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.bench.statistics import compare
from pipeline.explain.explanation import ComparedFile, ExplainedFile, ExplainedLayer
from pipeline.explain.join import JoinedFiles, JoinedLayer, groups
from spelling import counted, some

MOST = 6
WORTH_MS_SHARE = 0.05
"""Operators below this share of the time get no sentence."""
ENOUGH_COVERAGE = 0.5
"""Below this share of the file's time in timed operators, no finding is based on time."""
WORTH_BYTES_SHARE = 0.25
WORTH_OVERHEAD_SHARE = 0.1
WORTH_ZEROS_SHARE = 0.3
WORTH_GROWTH = 0.1
MAX_DEPTHWISE_PLACES = 25
"""Maximum kernel positions of XNNPACK's depthwise convolution."""
_WITHOUT_INT8_KERNEL = ("RELU", "RELU6", "AVERAGE_POOL_2D")
_SUMS = ("ADD", "SUB")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason and its advice."""

    kind: str
    file: str | None
    """The path; None for a finding about two files."""
    weight: float
    """The sort key, 0 to 1: the share of time or bytes concerned, or an error."""
    text: str


def find(file: ExplainedFile) -> list[Finding]:
    """The findings about one file, most important first."""
    found = [
        *_outside_xnnpack(file),
        *_slow_in_int8(file),
        *_float_left(file),
        *_dynamic_range(file),
        *_inner_conversions(file),
        *_unfolded_normalization(file),
        *_worst_layer(file),
        *_scale_a_tensor(file),
        *_largest_layer(file),
        *_zeros(file),
        *_overhead(file),
    ]
    return sorted(found, key=lambda each: -each.weight)


def find_between(this: ExplainedFile, other: ExplainedFile, joined: JoinedFiles) -> list[Finding]:
    """Findings on the differences in time and bytes; none for different networks."""
    if not joined.same_network:
        return []
    return [*_slower(this, other, joined), *_not_shrunk(this, other, joined)]


def most_important(found: Sequence[Finding]) -> list[Finding]:
    """At most MOST findings, most important first, and at most one of a kind for each file."""
    return sorted(found, key=lambda each: -each.weight)[:MOST]


def _outside_xnnpack(file: ExplainedFile) -> Iterator[Finding]:
    left = [each for each in file.running if each.outside_xnnpack]
    share = _time_share(file, left)
    if share is None or share < WORTH_MS_SHARE:
        return
    int16 = any(each.layer.dtype == "int16" for each in left)
    yield Finding(
        kind="outside_xnnpack",
        file=file.path,
        weight=share,
        text=f"{share:.0%} of the time ({_ms(left)}) is in {_count(left, 'operator')} outside XNNPACK, in "
        f"TFLite's own kernels: {_kinds(left)}. "
        + (
            "int16x8 has no fast kernels: export --int8, or --float16 where int8 is not accurate enough."
            if int16
            else "Replace these layers by ones that XNNPACK takes, or export in another precision."
        ),
    )


def _slow_in_int8(file: ExplainedFile) -> Iterator[Finding]:
    """Operators that make an int8 file slower than its float one."""
    int8 = [each for each in file.running if each.layer.dtype == "int8"]
    lone = [each for each in int8 if each.layer.operator in _WITHOUT_INT8_KERNEL]
    lone = [each for each in lone if each.outside_xnnpack is not False]
    wide = [each for each in int8 if _depthwise_places(each) > MAX_DEPTHWISE_PLACES]
    slow = [*lone, *wide]
    share = _time_share(file, slow)
    if share is not None:
        weight, words = share, f"{share:.0%} of the time ({_ms(slow)}) is in operators"
    else:
        weight = len(slow) / max(1, len(file.running))
        words = f"{len(slow)} of {_count(file.running, 'operator')} are such"
    if weight < WORTH_MS_SHARE:
        return
    parts = [_kinds(lone)] if lone else []
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


def _depthwise_places(each: ExplainedLayer) -> float:
    """The number of positions of a depthwise convolution's kernel; 0 for other operators."""
    layer = each.layer
    num_values = math.prod(layer.output_shape)
    return layer.macs / num_values if layer.operator == "DEPTHWISE_CONV_2D" and num_values else 0


def _float_left(file: ExplainedFile) -> Iterator[Finding]:
    if not file.is_integer:
        return
    borders = {each.layer.index for each in _border_conversions(file)}
    left = [each for each in file.running if each.layer.computes_in_float]
    left = [each for each in left if each.layer.index not in borders]
    between = {each.layer.index for each in file.inner_conversions}
    kinds = [each for each in left if each.layer.index not in between]
    if not kinds:
        return
    share = _time_share(file, left)
    yield Finding(
        kind="float_left",
        file=file.path,
        weight=max(share or 0, 0.3),
        text=f"float operators are left in an integer file: {_kinds(kinds)} compute in float "
        f"({_places(kinds)})"
        + (
            f"; with the conversions around them they take {share:.0%} of the time ({_ms(left)})"
            if share
            else ""
        )
        + ". Replace these layers: ReLU, convolutions, pooling, Dense and softmax have integer kernels.",
    )


def _dynamic_range(file: ExplainedFile) -> Iterator[Finding]:
    mixed = [
        each
        for each in file.running
        if each.layer.macs and each.layer.weights_dtype == "int8" and each.layer.dtype == "float32"
    ]
    if not mixed:
        return
    share = _time_share(file, mixed)
    yield Finding(
        kind="dynamic_range",
        file=file.path,
        weight=0.25,
        text=f"dynamic range: {_count(mixed, 'operator')} with int8 weights turn their float32 input into "
        "int8 at every run"
        + (f", and take {share:.0%} of the time ({_ms(mixed)})" if share else "")
        + ". `pipeline export --int8` quantizes the activations too.",
    )


def _inner_conversions(file: ExplainedFile) -> Iterator[Finding]:
    between = file.inner_conversions
    share = _time_share(file, between)
    if share is None or share < WORTH_MS_SHARE:
        return
    yield Finding(
        kind="conversions",
        file=file.path,
        weight=share,
        text=f"{_count(between, 'operator')} inside the graph only convert numbers ({_kinds(between)}): "
        f"{share:.0%} of the time ({_ms(between)}). They are between operators of different types or "
        "scales: branches that are concatenated, or float operators.",
    )


def _unfolded_normalization(file: ExplainedFile) -> Iterator[Finding]:
    pairs = _multiply_add_pairs(file)
    if not pairs:
        return
    both = [each for pair in pairs for each in pair]
    share = _time_share(file, both)
    yield Finding(
        kind="unfolded_normalization",
        file=file.path,
        weight=share if share is not None else 0.2,
        text=f"batch normalisation is left as MUL and ADD: {_count(pairs, 'pair')}"
        + (f" cost {_ms(both)}, {share:.0%} of the time" if share is not None else "")
        + f" (first {_name(pairs[0][0])}). It folds into a convolution right before it and into nothing "
        "else: put it there, or let `pipeline export` write it as a 1x1 depthwise convolution.",
    )


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


def _last(file: ExplainedFile) -> ExplainedLayer | None:
    """The layer with the network's output, before conversions of its type; None without any."""
    own = [each for each in file.running if each.layer.operator not in ("QUANTIZE", "DEQUANTIZE")]
    return own[-1] if own else None


def _worst_layer(file: ExplainedFile) -> Iterator[Finding]:
    known = [each for each in file.running if each.error_growth is not None]
    # every file quantizes the softmax or sigmoid at its end, and that cannot be changed
    known = [each for each in known if each.layer.operator != "SOFTMAX"]
    if known and known[-1].layer.operator == "LOGISTIC" and known[-1] is _last(file):
        known.pop()
    worst = max(known, key=lambda each: each.error_growth or 0, default=None)
    if worst is None or (worst.error_growth or 0) < WORTH_GROWTH:
        return
    assert worst.error_growth is not None
    assert worst.relative_error is not None
    assert isinstance(file.comparison, ComparedFile)
    before = worst.relative_error - worst.error_growth
    yield Finding(
        kind="error_growth",
        file=file.path,
        weight=min(1.0, 0.3 + worst.error_growth),
        text=f"the error grows most at {_name(worst)}: from {before:.2f} to {worst.relative_error:.2f} (0 is "
        "equal to Keras, 1 all lost; "
        f"{counted(file.comparison.num_samples, f'{file.comparison.split} image')}). Its "
        "channels share one scale, which suits some of them badly: try quantization-aware training "
        "(`pipeline compress --qat`), or leave this layer in float (`pipeline export --keep-float`).",
    )


def _scale_a_tensor(file: ExplainedFile) -> Iterator[Finding]:
    convolutions = [each for each in file.running if each.layer.operator in _CONVOLUTIONS]
    coarse = [each for each in convolutions if each.layer.per_channel is False]
    coarse = [each for each in coarse if each.layer.output_shape[-1:] != (1,)]
    if not coarse:
        return
    yield Finding(
        kind="scale_a_tensor",
        file=file.path,
        weight=0.2,
        text=f"the weights of {len(coarse)} of {len(convolutions)} convolutions have one scale for all "
        f"channels (first {_name(coarse[0])}): one wide channel costs all others their accuracy. "
        "`pipeline export --int8` writes a scale a channel.",
    )


def _largest_layer(file: ExplainedFile) -> Iterator[Finding]:
    largest = max(groups(file), key=lambda each: each.weight_bytes, default=None)
    share = largest.weight_bytes / file.size_bytes if largest else 0
    if largest is None or share < WORTH_BYTES_SHARE:
        return
    stored = file.layers[largest.indices[-1]].layer.weights_dtype
    advice = {
        "float32": "Export --int8 to store it in a quarter, --float16 in half.",
        "float16": "Export --int8 to store it in half.",
    }.get(stored, "Make it narrower, or prune it (`pipeline compress`).")
    yield Finding(
        kind="largest_layer",
        file=file.path,
        weight=share * 0.5,
        text=f"the largest layer is {largest.label}: {share:.0%} of the file, {largest.weight_bytes:,} "
        f"bytes of {file.size_bytes:,} ({stored or 'no weights'}). {advice}",
    )


def _zeros(file: ExplainedFile) -> Iterator[Finding]:
    share = file.zeros_share
    if share is None or share < WORTH_ZEROS_SHARE:
        return
    yield Finding(
        kind="zeros",
        file=file.path,
        weight=share * 0.5,
        text=f"{share:.0%} of the weights are zeros but stored dense: the file on disk is no smaller "
        f"for them: {file.size_bytes:,} bytes. Downloaded it is {file.downloaded_bytes:,} bytes (brotli): "
        "ship it compressed, or remove whole channels instead.",
    )


def _overhead(file: ExplainedFile) -> Iterator[Finding]:
    extra = file.bytes.quantization + file.bytes.names + file.bytes.rest
    share = extra / file.size_bytes
    if share < WORTH_OVERHEAD_SHARE:
        return
    yield Finding(
        kind="overhead",
        file=file.path,
        weight=share * 0.5,
        text=f"{share:.0%} of the file is not weights: {file.bytes.quantization:,} bytes of scales and "
        f"zero points, {file.bytes.names:,} of tensor names, {file.bytes.rest:,} of structure. "
        "A channel's scale takes 4 bytes, its zero point 8 where equal ones are not stored once"
        + (
            "; `pipeline export` leaves names out."
            if file.bytes.names > file.bytes.quantization / 10
            else "."
        ),
    )


def _slower(this: ExplainedFile, other: ExplainedFile, joined: JoinedFiles) -> Iterator[Finding]:
    if this.timed is None or other.timed is None:
        return
    rounds = min(len(this.timed.round_medians_ms), len(other.timed.round_medians_ms))
    verdict = compare(other.timed.round_medians_ms[:rounds], this.timed.round_medians_ms[:rounds])
    if not verdict.larger_than_noise:
        return
    slower = verdict.ratio > 1
    costs = [(each, _extra_ms(each)) for each in joined.layers]
    telling = sorted(costs, key=lambda pair: -pair[1] if slower else pair[1])[:3]
    telling = [(each, ms) for each, ms in telling if (ms > 0 if slower else ms < 0)]
    named = ", ".join(f"{_label(each)} ({ms:+.3g} ms)" for each, ms in telling)
    layers = f" The layers that differ most: {named}." if _is_covered(this) and _is_covered(other) else ""
    yield Finding(
        kind="slower" if slower else "faster",
        file=None,
        weight=1.0,
        text=f"B takes {verdict.ratio:.2f}x as long as A ({other.timed.whole_ms:.3g} against "
        f"{this.timed.whole_ms:.3g} ms).{layers}",
    )


def _extra_ms(layer: JoinedLayer) -> float:
    return ((layer.other.ms or 0) if layer.other else 0) - ((layer.this.ms or 0) if layer.this else 0)


def _not_shrunk(this: ExplainedFile, other: ExplainedFile, joined: JoinedFiles) -> Iterator[Finding]:
    """Layers that are as large in a file that is much smaller in total."""
    ratio = other.size_bytes / this.size_bytes
    kept = [
        each
        for each in joined.layers
        if each.other and each.bytes_ratio is not None and each.bytes_ratio > max(0.9, 1.5 * ratio)
    ]
    kept_bytes = sum(each.other.weight_bytes for each in kept if each.other)
    if ratio > 0.6 or kept_bytes < WORTH_OVERHEAD_SHARE * other.size_bytes:
        return
    largest = max(kept, key=lambda each: each.other.weight_bytes if each.other else 0)
    yield Finding(
        kind="not_shrunk",
        file=None,
        weight=kept_bytes / other.size_bytes,
        text=f"B is {ratio:.2f}x as large as A, but {_count(kept, 'layer')} did not shrink: "
        f"{kept_bytes:,} bytes, most in {_label(largest)}. Was it left out of the quantization?",
    )


def _border_conversions(file: ExplainedFile) -> list[ExplainedLayer]:
    inner = {each.layer.index for each in file.inner_conversions}
    conversions = [each for each in file.running if each.layer.operator in ("QUANTIZE", "DEQUANTIZE", "CAST")]
    return [each for each in conversions if each.layer.index not in inner]


def _time_share(file: ExplainedFile, layers: Sequence[ExplainedLayer]) -> float | None:
    shares = [each.time_share for each in layers if each.time_share is not None]
    return sum(shares) if shares and _is_covered(file) else None


def _is_covered(file: ExplainedFile) -> bool:
    return file.timed is not None and file.timed.coverage >= ENOUGH_COVERAGE


def _ms(layers: Sequence[ExplainedLayer]) -> str:
    return f"{sum(each.ms or 0 for each in layers):.3g} ms"


def _kinds(layers: Sequence[ExplainedLayer]) -> str:
    """'CONV_2D x 2, MEAN', the slowest first."""
    cost: Counter[str] = Counter()
    for each in layers:
        cost[each.layer.operator] += each.ms or 0  # type: ignore[assignment]
    counts = Counter(each.layer.operator for each in layers)
    names = [f"{name} x {counts[name]}" if counts[name] > 1 else name for name, _ in cost.most_common()]
    return some(names, most=4)


def _places(layers: Sequence[ExplainedLayer]) -> str:
    return some(dict.fromkeys(_name(each) for each in layers))


def _name(layer: ExplainedLayer) -> str:
    return layer.layer.layer or f"#{layer.layer.index}"


def _label(layer: JoinedLayer) -> str:
    group = layer.this or layer.other
    assert group is not None
    return group.label


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'s' * (len(things) != 1)}"

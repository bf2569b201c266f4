"""Why a file is slow, large or wrong: sentences from measured figures and the file's content only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.bench.statistics import compare
from pipeline.explain.explanation import ExplainedFile
from pipeline.explain.finding import WORTH_OVERHEAD_SHARE, Finding, count_of, is_covered
from pipeline.explain.inaccurate import scale_a_tensor, worst_layer
from pipeline.explain.join import JoinedFiles, JoinedLayer
from pipeline.explain.large import largest_layer, overhead, zeros
from pipeline.explain.slow import (
    dynamic_range,
    float_left,
    inner_conversions,
    outside_xnnpack,
    slow_in_int8,
    unfolded_normalization,
)

MOST = 6


def find(file: ExplainedFile) -> list[Finding]:
    """The findings about one file, most important first."""
    found = [
        *outside_xnnpack(file),
        *slow_in_int8(file),
        *float_left(file),
        *dynamic_range(file),
        *inner_conversions(file),
        *unfolded_normalization(file),
        *worst_layer(file),
        *scale_a_tensor(file),
        *largest_layer(file),
        *zeros(file),
        *overhead(file),
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
    layers = f" The layers that differ most: {named}." if is_covered(this) and is_covered(other) else ""
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
        text=f"B is {ratio:.2f}x as large as A, but {count_of(kept, 'layer')} did not shrink: "
        f"{kept_bytes:,} bytes, most in {_label(largest)}. Was it left out of the quantization?",
    )


def _label(layer: JoinedLayer) -> str:
    group = layer.this or layer.other
    assert group is not None
    return group.label

"""Joins the layers of two files: by the Keras layers' names, else by the order of operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pipeline.explain.explanation import ExplainedFile, ExplainedLayer

_ENOUGH = 0.5
"""Two files are of one network if they share at least this part of the smaller file's layers."""


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """The operators of one layer in one file, such as the MUL and ADD of a BatchNormalization."""

    label: str
    """The layer's Keras name; '#12' for operator 12 of an unknown layer."""
    indices: tuple[int, ...]
    operators: tuple[str, ...]
    output_shape: tuple[int, ...]
    weight_bytes: int
    ms: float | None
    outside_xnnpack: bool
    """Whether one of them is known to run in TFLite's own kernels."""
    relative_error: float | None
    """Of the last operator."""
    error_growth: float | None


@dataclass(frozen=True, kw_only=True)
class JoinedLayer:
    """One layer in both files; None if a file has no operator for it."""

    this: LayerGroup | None
    other: LayerGroup | None
    bytes_ratio: float | None
    """The other file's bytes divided by this one's."""
    time_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class JoinedFiles:
    """The layers of two files, in the order of the first."""

    layers: tuple[JoinedLayer, ...]
    by: str
    """'name' or 'order'."""
    same_network: bool


Pairs = list[tuple[LayerGroup | None, LayerGroup | None]]


def join(this: ExplainedFile, other: ExplainedFile) -> JoinedFiles:
    """The joined layers of two files; a layer of only one file is placed where it runs."""
    ours, theirs = groups(this), groups(other)
    named_ours, named_theirs = _by_name(ours), _by_name(theirs)
    known = [{key for key in named if not key[0].startswith("#")} for named in (named_ours, named_theirs)]
    smaller = min(len(names) for names in known)
    by_name = smaller > 0 and len(known[0] & known[1]) >= _ENOUGH * smaller
    pairs = _merged(named_ours, named_theirs) if by_name else _aligned(ours, theirs)
    shared = sum(a is not None and b is not None for a, b in pairs)
    return JoinedFiles(
        layers=tuple(_joined(a, b) for a, b in pairs),
        by="name" if by_name else "order",
        same_network=by_name or shared >= _ENOUGH * max(1, min(len(ours), len(theirs))),
    )


def groups(file: ExplainedFile) -> list[LayerGroup]:
    """The file's operators grouped by Keras layer, in order of execution."""
    together: dict[str, list[ExplainedLayer]] = {}
    for each in file.running:
        together.setdefault(each.layer.layer or f"#{each.layer.index}", []).append(each)
    return [_group(label, members) for label, members in together.items()]


def _group(label: str, members: Sequence[ExplainedLayer]) -> LayerGroup:
    times = [each.ms for each in members if each.ms is not None]
    errors = [each for each in members if each.relative_error is not None]
    return LayerGroup(
        label=label,
        indices=tuple(each.layer.index for each in members),
        operators=tuple(each.layer.operator for each in members),
        output_shape=members[-1].layer.output_shape,
        weight_bytes=sum(each.layer.weight_bytes for each in members),
        ms=sum(times) if len(times) == len(members) else None,
        outside_xnnpack=any(each.outside_xnnpack for each in members),
        relative_error=errors[-1].relative_error if errors else None,
        error_growth=errors[-1].error_growth if errors else None,
    )


def _by_name(found: Sequence[LayerGroup]) -> dict[tuple[str, int], LayerGroup]:
    """Groups by (name, occurrence); operators without a name by (kind, occurrence)."""
    seen: Counter[str] = Counter()
    named = {}
    for group in found:
        name = f"#{group.operators[0]}" if group.label.startswith("#") else group.label
        named[name, seen[name]] = group
        seen[name] += 1
    return named


def _merged(ours: dict[tuple[str, int], LayerGroup], theirs: dict[tuple[str, int], LayerGroup]) -> Pairs:
    """Ours in order; a group of only the other file follows its predecessor there."""
    behind: dict[tuple[str, int] | None, Pairs] = {}
    last = None
    for key, group in theirs.items():
        if key in ours:
            last = key
        else:
            behind.setdefault(last, []).append((None, group))
    pairs = behind.pop(None, [])
    for key, group in ours.items():
        pairs.append((group, theirs.get(key)))
        pairs += behind.get(key, [])
    return pairs


def _aligned(ours: Sequence[LayerGroup], theirs: Sequence[LayerGroup]) -> Pairs:
    """Pairs by the longest common subsequence of operators with equal output shapes."""
    keys, other_keys = (
        [(group.operators, group.output_shape) for group in found] for found in (ours, theirs)
    )
    pairs: Pairs = []
    for what, a, a_end, b, b_end in SequenceMatcher(None, keys, other_keys, autojunk=False).get_opcodes():
        if what == "equal":
            pairs += zip(ours[a:a_end], theirs[b:b_end], strict=True)
        else:
            pairs += [(group, None) for group in ours[a:a_end]]
            pairs += [(None, group) for group in theirs[b:b_end]]
    return pairs


def _joined(this: LayerGroup | None, other: LayerGroup | None) -> JoinedLayer:
    bytes_ratio = time_ratio = None
    if this is not None and other is not None:
        if this.weight_bytes:
            bytes_ratio = other.weight_bytes / this.weight_bytes
        if this.ms and other.ms is not None:
            time_ratio = other.ms / this.ms
    return JoinedLayer(this=this, other=other, bytes_ratio=bytes_ratio, time_ratio=time_ratio)

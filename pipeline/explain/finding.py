"""One reason why a file is slow, large or wrong, and the words that all reasons share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.explain.explanation import ExplainedFile, ExplainedLayer
from spelling import some

ENOUGH_COVERAGE = 0.5
"""Below this share of the file's time in timed operators, no finding is based on time."""
WORTH_OVERHEAD_SHARE = 0.1
"""Bytes of a file below this share get no sentence."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason and its advice."""

    kind: str
    file: str | None
    """The path; None for a finding about two files."""
    weight: float
    """The sort key, 0 to 1: the share of time or bytes concerned, or an error."""
    text: str


def time_share(file: ExplainedFile, layers: Sequence[ExplainedLayer]) -> float | None:
    """The share of the time in these layers; None if it is not known."""
    shares = [each.time_share for each in layers if each.time_share is not None]
    return sum(shares) if shares and is_covered(file) else None


def is_covered(file: ExplainedFile) -> bool:
    """Whether most of the file's time is in timed operators."""
    return file.timed is not None and file.timed.coverage >= ENOUGH_COVERAGE


def ms_of(layers: Sequence[ExplainedLayer]) -> str:
    """'0.12 ms': the time in these layers."""
    return f"{sum(each.ms or 0 for each in layers):.3g} ms"


def kinds_of(layers: Sequence[ExplainedLayer]) -> str:
    """'CONV_2D x 2, MEAN', the slowest first."""
    cost: Counter[str] = Counter()
    for each in layers:
        cost[each.layer.operator] += each.ms or 0  # type: ignore[assignment]
    counts = Counter(each.layer.operator for each in layers)
    names = [f"{name} x {counts[name]}" if counts[name] > 1 else name for name, _ in cost.most_common()]
    return some(names, most=4)


def places_of(layers: Sequence[ExplainedLayer]) -> str:
    """The first names of these layers."""
    return some(dict.fromkeys(name_of(each) for each in layers))


def name_of(layer: ExplainedLayer) -> str:
    """A layer's name, or its operator's number."""
    return layer.layer.layer or f"#{layer.layer.index}"


def count_of(things: Sequence[object], noun: str) -> str:
    """'2 operators'."""
    return f"{len(things)} {noun}{'s' * (len(things) != 1)}"

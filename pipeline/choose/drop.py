"""What is dropped before any training: over budget, or beaten by another candidate. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from export.precisions import Precision
from pipeline.choose.candidates import Candidate
from pipeline.choose.settings import BYTES_PER_MB, Budget
from pipeline.records.measurement import Measurement

UNSTEADY = 0.25
"""Noise above this share of the latency says nothing: not that two are equally fast, nor that one fits."""
EXACTNESS = {
    Precision.FLOAT32: 3,
    Precision.FLOAT16: 3,
    Precision.INT16X8: 2,
    Precision.DYNAMIC: 1,
    Precision.INT8: 1,
}
"""A candidate is only beaten by one that rounds no coarser."""


@dataclass(frozen=True, kw_only=True)
class Costed:
    """A candidate with what its file costs, known before training."""

    candidate: Candidate
    macs: int
    parameters: int
    size_bytes: int | None = None
    """None where the file was not made."""
    size_of_classes: int | None = None
    """The number of classes of the file that the size was measured on, if it is another; else None."""
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    """Target -> its valid measurement."""

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name


@dataclass(frozen=True, kw_only=True)
class Fate:
    """Whether a candidate is in the race on a target, and why."""

    is_in: bool
    why: str = ""
    """Why it is not, or what is close about it; empty for nothing to say."""


def median_of(costed: Costed, target: str) -> float | None:
    """Its latency on the target; None if it has no valid one."""
    found = costed.measured.get(target)
    return None if found is None else found.median_ms


def over_budget(costed: Costed, budget: Budget, target: str) -> Fate:
    """Whether its size and latency are within the budget; over by less than the noise is within."""
    if budget.max_mb is not None and costed.size_bytes is not None:
        megabytes = costed.size_bytes / BYTES_PER_MB
        if megabytes > budget.max_mb:
            return Fate(is_in=False, why=f"{megabytes:.2f} MB is over --max-mb {budget.max_mb:g}")
    found = costed.measured.get(target)
    if found is None or found.median_ms is None:
        return Fate(is_in=False, why=f"not measured on {target}")
    return over_ms(found.median_ms, found.noise_ms, budget)


def over_ms(median_ms: float, noise_ms: float | None, budget: Budget) -> Fate:
    """Whether a latency is within the budget; over by less than the noise, if that is narrow, is within."""
    if budget.max_ms is None or median_ms <= budget.max_ms:
        return Fate(is_in=True)
    over, noise = f"{median_ms:.3g} ms is over --max-ms {budget.max_ms:g}", noise_ms or 0.0
    if median_ms - min(noise, UNSTEADY * median_ms) > budget.max_ms:
        return Fate(is_in=False, why=over)
    return Fate(is_in=True, why=f"{over} by less than the noise, {noise:.2g} ms")


def weight_bytes_of(precision: Precision) -> int:
    """Bytes of a weight in a file."""
    return {Precision.FLOAT32: 4, Precision.FLOAT16: 2}.get(precision, 1)


def too_large(candidate: Candidate, num_weights: int, budget: Budget) -> str:
    """Why no file with so many weights fits, known without making one; empty if one may."""
    if budget.max_mb is None or candidate.net.is_own:
        return ""
    megabytes = num_weights * weight_bytes_of(candidate.precision) / BYTES_PER_MB
    if megabytes <= budget.max_mb:
        return ""
    return f"its weights alone are {megabytes:.3g} MB, over --max-mb {budget.max_mb:g}"


def fates(costed: Sequence[Costed], budget: Budget, target: str) -> dict[str, Fate]:
    """The fate of every candidate on the target, by its name.

    One is beaten by another of its family with no fewer multiply-accumulates, no coarser rounding, no larger
    file and no measurably longer latency, of which something is better. In a family more
    multiply-accumulates mean a higher accuracy; between families they do not.
    """
    found = {each.name: over_budget(each, budget, target) for each in costed}
    kept: list[Costed] = []
    ordered = sorted(
        (each for each in costed if found[each.name].is_in),
        key=lambda each: (-each.macs, each.size_bytes or 0, median_of(each, target) or 0.0, each.name),
    )
    for each in ordered:
        better = next((other for other in kept if _beats(other, each, target)), None)
        if better is None:
            kept.append(each)
        else:
            found[each.name] = Fate(
                is_in=False, why=f"beaten by {better.name} in size, latency and mult-adds"
            )
    return found


def _beats(one: Costed, other: Costed, target: str) -> bool:
    if one.candidate.net.is_own or one.candidate.net.family != other.candidate.net.family:
        return False
    if EXACTNESS[one.candidate.precision] < EXACTNESS[other.candidate.precision]:
        return False
    assert one.size_bytes is not None
    assert other.size_bytes is not None
    if one.macs < other.macs or one.size_bytes > other.size_bytes:
        return False
    ours, theirs = one.measured[target], other.measured[target]
    assert ours.median_ms is not None
    assert theirs.median_ms is not None
    noise = math.hypot(ours.noise_ms or 0.0, theirs.noise_ms or 0.0)
    is_steady = noise <= UNSTEADY * theirs.median_ms
    if ours.median_ms - theirs.median_ms > (noise if is_steady else 0.0):
        return False
    is_faster = is_steady and theirs.median_ms - ours.median_ms > noise
    return one.macs > other.macs or one.size_bytes < other.size_bytes or is_faster


def nearest_to_budget(costed: Sequence[Costed], budget: Budget, target: str) -> tuple[Costed, float] | None:
    """The candidate that misses the budget by the smallest factor, and that factor; None if none is known."""

    def factor(each: Costed) -> float:
        ratios = [1.0]
        if budget.max_ms is not None:
            ratios.append((median_of(each, target) or math.inf) / budget.max_ms)
        if budget.max_mb is not None:
            ratios.append((each.size_bytes or math.inf) / (budget.max_mb * BYTES_PER_MB))
        return max(ratios)

    measured = [each for each in costed if target in each.measured and each.size_bytes is not None]
    if not measured:
        return None
    best = min(measured, key=factor)
    return best, factor(best)

"""Which file to ship: the winner, what cannot be told from it, and what more would cost. No Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from export.check.paired import CHANCE_P, mcnemar_p
from pipeline.bench.baselines import Spreads, compare_measured
from pipeline.bench.host import MeasuredFile
from pipeline.choose.drop import Fate, over_ms
from pipeline.choose.settings import BYTES_PER_MB, Budget
from pipeline.records.interval import wilson_interval
from pipeline.records.measurement import Measurement, setting_of

ONE = 1.0
"""The one more millisecond, megabyte or point whose price is told."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """A trained, exported and verified file."""

    name: str
    """The candidate's, such as 'mobilenet_alpha0.5_160 int8'."""
    net: str
    path: str
    sha256: str
    run: str
    size_bytes: int
    top1: float
    """Percent of the test images."""
    right: tuple[bool, ...]
    """Of each test image."""
    made_by: str = ""
    """What `--max-drop`'s ladder did for it; empty for a plain export."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A final file on a target."""

    name: str
    path: str
    sha256: str
    run: str
    top1: float
    low: float
    high: float
    """The ends of the 95% interval of its top-1."""
    num_images: int
    size_bytes: int
    median_ms: float | None
    noise_ms: float | None
    fate: Fate
    untrained_ms: float | None = None
    """What the same shape took before it was trained."""
    differs: bool = False
    """Whether the two latencies differ by more than the noise."""
    made_by: str = ""
    accuracy_p: float | None = None
    """McNemar's p against the winner; None for the winner, and without one."""
    latency_ratio: float | None = None
    """To the winner's, by the paired rounds."""
    slower_than_noise: bool | None = None
    """Whether it is slower than the winner by more than the noise; None where that is not known."""
    is_tied: bool = False
    """Whether it is neither less accurate nor slower than the winner beyond chance and noise."""


@dataclass(frozen=True, kw_only=True)
class More:
    """What a larger budget would bring."""

    name: str
    points: float
    low: float | None
    high: float | None
    """The ends of the 95% interval of the points, where they are predicted."""
    more_ms: float
    more_mb: float
    is_predicted: bool


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a candidate that is no final file: its cost, and what is predicted of it."""

    name: str
    size_bytes: int
    median_ms: float
    points: float
    """More than the advised file's net, at the same rung."""
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer for one target."""

    target: str
    machine: str
    budget: Budget
    judged: tuple[Judged, ...]
    winner: str | None
    """The most accurate file within the budget; None if none fits."""
    advised: str | None
    """The smallest of those that cannot be told from the winner."""
    nearest: str | None = None
    """Where nothing fits, the file that misses the budget least."""
    more: tuple[More, ...] = ()

    def file(self, name: str | None) -> Judged | None:
        """The judged file of that name."""
        return next((each for each in self.judged if each.name == name), None)


def judge(
    finals: Sequence[Final],
    measured: Mapping[str, MeasuredFile],
    untrained: Mapping[str, Measurement],
    budget: Budget,
    target: str,
    *,
    spreads: Spreads | None = None,
) -> Verdict:
    """The verdict on the final files, measured in turns on the target (SHA-256 -> measurement).

    `spreads` between sessions, where they are known, are part of the noise of untrained against trained.
    """
    judged = [
        _judged(each, measured.get(each.sha256), untrained.get(each.name), budget, spreads or {})
        for each in finals
    ]
    machine = next((each.measurement.machine for each in measured.values()), "")
    inside = [each for each in judged if each.fate.is_in]
    if not inside:
        nearest = min(judged, key=lambda each: _misses(each, budget), default=None)
        return Verdict(
            target=target,
            machine=machine,
            budget=budget,
            judged=tuple(judged),
            winner=None,
            advised=None,
            nearest=nearest.name if nearest else None,
        )
    best = max(inside, key=lambda each: (each.top1, -each.size_bytes))
    by_name = {each.name: each for each in finals}
    compared = [_against(each, best, by_name, measured) for each in judged]
    tied = [each for each in compared if each.is_tied or each.name == best.name]
    advised = min(tied, key=lambda each: (each.size_bytes, each.median_ms or 0.0))
    return Verdict(
        target=target,
        machine=machine,
        budget=budget,
        judged=tuple(compared),
        winner=best.name,
        advised=advised.name,
    )


def prices(verdict: Verdict, known: Sequence[Known]) -> tuple[More, ...]:
    """What one more millisecond, one more megabyte and one more point cost; no candidate twice.

    Measured files are preferred to predicted ones. Named is only what is more accurate beyond chance, by
    McNemar's test or by the whole of the prediction's interval.
    """
    base = verdict.file(verdict.advised)
    if base is None or base.median_ms is None:
        return ()
    offers = [
        _more(base, each.name, each.median_ms, each.size_bytes, each.top1 - base.top1)
        for each in verdict.judged
        if each.median_ms is not None and (each.accuracy_p or 0.0) < CHANCE_P and each.name != verdict.winner
    ]
    measured = {each.name for each in verdict.judged}
    offers += [
        _more(base, each.name, each.median_ms, each.size_bytes, each.points, low=each.low, high=each.high)
        for each in known
        if each.name not in measured and each.low > 0
    ]
    gains = [each for each in offers if each.points > 0]
    chosen = (
        max((each for each in gains if 0 < each.more_ms <= ONE), key=_points, default=None),
        max((each for each in gains if 0 < each.more_mb <= ONE), key=_points, default=None),
        min((each for each in gains if each.points >= ONE), key=lambda each: each.more_ms, default=None),
    )
    return tuple({each.name: each for each in chosen if each is not None}.values())


def _points(more: More) -> float:
    return more.points


def _more(
    base: Judged,
    name: str,
    median_ms: float,
    size_bytes: int,
    points: float,
    *,
    low: float | None = None,
    high: float | None = None,
) -> More:
    assert base.median_ms is not None
    return More(
        name=name,
        points=points,
        low=low,
        high=high,
        more_ms=median_ms - base.median_ms,
        more_mb=(size_bytes - base.size_bytes) / BYTES_PER_MB,
        is_predicted=low is not None,
    )


def _judged(
    final: Final,
    measured: MeasuredFile | None,
    untrained: Measurement | None,
    budget: Budget,
    spreads: Spreads,
) -> Judged:
    interval = wilson_interval(final.top1, len(final.right)) or (final.top1, final.top1)
    found = measured.measurement if measured is not None and measured.measurement.valid else None
    before = untrained.median_ms if untrained is not None else None
    return Judged(
        name=final.name,
        path=final.path,
        sha256=final.sha256,
        run=final.run,
        top1=final.top1,
        low=interval[0],
        high=interval[1],
        num_images=len(final.right),
        size_bytes=final.size_bytes,
        median_ms=found.median_ms if found else None,
        noise_ms=found.noise_ms if found else None,
        fate=_fate(final, measured, budget),
        untrained_ms=before,
        differs=bool(found and untrained and _differ(found, untrained, spreads)),
        made_by=final.made_by,
    )


def _differ(one: Measurement, other: Measurement, spreads: Spreads) -> bool:
    if one.median_ms is None or other.median_ms is None:
        return False
    spread = spreads.get(setting_of(one))
    drift = 0.0 if spread is None else spread.log_half_width * one.median_ms
    noise = math.hypot(one.noise_ms or 0.0, other.noise_ms or 0.0, drift)
    return abs(one.median_ms - other.median_ms) > noise


def _fate(final: Final, measured: MeasuredFile | None, budget: Budget) -> Fate:
    found = measured.measurement if measured is not None else None
    if found is None or not found.valid or found.median_ms is None:
        reasons = "; ".join(found.reasons) if found is not None else "it was not measured"
        return Fate(is_in=False, why=f"no valid latency: {reasons}")
    megabytes = final.size_bytes / BYTES_PER_MB
    if budget.max_mb is not None and megabytes > budget.max_mb:
        return Fate(is_in=False, why=f"{megabytes:.2f} MB is over --max-mb {budget.max_mb:g}")
    fate = over_ms(found.median_ms, found.noise_ms, budget)
    if not fate.is_in:
        return fate
    if budget.min_top1 is not None and final.top1 < budget.min_top1:
        return Fate(is_in=False, why=f"{final.top1:.1f}% is below --min-top1 {budget.min_top1:g}")
    return fate


def _misses(judged: Judged, budget: Budget) -> float:
    """By how large a factor it misses the budget, at the worst of its limits."""
    ratios = [1.0]
    if budget.max_ms is not None:
        ratios.append((judged.median_ms or math.inf) / budget.max_ms)
    if budget.max_mb is not None:
        ratios.append(judged.size_bytes / (budget.max_mb * BYTES_PER_MB))
    if budget.min_top1:
        ratios.append(budget.min_top1 / max(judged.top1, 0.1))
    return max(ratios)


def _against(
    judged: Judged, best: Judged, finals: Mapping[str, Final], measured: Mapping[str, MeasuredFile]
) -> Judged:
    """The file with its comparison with the winner."""
    if judged.name == best.name or judged.sha256 not in measured:
        return judged
    ours, theirs = finals[judged.name].right, finals[best.name].right
    pairs = list(zip(ours, theirs, strict=True))
    p = mcnemar_p(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))
    compared = compare_measured(measured[judged.sha256], measured[best.sha256], {})
    slower = None
    if compared is not None and compared.larger_than_noise is not None:
        slower = compared.larger_than_noise and compared.ratio > 1
    return replace(
        judged,
        accuracy_p=p,
        latency_ratio=compared.ratio if compared else None,
        slower_than_noise=slower,
        is_tied=judged.fate.is_in and p >= CHANCE_P and slower is False,
    )

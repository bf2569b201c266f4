"""The Pareto front: files that no comparable file measurably beats in size, latency and accuracy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from pipeline.records.measurement import Setting, setting_of
from pipeline.records.report_row import ReportRow, answers_wrongly, is_drawn
from pipeline.sessions import SessionSpread

Thing = TypeVar("Thing")

TWO_SIDED_5_PERCENT = 1.96
"""Standard errors."""
UNSTEADY = 0.25
"""Noise above this share of the latency is too wide to compare with."""


def mark_pareto(rows: Sequence[ReportRow], spreads: Mapping[Setting, SessionSpread]) -> list[ReportRow]:
    """The rows, with `pareto` set on the undominated ones. `spreads`: Store.session_spreads().

    Comparable rows have the same data set, samples and setting. Rows without a valid latency, a size or an
    accuracy are left out, and rows whose phone gave wrong labels.

    A row dominates another if it is not larger, not measurably slower and not measurably less accurate, and
    is smaller, measurably faster or measurably more accurate.
    """
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    order = sorted((index for index, row in enumerate(rows) if _competes(row)), key=lambda i: _order(rows[i]))
    for index in order:
        groups[_conditions(rows[index])].append(index)
    best: set[int] = set()
    for members in groups.values():
        spread = spreads.get(setting_of(rows[members[0]].conditions))
        found = undominated(
            [rows[index] for index in members],
            lambda one, other: _dominates(one, other, spread),  # noqa: B023
        )
        best.update(members[position] for position in found)
    return [replace(row, pareto=index in best) for index, row in enumerate(rows)]


def undominated(things: Sequence[Thing], dominates: Callable[[Thing, Thing], bool]) -> list[int]:
    """The positions of things that do not dominate each other, one of which dominates each of the rest.

    Because of noise, dominance is not transitive. So the things that nothing dominates are taken first, what
    they dominate is dropped, and the rest is examined again. Never empty: of a cycle the first is taken.
    """
    beats = {
        (one, other)
        for one in range(len(things))
        for other in range(len(things))
        if one != other and dominates(things[one], things[other])
    }
    kept: list[int] = []
    left = list(range(len(things)))
    while left:
        best = [each for each in left if not any((other, each) in beats for other in left)] or left[:1]
        kept += best
        left = [
            each for each in left if each not in best and not any((other, each) in beats for other in best)
        ]
    return sorted(kept)


def _competes(row: ReportRow) -> bool:
    return is_drawn(row) and row.accuracy.tflite_top1 is not None and not answers_wrongly(row)


def _dominates(one: ReportRow, other: ReportRow, spread: SessionSpread | None) -> bool:
    assert one.file.size_bytes is not None
    assert other.file.size_bytes is not None
    if one.file.size_bytes > other.file.size_bytes or not _as_fast(one, other, spread):
        return False
    less_accurate = _more_accurate(other, one)
    better = (
        one.file.size_bytes < other.file.size_bytes
        or _faster(one, other, spread)
        or _more_accurate(one, other)
    )
    return better and not less_accurate


def _as_fast(one: ReportRow, other: ReportRow, spread: SessionSpread | None) -> bool:
    """Whether a row is not measurably slower; if the noise is unknown or wide, the medians decide."""
    if _log_noise(one, other, spread) is None:
        return _median(one) <= _median(other)
    return not _faster(other, one, spread)


def _faster(one: ReportRow, other: ReportRow, spread: SessionSpread | None) -> bool:
    noise = _log_noise(one, other, spread)
    return noise is not None and math.log(_median(other) / _median(one)) > noise


def _log_noise(one: ReportRow, other: ReportRow, spread: SessionSpread | None) -> float | None:
    """Half the 95% interval of the logarithm of the medians' ratio; None if it is unknown or too wide.

    For rows that were not measured in turns in one session it includes the spread between sessions.
    """
    latencies = one.latency, other.latency
    in_turns = one.latency.session is not None and one.latency.session == other.latency.session
    if any(each.noise_ms is None for each in latencies) or not (in_turns or spread):
        return None
    noise = [each.noise_ms / each.median_ms for each in latencies if each.noise_ms and each.median_ms]
    whole = math.hypot(*noise, 0.0 if in_turns or spread is None else spread.log_half_width)
    return whole if whole <= UNSTEADY else None


def _more_accurate(one: ReportRow, other: ReportRow) -> bool:
    """Whether one row is significantly more accurate, by McNemar's test with continuity correction.

    The number of images on which only one row is right is not stored. If both rows have the same Keras
    model, its upper bound is the number on which either disagrees with the model; else independent samples
    are assumed.
    """
    ours, others = one.accuracy, other.accuracy
    assert ours.tflite_top1 is not None
    assert others.tflite_top1 is not None
    images = ours.num_samples or 0
    shares = [each.tflite_top1 / 100 for each in (ours, others) if each.tflite_top1 is not None]
    variance = images * sum(share * (1 - share) for share in shares)
    if one.file.parent_sha256 is not None and one.file.parent_sha256 == other.file.parent_sha256:
        agreements = [each.agreement for each in (ours, others) if each.agreement is not None]
        if len(agreements) == 2:
            variance = min(variance, images * sum(1 - agreement / 100 for agreement in agreements))
    more = images * (ours.tflite_top1 - others.tflite_top1) / 100
    return more - 1 > TWO_SIDED_5_PERCENT * math.sqrt(variance)


def _median(row: ReportRow) -> float:
    assert row.latency.median_ms is not None
    return row.latency.median_ms


def _order(row: ReportRow) -> tuple[float, float, float, str]:
    """Sort key by size, latency and accuracy, which makes the result independent of the rows' order."""
    return row.file.size_bytes or 0, _median(row), -(row.accuracy.tflite_top1 or 0), row.file.sha256


def _conditions(row: ReportRow) -> tuple[object, ...]:
    accuracy = row.accuracy
    return accuracy.dataset_fingerprint, accuracy.split, accuracy.num_samples, setting_of(row.conditions)

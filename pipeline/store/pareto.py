"""Which files no comparable file beats in size, latency and accuracy at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from pipeline.records.measurement import kind_of_delegate
from pipeline.records.report_row import ReportRow, answers_wrongly, is_drawn

Point = tuple[float, float, float]
"""Size in bytes, median in ms, and the negated top-1: the smaller, the better, all three."""


def mark_pareto(rows: Sequence[ReportRow]) -> list[ReportRow]:
    """The rows, `pareto` set on those that no comparable row dominates.

    Comparable rows share the data set and its samples, the machine, the runtime and its version, the kind of
    delegate, the threads, the cores and the tool's flags. A row without a valid latency, a size and an
    accuracy takes no part, nor one whose phone was seen to answer wrongly.
    """
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if is_drawn(row) and row.accuracy.tflite_top1 is not None and not answers_wrongly(row):
            groups[_conditions(row)].append(index)
    best: set[int] = set()
    for members in groups.values():
        kept = undominated([_point(rows[index]) for index in members])
        best.update(members[position] for position in kept)
    return [replace(row, pareto=index in best) for index, row in enumerate(rows)]


def undominated(points: Sequence[Point]) -> list[int]:
    """The positions of the points that no other point dominates, in order; equal points do not dominate.

    A point can only be dominated by one that sorts before it, and then also by an undominated one: one
    pass over the sorted points that compares each with those kept so far.
    """
    kept: list[int] = []
    for position in sorted(range(len(points)), key=lambda position: points[position]):
        if not any(_dominates(points[other], points[position]) for other in kept):
            kept.append(position)
    return sorted(kept)


def _dominates(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _point(row: ReportRow) -> Point:
    assert row.file.size_bytes is not None
    assert row.latency.median_ms is not None
    assert row.accuracy.tflite_top1 is not None
    return row.file.size_bytes, row.latency.median_ms, -row.accuracy.tflite_top1


def _conditions(row: ReportRow) -> tuple[object, ...]:
    return (
        row.accuracy.dataset_fingerprint,
        row.accuracy.split,
        row.accuracy.num_samples,
        row.conditions.where,
        row.conditions.machine,
        row.conditions.runtime,
        row.conditions.runtime_version,
        kind_of_delegate(row.conditions.delegate) if row.conditions.delegate else None,
        row.conditions.num_threads,
        row.conditions.cores,
        row.conditions.extra_flags,
    )

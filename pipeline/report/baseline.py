"""Files compared with a baseline: what became better or worse by more than noise. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

from export.check.paired import CHANCE_P
from export.records import read_record_as
from pipeline.records.measurement import Setting, setting_of
from pipeline.records.report_row import PARTS, ReportRow, is_drawn
from pipeline.sessions import SessionSpread

Verdict = Literal["better", "worse", "same", "unknown"]
SAME_SIZE = 0.005
"""Files whose sizes differ by a smaller share are of one size: padding differs from version to version."""
ASSUMED_SPREAD = 0.25
"""By this share latencies of different sessions may differ, where the spread between them is not known."""


class Paired(Protocol):
    """Two files on the same images, by McNemar's exact test (pipeline.report.confusion.PairedChange)."""

    @property
    def points(self) -> float: ...
    @property
    def p(self) -> float: ...


Pairing = Callable[[ReportRow, ReportRow], Paired | None]
"""The baseline's row and the row: their predictions on the same images; None where these are not kept."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A row and its baseline. None for what is not known."""

    model_name: str
    precision: str | None
    sha256: str
    baseline_name: str
    baseline_sha256: str
    where: str | None
    num_threads: int | None
    size_bytes: int | None
    baseline_size_bytes: int | None
    size: Verdict
    median_ms: float | None
    baseline_median_ms: float | None
    latency_ratio: float | None
    latency: Verdict
    tflite_top1: float | None
    baseline_top1: float | None
    points: float | None
    """Percentage points of top-1 more than the baseline."""
    p: float | None
    """Of that difference, two-sided: McNemar's exact test; of independent samples where no predictions are
    kept."""
    accuracy: Verdict

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of size, latency and accuracy."""
        return self.size, self.latency, self.accuracy


def rows_of_json(text: str) -> list[ReportRow]:
    """The rows that `pipeline report --json` wrote. ValueError if it is no such file."""
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("a list of rows was expected")
    return [_row_of_json(each) for each in found]


def _row_of_json(record: Mapping[str, Any]) -> ReportRow:
    parts: dict[str, Any] = {
        part: read_record_as(
            kind, {each.name: record[each.name] for each in fields(kind) if each.name in record}
        )
        for part, kind in PARTS.items()
    }
    return ReportRow(**parts, pareto=record.get("pareto") is True)


def counterparts(rows: Sequence[ReportRow], baseline: Sequence[ReportRow]) -> list[ReportRow | None]:
    """For each row that of the baseline: of the same model and precision, else the one of this precision.

    A baseline of one file is every row's. Of several settings the row's own is taken.
    """
    return [_counterpart(row, baseline) for row in rows]


def _counterpart(row: ReportRow, baseline: Sequence[ReportRow]) -> ReportRow | None:
    if len({each.file.sha256 for each in baseline}) > 1:
        baseline = [each for each in baseline if each.file.precision == row.file.precision]
        of_model = [each for each in baseline if each.model.model_name == row.model.model_name]
        baseline = of_model or baseline
        if len({each.model.model_name for each in baseline}) > 1:
            return None
    here = [each for each in baseline if _setting(each) == _setting(row)]
    return next(iter(here or baseline), None)


def _setting(row: ReportRow) -> Setting:
    """What two measurements must share to be compared; another version of the runtime may be the change."""
    return replace(setting_of(row.conditions), runtime_version=None)


def change(
    row: ReportRow, before: ReportRow, spreads: Mapping[Setting, SessionSpread], paired: Pairing
) -> Change:
    """The row compared with its baseline. `spreads`: Store.session_spreads()."""
    ratio, latency = _latency(row, before, spreads)
    points, p, accuracy = _accuracy(row, before, paired)
    precision = before.file.precision or ""
    return Change(
        model_name=row.model.model_name,
        precision=row.file.precision,
        sha256=row.file.sha256,
        baseline_name=f"{before.model.model_name} {precision}".strip(),
        baseline_sha256=before.file.sha256,
        where=row.conditions.where,
        num_threads=row.conditions.num_threads,
        size_bytes=row.file.size_bytes,
        baseline_size_bytes=before.file.size_bytes,
        size=_size(row.file.size_bytes, before.file.size_bytes),
        median_ms=row.latency.median_ms,
        baseline_median_ms=before.latency.median_ms,
        latency_ratio=ratio,
        latency=latency,
        tflite_top1=row.accuracy.tflite_top1,
        baseline_top1=before.accuracy.tflite_top1,
        points=points,
        p=p,
        accuracy=accuracy,
    )


def _size(now: int | None, before: int | None) -> Verdict:
    if now is None or not before:
        return "unknown"
    if abs(now - before) <= SAME_SIZE * before:
        return "same"
    return "better" if now < before else "worse"


def _latency(
    row: ReportRow, before: ReportRow, spreads: Mapping[Setting, SessionSpread]
) -> tuple[float | None, Verdict]:
    one, other = row.latency, before.latency
    if _setting(row) != _setting(before) or not (is_drawn(row) and is_drawn(before)):
        return None, "unknown"
    if not one.median_ms or not other.median_ms:
        return None, "unknown"
    if row.file.sha256 == before.file.sha256 and one.measured_utc == other.measured_utc:
        return 1.0, "same"
    noises = [
        ASSUMED_SPREAD if each.noise_ms is None else each.noise_ms / each.median_ms
        for each in (one, other)
        if each.median_ms
    ]
    between = 0.0
    if one.session is None or one.session != other.session:
        spread = spreads.get(setting_of(row.conditions))
        between = ASSUMED_SPREAD if spread is None else spread.log_half_width
    ratio = one.median_ms / other.median_ms
    if abs(math.log(ratio)) <= math.hypot(between, *noises):
        return ratio, "same"
    return ratio, "better" if ratio < 1 else "worse"


def _accuracy(
    row: ReportRow, before: ReportRow, paired: Pairing
) -> tuple[float | None, float | None, Verdict]:
    one, other = row.accuracy, before.accuracy
    images = [(each.dataset_fingerprint, each.split, each.num_samples) for each in (one, other)]
    if one.tflite_top1 is None or other.tflite_top1 is None or images[0] != images[1]:
        return None, None, "unknown"
    found = paired(before, row)
    points = one.tflite_top1 - other.tflite_top1 if found is None else found.points
    p = _independent_p(one.tflite_top1, other.tflite_top1, one.num_samples or 0) if found is None else found.p
    if p >= CHANCE_P:
        return points, p, "same"
    return points, p, "better" if points > 0 else "worse"


def _independent_p(percent: float, other: float, num_samples: int) -> float:
    """The two-sided p of two shares of as many images, taken as independent samples."""
    one, two = percent / 100, other / 100
    pooled = (one + two) / 2
    variance = 2 * pooled * (1 - pooled) / num_samples if num_samples else 0.0
    if variance <= 0:
        return 1.0
    return math.erfc(abs(one - two) / math.sqrt(2 * variance))

"""The baseline of each measured file: the float32 file of its model, else the file named first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export.artifact import read_sidecar
from export.errors import BadModelFileError
from export.precisions import Precision
from pipeline.bench.host import MeasuredFile
from pipeline.bench.statistics import Comparison, compare
from pipeline.records.measurement import Measurement, Setting, kind_of_delegate, setting_of
from pipeline.sessions import SessionSpread


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of a file, from its sidecar."""

    parent_sha256: str
    precision: Precision


@dataclass(frozen=True, kw_only=True)
class Against:
    """A measured file's comparison with its baseline."""

    baseline: MeasuredFile
    is_float32: bool
    """Whether the baseline is the float32 file of the same model, and the measured file is not one too."""
    comparison: Comparison


Spreads = Mapping[Setting, SessionSpread]
"""The spread between sessions, for each setting measured in several."""


def against_baselines(measured: Sequence[MeasuredFile], spreads: Spreads) -> list[Against | None]:
    """Each file compared with the valid float32 file of its model, else with the first valid file.

    Only files with the same kind of delegate and number of threads are compared. None for a baseline itself
    and for a file that is not valid.
    """
    origins = origins_of([each.measurement for each in measured])
    return [_against(each, measured, origins, spreads) for each in measured]


def origins_of(measurements: Sequence[Measurement]) -> dict[str, Origin]:
    """The origins, by sha256, of the files that have their own sidecar beside them."""
    found = {}
    for each in measurements:
        try:
            artifact = read_sidecar(Path(each.path))
        except (FileNotFoundError, BadModelFileError):
            continue
        if artifact.sha256 == each.artifact_sha256:
            found[each.artifact_sha256] = Origin(
                parent_sha256=artifact.parent_sha256, precision=artifact.precision
            )
    return found


def same_setting(one: Measurement, other: Measurement) -> bool:
    """Whether two files ran with the same kind of delegate and number of threads."""
    return (kind_of_delegate(one.delegate), one.num_threads) == (
        kind_of_delegate(other.delegate),
        other.num_threads,
    )


def compare_measured(ours: MeasuredFile, other: MeasuredFile, spreads: Spreads) -> Comparison | None:
    """The ratio of two files' latencies; None without rounds of both.

    Rounds measured in turns are paired. Without such rounds, the interval includes the spread between
    sessions, and there is no verdict if the spread is unknown.
    """
    sessions = ours.measurement.round_sessions, other.measurement.round_sessions
    rounds = zip(ours.round_medians_ms, other.round_medians_ms, *sessions, strict=False)
    pairs = [(a, b) for a, b, session, other_session in rounds if session and session == other_session]
    if pairs:
        return compare([a for a, _ in pairs], [b for _, b in pairs])
    return _across_sessions(ours.measurement, other.measurement, spreads.get(setting_of(ours.measurement)))


def _across_sessions(
    ours: Measurement, other: Measurement, spread: SessionSpread | None
) -> Comparison | None:
    if not ours.median_ms or not other.median_ms:
        return None
    ratio = ours.median_ms / other.median_ms
    if spread is None or ours.noise_ms is None or other.noise_ms is None:
        return Comparison(ratio=ratio, low=None, high=None, larger_than_noise=None, in_turns=False)
    noise = ours.noise_ms / ours.median_ms, other.noise_ms / other.median_ms
    factor = math.exp(math.hypot(spread.log_half_width, *noise))
    return Comparison(
        ratio=ratio,
        low=ratio / factor,
        high=ratio * factor,
        larger_than_noise=not ratio / factor <= 1 <= ratio * factor,
        in_turns=False,
    )


def _against(
    ours: MeasuredFile,
    measured: Sequence[MeasuredFile],
    origins: Mapping[str, Origin],
    spreads: Spreads,
) -> Against | None:
    if not ours.measurement.valid:
        return None
    rivals = [
        each
        for each in measured
        if each.measurement.valid and same_setting(each.measurement, ours.measurement)
    ]
    origin, *rival_origins = (origins.get(each.measurement.artifact_sha256) for each in (ours, *rivals))
    floats = [
        each
        for each, other in zip(rivals, rival_origins, strict=True)
        if origin is not None and other == replace(origin, precision=Precision.FLOAT32)
    ]
    baseline = (floats or rivals)[0]
    comparison = None if baseline is ours else compare_measured(ours, baseline, spreads)
    if comparison is None:
        return None
    is_float32 = bool(floats) and all(each is not ours for each in floats)
    return Against(baseline=baseline, is_float32=is_float32, comparison=comparison)

"""Latency on phones: each phone's jobs, and the measurement over their rounds.

Each round is one process of benchmark_model, which prints a median but not its single runs. A measurement's
median is the median of the rounds' medians, p5 and p95 likewise; average and deviation are exact over all
runs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import median

from android_bench.delegates import LITERT, delegate_named, part_taken
from android_bench.matrix import Job, PhonePlan
from android_bench.phone.adb import Phone
from android_bench.phone.device import DeviceInfo, affinity_mask
from android_bench.phone.session import LocalFile
from android_bench.reasons import Reason
from android_bench.tool.runner import RunOutcome, RunRequest
from export.tflite.inspect import inspect
from pipeline.bench.host import MeasuredFile
from pipeline.bench.settings import HOST_ONLY, BenchSettings, PhoneSettings, share_of_runs
from pipeline.bench.statistics import drift, noise_ms
from pipeline.records.measurement import XNNPACK, Measurement, in_part
from spelling import counted

COUNTING_SECS = 0.4
"""Minimum length in seconds of a first round with several threads, which are counted in it."""


@dataclass(frozen=True, kw_only=True)
class PhoneRound:
    """The result of one round, stored until the measurement is complete."""

    num_runs: int
    warmup_runs: int
    median_ms: float | None
    avg_ms: float
    std_ms: float | None
    min_ms: float | None
    max_ms: float | None
    p5_ms: float | None
    p95_ms: float | None
    first_ms: float | None
    init_ms: float | None
    memory_bytes: int | None
    tool_kind: str
    has_xnnpack: bool
    celsius: float | None
    """The last temperature reading."""
    reasons: tuple[str, ...]
    part_taken: str | None = None
    """The part of the graph that the delegate took, if not all of it: '294 of 295 nodes'."""
    session: str = ""
    """The call in which it was measured; empty for a round stored by an older version."""


@dataclass
class PhoneSeries:
    """One file with one setting on one phone, and its rounds so far."""

    model: LocalFile
    size_bytes: int
    info: DeviceInfo
    tool: LocalFile
    num_threads: int
    delegate: str
    bench: BenchSettings
    settings: PhoneSettings
    max_celsius: float
    """Figures of a warmer phone are not valid."""
    rounds: dict[int, PhoneRound] = field(default_factory=dict)
    failure: str | None = None

    @property
    def file(self) -> Path:
        """The .tflite file on this machine."""
        return self.model.path

    @property
    def label(self) -> str:
        """Its name in the live table."""
        return f"{self.file.stem}, {self.delegate}, {self.num_threads} thread{'s' * (self.num_threads > 1)}"

    @cached_property
    def key(self) -> str:
        """A key of artifact, phone, tool and settings."""
        bench = asdict(self.bench) | {"num_threads": self.num_threads}
        named = {
            "artifact": self.model.sha256,
            "phone": self.info.serial_hash,
            "build": self.info.machine,
            "tool": self.tool.sha256,
            "delegate": self.delegate,
            "cores": self.settings.cores,
            "max_celsius": self.max_celsius,
            "max_drift": self.settings.max_drift,
            "extra_flags": self.settings.extra_flags,
            **{name: value for name, value in bench.items() if name not in HOST_ONLY},
        }
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    @property
    def num_rounds(self) -> int:
        """The number of requested rounds."""
        return self.bench.rounds

    @property
    def is_over(self) -> bool:
        """Whether all rounds are done, or it has failed."""
        spoilt = any(each.reasons for each in self.rounds.values())
        return self.failure is not None or spoilt or len(self.rounds) == self.num_rounds

    def take(
        self, round_index: int, outcome: RunOutcome, celsius: float | None, *, session: str
    ) -> PhoneRound | None:
        """Adds a round; returns what to store of it, None for a failed one."""
        if outcome.report is None:
            self.failure = outcome.failure
            return None
        found = _round_of(outcome, self.delegate, celsius)
        self.rounds[round_index] = replace(found, session=session)
        return self.rounds[round_index]

    def resume(self, kept: Mapping[int, Mapping[str, object]]) -> None:
        """Adds the stored rounds of an earlier call."""
        for index, record in kept.items():
            if index < self.num_rounds and not record["reasons"]:
                self.rounds[index] = PhoneRound(**{**record, "reasons": ()})  # type: ignore[arg-type]

    def job(self) -> Job:
        """The job that remains for the phone. DeviceError for cores that the phone does not have."""
        mask = affinity_mask(self.info, self.settings.cores, num_threads=self.num_threads)
        requests = tuple(self._request(index, mask) for index in range(self.num_rounds))
        return Job(key=self.key, label=self.label, rounds=requests, done=frozenset(self.rounds))

    def measured(self) -> MeasuredFile:
        """The measurement over all rounds."""
        found = [self.rounds[index] for index in sorted(self.rounds)]
        medians = tuple(each.median_ms for each in found if each.median_ms is not None)
        medians = medians if len(medians) == len(found) else ()
        reasons = self._reasons(found, medians)
        first = self.rounds.get(0)
        kind = found[0].tool_kind if found else ""
        measurement = Measurement(
            artifact_sha256=self.model.sha256,
            path=str(self.file),
            where=self.info.where,
            machine=self.info.machine,
            runtime="benchmark_model v2" if kind == LITERT else "benchmark_model",
            runtime_version=f"sha256 {self.tool.sha256[:12]}",
            delegate=self._delegate(found),
            num_threads=self.num_threads,
            warmup_runs=sum(each.warmup_runs for each in found),
            num_runs=sum(each.num_runs for each in found),
            num_rounds=len(found),
            median_ms=median(medians) if medians else None,
            **_spread(found),
            first_ms=first.first_ms if first else None,
            init_ms=first.init_ms if first else None,
            warm_init_ms=_median(each.init_ms for index, each in self.rounds.items() if index > 0),
            peak_memory_bytes=max((each.memory_bytes or 0 for each in found), default=0) or None,
            noise_ms=noise_ms(medians),
            valid=not reasons,
            reasons=reasons,
            measured_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            cores=self.settings.cores,
            extra_flags=self.settings.extra_flags,
            tool_sha256=self.tool.sha256,
            series=self.key,
            round_medians_ms=medians,
            round_sessions=tuple(each.session for each in found),
        )
        return MeasuredFile(measurement=measurement, round_medians_ms=medians, size_bytes=self.size_bytes)

    def _request(self, round_index: int, mask: int | None) -> RunRequest:
        bench = self.bench
        on_cpu = not delegate_named(self.delegate).off_cpu
        watch = round_index == 0 and self.num_threads > 1 and on_cpu
        return RunRequest(
            model=self.model,
            size_bytes=self.size_bytes,
            num_threads=self.num_threads,
            delegate=self.delegate,
            mask=mask,
            num_runs=max(1, share_of_runs(bench, round_index)),
            min_secs=max(bench.min_secs / bench.rounds, COUNTING_SECS if watch else 0.0),
            max_secs=bench.max_secs / bench.rounds,
            warmup_runs=bench.warmup_runs,
            warmup_min_secs=bench.warmup_min_secs,
            extra_flags=self.settings.extra_flags,
            watch_threads=watch,
            patience_secs=bench.patience_secs,
        )

    def _reasons(self, found: Sequence[PhoneRound], medians: Sequence[float]) -> tuple[str, ...]:
        if self.failure is not None:
            return (self.failure,)
        reasons = [reason for each in found for reason in each.reasons]
        rise = drift(medians or [each.avg_ms for each in found])
        if rise is not None and rise > 1 + self.settings.max_drift:
            reasons.append(Reason.SLOWED.text(rise=f"{rise - 1:.0%}"))
        if not reasons and len(found) < self.num_rounds:
            reasons.append(Reason.STOPPED.text(done=len(found), rounds=counted(self.num_rounds, "round")))
        return tuple(dict.fromkeys(reasons))

    def _delegate(self, found: Sequence[PhoneRound]) -> str:
        if not delegate_named(self.delegate).off_cpu and any(each.has_xnnpack for each in found):
            return XNNPACK
        parts = dict.fromkeys(each.part_taken for each in found if each.part_taken)
        return in_part(self.delegate, " or ".join(parts)) if parts else self.delegate


def plan_series(
    models: Sequence[LocalFile],
    info: DeviceInfo,
    tool: LocalFile,
    bench: BenchSettings,
    settings: PhoneSettings,
    *,
    max_celsius: float,
) -> list[PhoneSeries]:
    """All files with the first delegate and the first number of threads, then with the next.

    Of files with the same content only the first is measured.
    BadModelFileError for an incomplete .tflite file, before anything is measured.
    """
    series = [
        PhoneSeries(
            model=model,
            size_bytes=model.path.stat().st_size,
            info=info,
            tool=tool,
            num_threads=num_threads,
            delegate=delegate,
            bench=bench,
            settings=settings,
            max_celsius=max_celsius,
        )
        for delegate in settings.delegates
        for num_threads in bench.num_threads
        for model in models
    ]
    return list({each.key: each for each in reversed(series)}.values())[::-1]


def local_file(file: Path) -> LocalFile:
    """A .tflite file to put on phones. BadModelFileError for an incomplete one."""
    return LocalFile(path=file, sha256=inspect(file).sha256)


def plan_phone(phone: Phone, series: Sequence[PhoneSeries], missing: Sequence[PhoneSeries]) -> PhonePlan:
    """The phone's jobs: those of all its series that are missing."""
    jobs = tuple(each.job() for each in missing)
    return PhonePlan(phone=phone, info=series[0].info, tool=series[0].tool, jobs=jobs)


def _round_of(outcome: RunOutcome, delegate: str, celsius: float | None) -> PhoneRound:
    report = outcome.report
    assert report is not None
    timed = report.timed
    assert timed.count and timed.avg_ms is not None  # noqa: PT018 - an outcome without them is a failure
    return PhoneRound(
        num_runs=timed.count,
        warmup_runs=(report.warmup.count or 0) if report.warmup else 0,
        median_ms=timed.median_ms,
        avg_ms=timed.avg_ms,
        std_ms=timed.std_ms,
        min_ms=timed.min_ms,
        max_ms=timed.max_ms,
        p5_ms=timed.p5_ms,
        p95_ms=timed.p95_ms,
        first_ms=report.first_ms,
        init_ms=report.init_ms,
        memory_bytes=report.peak_memory_bytes or report.overall_memory_bytes,
        tool_kind=report.tool,
        has_xnnpack=any(each.kind == "xnnpack" for each in report.delegations),
        celsius=celsius,
        reasons=outcome.reasons,
        part_taken=part_taken(report.delegations, delegate),
    )


def _spread(found: Sequence[PhoneRound]) -> dict[str, float | None]:
    """Average, deviation, minimum and maximum over the runs of all rounds."""
    if not found:
        return dict.fromkeys(("avg_ms", "std_ms", "min_ms", "max_ms", "p5_ms", "p95_ms"))
    total = sum(each.num_runs for each in found)
    average = sum(each.num_runs * each.avg_ms for each in found) / total
    squares = [each.num_runs * (each.std_ms**2 + each.avg_ms**2) for each in found if each.std_ms is not None]
    whole = len(squares) == len(found)
    return {
        "avg_ms": average,
        "std_ms": math.sqrt(max(0.0, sum(squares) / total - average**2)) if whole else None,
        "min_ms": min((each.min_ms for each in found if each.min_ms is not None), default=None),
        "max_ms": max((each.max_ms for each in found if each.max_ms is not None), default=None),
        "p5_ms": _median(each.p5_ms for each in found),
        "p95_ms": _median(each.p95_ms for each in found),
    }


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None

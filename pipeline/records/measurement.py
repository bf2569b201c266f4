"""One measurement, on the host or on a phone. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.records.report_row import ReportedConditions

XNNPACK = "cpu with XNNPACK"
"""The delegate of a run in which XNNPACK took operators on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The latency of one file on one machine with one setting. Missing figures are None, never 0."""

    artifact_sha256: str
    path: str
    where: str
    """'host' or the phone's name."""
    machine: str
    """The processor's or the phone's model."""
    runtime: str
    """litert, tflite-runtime, tensorflow, or benchmark_model."""
    runtime_version: str
    delegate: str
    """cpu (with XNNPACK if the runtime has it), gpu, or 'gpu (294 of 295 nodes)' if it took a part."""
    num_threads: int
    warmup_runs: int
    """Runs that were not timed, over all rounds."""
    num_runs: int
    """Runs that were timed; min_secs may ask for more than --num-runs."""
    num_rounds: int
    """Interleaved rounds that the runs were spread over."""
    median_ms: float | None
    avg_ms: float | None
    std_ms: float | None
    min_ms: float | None
    max_ms: float | None
    p5_ms: float | None
    p95_ms: float | None
    first_ms: float | None
    """The first inference after initialisation, warm-up included."""
    init_ms: float | None
    """Reading the file to allocated tensors."""
    peak_memory_bytes: int | None
    """Growth of the process's peak resident memory from before the file was read."""
    noise_ms: float | None
    """Half the 95% confidence interval of the median over the rounds; a smaller difference is noise."""
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid; empty when it is."""
    measured_utc: str
    cores: str = "all"
    """The CPUs it was pinned to: big, little, all, or a mask in hexadecimal."""
    extra_flags: tuple[str, ...] = ()
    """Additional flags of benchmark_model."""
    warm_init_ms: float | None = None
    """Median initialisation of the later rounds; init_ms is the first round's, cold."""
    tool_sha256: str | None = None
    """Of the benchmark_model binary; None on the host."""
    series: str | None = None
    """Key of artifact, phone, tool and settings; a series is not measured twice."""
    round_medians_ms: tuple[float, ...] = ()
    """For comparison with another file, round by round."""
    round_sessions: tuple[str, ...] = ()
    """The session (a call of `pipeline bench`) of each round; only files of one session took turns."""
    others_cpus: float | None = None
    """As many CPUs of this machine as other programs used meanwhile; median over the rounds."""
    wait_share: float | None = None
    """The share of the time for which they let a thread wait for a CPU; median over the rounds."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The conditions that a latency depends on besides the file; different settings are never compared."""

    where: str | None
    machine: str | None
    runtime: str | None
    runtime_version: str | None
    delegate: str | None
    """Its kind."""
    num_threads: int | None
    cores: str | None
    extra_flags: tuple[str, ...]


def setting_of(measured: Measurement | ReportedConditions) -> Setting:
    """The setting of a measurement, or of a report's row of it."""
    return Setting(
        where=measured.where,
        machine=measured.machine,
        runtime=measured.runtime,
        runtime_version=measured.runtime_version,
        delegate=kind_of_delegate(measured.delegate) if measured.delegate else None,
        num_threads=measured.num_threads,
        cores=measured.cores,
        extra_flags=measured.extra_flags,
    )


def kind_of_delegate(delegate: str) -> str:
    """The kind under which latencies are ranked together: cpu, gpu, 'gpu in part'.

    XNNPACK on the CPU is not a separate kind: whether it took operators is a result, not a setting.
    """
    word, _, rest = delegate.partition(" ")
    return f"{word} in part" if rest.startswith("(") else word


def in_part(delegate: str, part: str) -> str:
    """The delegate's name for a run in which it took this part, such as '294 of 295 nodes'."""
    return f"{delegate} ({part})"


def part_of(delegate: str) -> str | None:
    """The part of the graph that the delegate took; None for all of it."""
    _, found, rest = delegate.partition(" (")
    return rest.removesuffix(")") if found else None


def measurement_from_record(record: dict[str, Any]) -> Measurement:
    """A Measurement from its JSON, of this version or an older one."""
    names = ("reasons", "extra_flags", "round_medians_ms", "round_sessions")
    lists = {name: tuple(record.get(name, ())) for name in names}
    return Measurement(**{**record, **lists})

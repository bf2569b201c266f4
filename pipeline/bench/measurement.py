"""One measurement, on the host or on a phone. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


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
    """cpu (with XNNPACK where the runtime has it), gpu, nnapi."""
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

"""What a report knows of one exported file under one setting. Standard library only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.records.phone_verification import MIN_AGREEMENT


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """An exported file and its newest valid measurement on one machine with one setting.

    None is "not measured" (or, of the model's own figures, not known): never 0, never another file's.
    """

    model_name: str
    family: str | None
    """None for a model from elsewhere."""
    alpha: float | None
    """The width multiplier of the families that have one."""
    knobs: dict[str, Any] = field(default_factory=dict)
    image_size: int | None
    """Height of the input in pixels."""
    precision: str | None
    """None for a file without a sidecar."""
    size_bytes: int | None
    downloaded_bytes: int | None
    """Compressed as app stores send it; None for a file without a sidecar."""
    parameters: int | None
    macs: int | None
    """Multiply-accumulates of one image."""
    keras_top1: float | None
    """Percent: the verification's; without one, what the training found on its test split."""
    tflite_top1: float | None
    """Percent, of the exported file itself."""
    drop_points: float | None
    """keras_top1 less tflite_top1, percentage points."""
    agreement: float | None
    """Percent of samples on which both give the same label."""
    dataset: str | None
    dataset_fingerprint: str | None
    """SHA-256 over all images and their splits: two folders may have one name."""
    split: str | None
    num_samples: int | None
    """Samples that the accuracy was measured on; the verification on the most of them counts."""
    verified_utc: str | None
    median_ms: float | None
    p5_ms: float | None
    p95_ms: float | None
    noise_ms: float | None
    first_ms: float | None
    init_ms: float | None
    peak_memory_bytes: int | None
    num_runs: int | None
    num_threads: int | None
    cores: str | None
    """The CPUs it was pinned to: big, little, all, or a mask in hexadecimal."""
    extra_flags: tuple[str, ...]
    """What benchmark_model was given beside its usual flags."""
    runtime: str | None
    runtime_version: str | None
    delegate: str | None
    machine: str | None
    where: str | None
    """'host' or the phone's name."""
    measured_utc: str | None
    valid: bool | None
    """Of the measurement; None where there is none."""
    reasons: tuple[str, ...]
    """Why the measurement is not valid."""
    phone_top1: float | None
    """Percent, of the file on this very phone with this delegate."""
    phone_agreement: float | None
    """Percent of those samples on which the phone gives the label that the host gives."""
    phone_samples: int | None
    sha256: str
    parent_sha256: str | None
    """Of the Keras model file that was converted."""
    run: str | None
    """The run that trained that model, where it is known."""
    path: str | None
    pareto: bool
    """No comparable file is as small, as fast and as accurate, and better in one of the three."""


def row_as_json(row: ReportRow) -> dict[str, Any]:
    """The row as JSON holds it."""
    return asdict(row)


def answers_wrongly(row: ReportRow) -> bool:
    """Whether the phone was seen to give other labels than the host: its latency is that of wrong answers."""
    return row.phone_agreement is not None and row.phone_agreement < MIN_AGREEMENT


def is_drawn(row: ReportRow) -> bool:
    """Whether the row has a latency that may be ranked."""
    return row.valid is True and row.median_ms is not None and row.size_bytes is not None

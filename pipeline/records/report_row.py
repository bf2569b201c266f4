"""A report's figures of one exported file under one setting. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline.records.phone_verification import MIN_AGREEMENT


@dataclass(frozen=True, kw_only=True)
class ReportedModel:
    """The model that a file was made from."""

    model_name: str
    family: str | None
    """None for a model from elsewhere."""
    alpha: float | None
    """The width multiplier of the families that have one."""
    knobs: dict[str, Any]
    image_size: int | None
    """Height of the input in pixels."""
    image_width: int | None
    image_channels: int | None
    """3 is RGB, 1 is grey."""
    parameters: int | None
    macs: int | None
    """Multiply-accumulates of one image."""


@dataclass(frozen=True, kw_only=True)
class ReportedFile:
    """The file and its origin."""

    precision: str | None
    """None for a file without a sidecar."""
    size_bytes: int | None
    downloaded_bytes: int | None
    """Compressed as app stores send it; None for a file without a sidecar."""
    sha256: str
    parent_sha256: str | None
    """Of the Keras model file that was converted."""
    run: str | None
    """The run that trained that model, where it is known."""
    path: str | None


@dataclass(frozen=True, kw_only=True)
class ReportedAccuracy:
    """The file compared with its Keras model, on the images of one split."""

    keras_top1: float | None
    """Percent, from the verification, else from the training's test split."""
    tflite_top1: float | None
    """Percent, of the exported file itself."""
    tflite_top1_low: float | None
    """The lower end of its 95% interval (Wilson), of this number of samples."""
    tflite_top1_high: float | None
    drop_points: float | None
    """keras_top1 less tflite_top1, percentage points."""
    drop_p: float | None
    """McNemar's exact p of that difference, two-sided; None where it is not known."""
    agreement: float | None
    """Percent of samples on which both give the same label."""
    keras_average_precision: float | None
    """Percent: mean over the labels of several sigmoids, which have no top-1; None for classes."""
    tflite_average_precision: float | None
    dataset: str | None
    dataset_fingerprint: str | None
    """SHA-256 over all images and their splits: two folders may have one name."""
    split: str | None
    num_samples: int | None
    """Samples that the accuracy was measured on; the verification with the most is used."""
    verified_utc: str | None


@dataclass(frozen=True, kw_only=True)
class ReportedLatency:
    """The file's newest valid measurement on one machine with one setting."""

    median_ms: float | None
    avg_ms: float | None
    """Shown where there is no median: versions of benchmark_model before 2023 print none."""
    p5_ms: float | None
    p95_ms: float | None
    noise_ms: float | None
    first_ms: float | None
    init_ms: float | None
    peak_memory_bytes: int | None
    num_runs: int | None
    measured_utc: str | None
    valid: bool | None
    """None where there is no measurement."""
    reasons: tuple[str, ...]
    """Why it is not valid."""
    session: str | None
    """The call of `pipeline bench` in which all of its rounds were measured, where there is one."""


@dataclass(frozen=True, kw_only=True)
class ReportedConditions:
    """Where and how the latency was measured."""

    num_threads: int | None
    cores: str | None
    """The CPUs it was pinned to: big, little, all, or a mask in hexadecimal."""
    extra_flags: tuple[str, ...]
    """Additional flags of benchmark_model."""
    runtime: str | None
    runtime_version: str | None
    delegate: str | None
    machine: str | None
    where: str | None
    """'host' or the phone's name."""


@dataclass(frozen=True, kw_only=True)
class ReportedAnswers:
    """The file's labels on this phone with this delegate."""

    phone_top1: float | None
    """Percent."""
    phone_average_precision: float | None
    """Percent; None for classes."""
    phone_agreement: float | None
    """Percent of those samples on which the phone gives the label that the host gives."""
    phone_samples: int | None


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """An exported file under one setting.

    None means "not measured" (for the model's figures: unknown), never 0 or another file's figure.
    """

    model: ReportedModel
    file: ReportedFile
    accuracy: ReportedAccuracy
    latency: ReportedLatency
    conditions: ReportedConditions
    answers: ReportedAnswers
    pareto: bool
    """No comparable file is as small and, within the noise, as fast and as accurate (store.pareto)."""


PARTS = {
    "model": ReportedModel,
    "file": ReportedFile,
    "accuracy": ReportedAccuracy,
    "latency": ReportedLatency,
    "conditions": ReportedConditions,
    "answers": ReportedAnswers,
}
PART_OF = {field.name: part for part, kind in PARTS.items() for field in fields(kind)}
"""Figure -> the part of a row that holds it."""
COLUMNS = (
    "model_name", "family", "alpha", "knobs", "image_size", "image_width", "image_channels",
    "precision", "size_bytes", "downloaded_bytes",
    "parameters", "macs", "keras_top1", "tflite_top1", "tflite_top1_low", "tflite_top1_high",
    "drop_points", "drop_p", "agreement",
    "keras_average_precision", "tflite_average_precision", "dataset",
    "dataset_fingerprint", "split", "num_samples", "verified_utc", "median_ms", "avg_ms", "p5_ms", "p95_ms",
    "noise_ms", "first_ms", "init_ms", "peak_memory_bytes", "num_runs", "num_threads", "cores",
    "extra_flags", "runtime", "runtime_version", "delegate", "machine", "where", "measured_utc", "valid",
    "reasons", "phone_top1", "phone_average_precision", "phone_agreement", "phone_samples",
    "sha256", "parent_sha256", "run", "path", "pareto", "session",
)  # fmt: skip
"""A row's figures in the order of `pipeline report --json` and of its CSV."""


def row_of(figures: Mapping[str, Any]) -> ReportRow:
    """The row with these figures, one for each of COLUMNS."""
    parts = {
        part: kind(**{field.name: figures[field.name] for field in fields(kind)})
        for part, kind in PARTS.items()
    }
    return ReportRow(**parts, pareto=figures["pareto"])


def row_as_json(row: ReportRow) -> dict[str, Any]:
    """The row's figures by COLUMNS, for JSON."""
    return {name: getattr(getattr(row, PART_OF[name]) if name in PART_OF else row, name) for name in COLUMNS}


def answers_wrongly(row: ReportRow) -> bool:
    """Whether the phone gave other labels than the host, so that its latency must not be ranked."""
    agreement = row.answers.phone_agreement
    return agreement is not None and agreement < MIN_AGREEMENT


def is_drawn(row: ReportRow) -> bool:
    """Whether the row has a latency that may be ranked."""
    latency = row.latency
    return latency.valid is True and latency.median_ms is not None and row.file.size_bytes is not None

"""Records as the other stages write them, with plausible, distinct values."""

from __future__ import annotations

import hashlib
from typing import Any

from export.artifact import ExportArtifact, OperatorUse, Precision, TensorInfo
from export.verification import LayerError, Verification
from pipeline.bench.measurement import Measurement
from pipeline.training.config import TrainConfig, TrainRecord


def sha256(text: str) -> str:
    """A checksum that is the text's own."""
    return hashlib.sha256(text.encode()).hexdigest()


def train_record(run: str = "20261123-1", **changes: Any) -> TrainRecord:
    """A finished training of MobileNet alpha 0.5 on a folder of photos."""
    model_name = changes.get("model_name", "mobilenet_alpha0.5_160")
    values: dict[str, Any] = {
        "run": run,
        "model_name": model_name,
        "model_sha256": sha256(f"{run}/model.keras"),
        "config": TrainConfig(family="mobilenet", knobs={"alpha": 0.5, "image_size": 160}, data="photos"),
        "dataset": "photos",
        "dataset_fingerprint": sha256("photos"),
        "class_names": ("cat", "dog"),
        "num_train": 800,
        "num_validation": 100,
        "num_test": 101,
        "parameters": 831_234,
        "macs": 76_543_210,
        "train_top1": 99.1,
        "validation_top1": 95.2,
        "test_top1": 94.3,
        "best_epoch": 11,
        "epochs_run": 12,
        "seconds": 345.6,
        "versions": {"keras": "3.15.0"},
        "started_utc": "2026-11-23T10:00:00+00:00",
        "finished_utc": "2026-11-23T10:05:46+00:00",
    }
    return TrainRecord(**{**values, **changes})


def export_artifact(
    parent_sha256: str | None = None, precision: Precision = Precision.INT8, **changes: Any
) -> ExportArtifact:
    """A file exported from that model."""
    parent_sha256 = parent_sha256 or train_record().model_sha256
    model_name = changes.get("model_name", "mobilenet_alpha0.5_160")
    values: dict[str, Any] = {
        "path": f"{model_name}_{precision}.tflite",
        "sha256": sha256(f"{parent_sha256}/{model_name}/{precision}"),
        "size_bytes": 1_012_345 if precision is Precision.INT8 else 3_987_654,
        "precision": precision,
        "parent_sha256": parent_sha256,
        "model_name": model_name,
        "family": "mobilenet",
        "knobs": {"alpha": 0.5, "image_size": 160},
        "input": TensorInfo(name="pixels", shape=(1, 160, 160, 3), dtype="int8", scale=1.0, zero_point=-128),
        "output": TensorInfo(name="classes", shape=(1, 2), dtype="int8", scale=1 / 256, zero_point=-128),
        "pixels": "raw 0-255 RGB as int8: pixel - 128",
        "class_names": ("cat", "dog"),
        "operators": (OperatorUse(name="CONV_2D", version=3, count=14),),
        "float_operators": (),
        "min_runtime_version": "1.14.0",
        "tflite_runtime_loads": True,
        "dataset": "photos",
        "versions": {"tensorflow": "2.21.0"},
        "created_utc": "2026-11-23T10:06:00+00:00",
    }
    return ExportArtifact(**{**values, **changes})


def verification(artifact_sha256: str | None = None, **changes: Any) -> Verification:
    """The file beside its model on 101 photos."""
    values: dict[str, Any] = {
        "artifact_sha256": artifact_sha256 or export_artifact().sha256,
        "dataset": "photos",
        "split": "test",
        "num_samples": 101,
        "keras_top1": 94.4,
        "tflite_top1": 93.9,
        "drop_points": 0.5,
        "agreement": 98.7,
        "max_abs_difference": 0.0431,
        "worst_layer": "conv_dw_3",
        "layers": (LayerError(layer="conv_dw_3", relative_error=0.08, growth=0.05),),
        "runtime": "litert",
        "runtime_version": "2.3.0",
        "seconds": 1.7,
        "verified_utc": "2026-11-23T10:07:00+00:00",
    }
    return Verification(**{**values, **changes})


def measurement(artifact_sha256: str | None = None, **changes: Any) -> Measurement:
    """The file's latency with one thread on a host."""
    values: dict[str, Any] = {
        "artifact_sha256": artifact_sha256 or export_artifact().sha256,
        "path": "runs/20261123-1/export/mobilenet_alpha0.5_160_int8.tflite",
        "where": "host",
        "machine": "Xeon 8481C",
        "runtime": "litert",
        "runtime_version": "2.3.0",
        "delegate": "cpu",
        "num_threads": 1,
        "warmup_runs": 1,
        "num_runs": 500,
        "num_rounds": 5,
        "median_ms": 1.234,
        "avg_ms": 1.25,
        "std_ms": 0.03,
        "min_ms": 1.2,
        "max_ms": 1.9,
        "p5_ms": 1.21,
        "p95_ms": 1.31,
        "first_ms": 2.5,
        "init_ms": 3.5,
        "peak_memory_bytes": 9_437_184,
        "noise_ms": 0.004,
        "valid": True,
        "reasons": (),
        "measured_utc": "2026-11-23T10:08:00+00:00",
    }
    return Measurement(**{**values, **changes})

"""Records as the other stages write them, with plausible, distinct values."""

from __future__ import annotations

import hashlib
from typing import Any

from export.artifact import ExportArtifact, OperatorUse, TensorInfo
from export.check.predictions import Predictions
from export.precisions import Precision
from export.settings import ExportSettings
from export.verification import LayerError, Verification
from pipeline.records.measurement import Measurement
from pipeline.records.phone_verification import PhoneVerification
from pipeline.records.report_row import ReportRow, row_as_json, row_of
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.store.predictions import KeptPredictions


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
        "downloaded_bytes": 923_456 if precision is Precision.INT8 else 3_654_321,
        "settings": ExportSettings(precision),
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
        "tensor_names": ("pixels", "conv1", "classes"),
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
        "path": "runs/20261123-1/export/mobilenet_alpha0.5_160_int8.tflite",
        "dataset": "photos",
        "dataset_fingerprint": sha256("photos"),
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


def phone_verification(artifact_sha256: str | None = None, **changes: Any) -> PhoneVerification:
    """The file on a phone's GPU, on 50 photos."""
    values: dict[str, Any] = {
        "artifact_sha256": artifact_sha256 or export_artifact().sha256,
        "path": "runs/20261123-1/export/mobilenet_alpha0.5_160_int8.tflite",
        "where": "Google Pixel 7 1a2b3c4d",
        "machine": "Google GS201, Android 14",
        "delegate": "gpu",
        "tool_sha256": sha256("benchmark_model"),
        "dataset": "photos",
        "dataset_fingerprint": sha256("photos"),
        "split": "test",
        "num_samples": 50,
        "phone_top1": 94.0,
        "host_top1": 94.0,
        "agreement": 100.0,
        "max_abs_difference": 0.01,
        "secs_per_sample": 0.2,
        "valid": True,
        "reasons": (),
        "verified_utc": "2026-11-24T10:08:00+00:00",
    }
    return PhoneVerification(**{**values, **changes})


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


def changed(row: ReportRow, **figures: Any) -> ReportRow:
    """The row with other figures."""
    return row_of({**row_as_json(row), **figures})


FAMILIES = {"mobilenet": (2.0, 0.9), "squeezenet": (1.3, 2.1), "densenet": (4.5, 5.2)}
"""Megabytes in float32 and milliseconds at the smallest width."""
SHRINKS = {
    Precision.FLOAT32: (1.0, 1.0, 0.0),
    Precision.FLOAT16: (0.51, 1.02, 0.1),
    Precision.DYNAMIC: (0.27, 0.8, 0.4),
    Precision.INT8: (0.28, 0.45, 0.7),
    Precision.INT16X8: (0.29, 6.0, 0.2),
}
"""What a precision does to size and latency, and the points of top-1 that it costs."""


def fill_zoo(store: Any, folder: Any) -> None:
    """Three families, four widths, five precisions: 60 files, three not measured, two not valid."""
    for number, (family, (megabytes, ms)) in enumerate(FAMILIES.items()):
        for step in range(4):
            name = f"{family}_w{step + 1}_{96 + 32 * step}"
            run = train_record(
                f"2026112{number}-{step}-{family}",
                model_name=name,
                config=TrainConfig(family=family, knobs={"alpha": 0.25 * (step + 1)}, data="photos"),
                parameters=int(megabytes * 250_000 * (step + 1) ** 1.7),
                macs=int(ms * 4e7 * (step + 1) ** 1.9),
                test_top1=88.1 + 2.3 * step**0.8 + 1.1 * number,
            )
            store.add_run(run)
            _fill_precisions(store, folder, run, (megabytes * (step + 1) ** 1.7, ms * (step + 1) ** 1.9))


def _fill_precisions(store: Any, folder: Any, run: TrainRecord, cost: tuple[float, float]) -> None:
    for place, (precision, (size, speed, drop)) in enumerate(SHRINKS.items()):
        artifact = export_artifact(
            run.model_sha256,
            precision,
            model_name=run.model_name,
            family=run.config.family,
            knobs=run.config.knobs,
            size_bytes=int(cost[0] * size * 1e6) + place,
        )
        store.add_artifact(artifact, folder / run.run / "export")
        top1 = round(run.test_top1 - drop, 2)
        store.add_verification(
            verification(
                artifact.sha256,
                keras_top1=run.test_top1,
                tflite_top1=top1,
                drop_points=run.test_top1 - top1,
                num_samples=1001,
            )
        )
        if precision is Precision.DYNAMIC and run.run.startswith(("20261120-0", "20261121-0", "20261122-0")):
            continue
        median = cost[1] * speed
        broken = precision is Precision.INT16X8 and run.run.startswith(("20261120-1", "20261121-1"))
        store.add_measurement(
            measurement(
                artifact.sha256,
                median_ms=median,
                p5_ms=median * 0.97,
                p95_ms=median * 1.06,
                valid=not broken,
                reasons=("the child process was killed", "2 of 5 rounds are missing") if broken else (),
            )
        )


def predictions_of_photos(found: Predictions, **changes: Any) -> KeptPredictions:
    """Those of the int8 file on the photos, whose files are not there."""
    values: dict[str, Any] = {
        "artifact_sha256": export_artifact().sha256,
        "dataset": "photos",
        "dataset_fingerprint": sha256("photos"),
        "split": "test",
        "class_names": ("cat", "dog"),
        "images": tuple(f"/photos/{number}.jpg" for number in range(len(found.truth))),
        "found": found,
    }
    return KeptPredictions(**{**values, **changes})

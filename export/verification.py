"""What a verification found. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How far one activation of the exported file is from the Keras model's."""

    layer: str
    """The Keras layer."""
    relative_error: float
    """0 to 1: mean over the channels of rms(difference) / rms(Keras activation)."""
    growth: float
    """relative_error less that of the worst layer that feeds it; the largest is where to look."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """An exported file beside its Keras model, on the same samples."""

    artifact_sha256: str
    path: str
    """Of the file; empty in a record that an older version wrote."""
    dataset: str
    dataset_fingerprint: str
    """SHA-256 over all images and their splits: two folders may have one name."""
    split: str
    num_samples: int
    keras_top1: float
    """Percent."""
    tflite_top1: float
    """Percent."""
    drop_points: float
    """keras_top1 less tflite_top1, percentage points."""
    agreement: float
    """Percent of samples on which both give the same label."""
    max_abs_difference: float | None
    """The largest difference of any output value, after dequantization, where both are numbers; else None."""
    worst_layer: str | None
    """int8 and int16x8: the layer where the error grows most."""
    layers: tuple[LayerError, ...]
    runtime: str
    runtime_version: str
    seconds: float
    verified_utc: str
    num_keras_not_finite: int = 0
    """Samples for which the Keras model gives a NaN or an infinity: neither right nor in agreement."""
    num_tflite_not_finite: int = 0
    """The same of the file."""
    classes_matched: str = ""
    """How the data set's classes were found among the outputs, in words."""


def verification_from_record(record: dict[str, Any]) -> Verification:
    """A Verification from what asdict() and JSON made of it, by this version or an older one."""
    layers = tuple(LayerError(**layer) for layer in record["layers"])
    return Verification(**{"path": "", **record, "layers": layers})

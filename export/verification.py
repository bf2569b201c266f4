"""The result of a verification. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """Difference of one activation of the exported file from the Keras model's."""

    layer: str
    """The Keras layer."""
    relative_error: float
    """0 to 1: mean over the channels of rms(difference) / rms(Keras activation)."""
    growth: float
    """relative_error minus that of the worst layer feeding it; the largest shows where to look."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A file on labelled samples, compared with its Keras model if there is one."""

    artifact_sha256: str
    path: str
    """Of the file; empty in a record written by an older version."""
    dataset: str
    dataset_fingerprint: str
    """SHA-256 over all images and their splits, since two folders may have the same name."""
    split: str
    num_samples: int
    keras_top1: float | None
    """Percent; None without a Keras model to compare with, as agreement and drop_points."""
    tflite_top1: float
    """Percent."""
    drop_points: float | None
    """keras_top1 - tflite_top1, percentage points."""
    agreement: float | None
    """Percent of samples on which both give the same label."""
    max_abs_difference: float | None
    """Largest difference of dequantized outputs where both are finite; None if there are no such outputs."""
    worst_layer: str | None
    """int8 and int16x8: the layer where the error grows most."""
    layers: tuple[LayerError, ...]
    runtime: str
    runtime_version: str
    seconds: float
    verified_utc: str
    num_keras_not_finite: int = 0
    """Samples for which the Keras model returns NaN or infinity: neither right nor in agreement."""
    num_tflite_not_finite: int = 0
    """The same of the file."""
    classes_matched: str = ""
    """How the data set's classes were matched with the outputs, in words."""
    pixels_doubt: str = ""
    """Why it seems to be fed other pixels than it was trained on; empty if it does not."""


def verification_from_record(record: dict[str, Any]) -> Verification:
    """A Verification from asdict() of one, read back from JSON, of this version or an older one."""
    layers = tuple(LayerError(**layer) for layer in record["layers"])
    return Verification(**{"path": "", **record, "layers": layers})

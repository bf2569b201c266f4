"""The result of a verification. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from export.head import HeadKind

_DECIMALS = 9
"""Far beyond the share of an image in any data set, and before the rounding of percentages."""


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
    """keras_score - tflite_score, percentage points."""
    agreement: float | None
    """Percent of samples on which both give the same label, or the same of all labels."""
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
    head: HeadKind = HeadKind.CLASSES
    """What the outputs mean."""
    majority_share: float | None = None
    """Percent of the samples that are of the most frequent class, or have the most frequent label."""
    keras_balanced: float | None = None
    """Percent: the mean over the classes of the share right; None for several labels an image."""
    tflite_balanced: float | None = None
    keras_average_precision: float | None = None
    """Percent: mean over the labels; None for classes that exclude each other."""
    tflite_average_precision: float | None = None
    keras_all_labels: float | None = None
    """Percent of samples on which every label is on its side of the threshold; None as before."""
    tflite_all_labels: float | None = None
    num_only_keras_right: int | None = None
    """Samples that the Keras model alone gets right; None for labels, without one, and in older records."""
    num_only_tflite_right: int | None = None
    """Samples that the file alone gets right."""
    is_of_serving_function: bool = False
    """Whether it was compared with a SavedModel's serving function, which shows no layers."""
    pixels_doubt: str = ""
    """Why it seems to be fed other pixels than it was trained on; empty if it does not."""

    @property
    def keras_score(self) -> float | None:
        """The percentage that a file is judged by: mean average precision of labels, else top-1."""
        return self.keras_top1 if self.keras_average_precision is None else self.keras_average_precision

    @property
    def tflite_score(self) -> float:
        """The same of the file."""
        return self.tflite_top1 if self.tflite_average_precision is None else self.tflite_average_precision


def points_lost(before: float, after: float) -> float:
    """Two percentages' difference, free of the rounding of binary fractions.

    100 * 49 / 1000 - 100 * 39 / 1000 is more than 1, which would miss a limit of one point.
    """
    return round(before - after, _DECIMALS)


def verification_from_record(record: dict[str, Any]) -> Verification:
    """A Verification from asdict() of one, read back from JSON, of this version or an older one."""
    layers = tuple(LayerError(**layer) for layer in record["layers"])
    head = HeadKind(record.get("head", HeadKind.CLASSES))
    return Verification(**{"path": "", **record, "layers": layers, "head": head})

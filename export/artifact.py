"""An exported file and its JSON sidecar. Standard library only: phone and report need no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from export.errors import BadModelFileError, ExportError, SettingsError
from export.head import Head, HeadKind
from export.precisions import Precision
from export.records import json_of, read_record_as
from export.settings import ExportSettings

ZERO_PIXEL = {"int8": -128, "uint8": 0}
"""The value of a black pixel in an integer file's input; each grey level adds one."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """An input or output tensor: real value = scale * (stored - zero_point); scale 0 is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, kw_only=True)
class OperatorUse:
    """An operator of the file, its newest version, and how often it occurs."""

    name: str
    version: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The images that the file was calibrated with."""

    dataset: str
    split: str
    num_samples: int
    seed: int
    samples_per_class: dict[str, int]
    sha256: str
    """Of the pixels, in the order of use."""
    left_out: int = 0
    """Images that were left out since they would have widened the ranges (typical.py)."""
    data: str | None = None
    """The images' name or path, if they are not of the data set that the file records."""


@dataclass(frozen=True, kw_only=True)
class Equalization:
    """What was done for the accuracy of an int8 file, and what it brought on images held out."""

    factors: dict[str, str] = field(default_factory=dict)
    """Keras layer -> the factor of each of its output channels, a character each (equalize.decoded)."""
    corrects_biases: bool = False
    plain_error: float | None = None
    """Of the class scores, as a share of their spread, without it; None if it was not measured."""
    error: float | None = None
    """The same with it."""
    num_held_out: int = 0
    """Calibration images that the errors were measured on."""

    @property
    def in_words(self) -> str:
        """What was done."""
        done = [
            *(["channels equalized"] if self.factors else []),
            *(["biases corrected"] if self.corrects_biases else []),
        ]
        return " and ".join(done) or "calibrated alone"


@dataclass(frozen=True, kw_only=True)
class ExportArtifact:
    """A .tflite file that ships, and where it came from. Written as <file>.json beside the file."""

    path: str
    """The file's name; the sidecar is in the same folder."""
    sha256: str
    size_bytes: int
    downloaded_bytes: int
    """Compressed with brotli, as app stores send it; pruned and clustered weights reduce it."""
    settings: ExportSettings
    """How it was made."""
    parent_sha256: str
    """Of the converted Keras model file."""
    parent_path: str | None = None
    """Path of that file at conversion."""
    model_name: str
    """The name in tables, such as mobilenet_alpha0.5_160."""
    family: str | None
    """None for a model from elsewhere."""
    knobs: dict[str, Any] = field(default_factory=dict)
    dtype_policy: str | None = None
    """The half or mixed precision that the model was trained under, such as mixed_float16; None for float32.
    The file is made from its float32 variables and compared with their float32 outputs."""
    input: TensorInfo
    output: TensorInfo
    pixels: str
    """The expected input in words, such as 'raw 0-255 RGB as int8: pixel - 128'."""
    normalization: str = ""
    """Where the file turns these into the network's values, in words; empty if it does not."""
    class_names: tuple[str, ...]
    """The names that an app shows, in the order of the outputs; of one output with a threshold two."""
    head: Head = field(default_factory=lambda: Head(kind=HeadKind.CLASSES, num_outputs=0))
    """What the outputs mean."""
    operators: tuple[OperatorUse, ...]
    float_operators: tuple[str, ...]
    """Operators that compute in float; empty in a fully integer file."""
    float_layers: tuple[str, ...] = ()
    """The Keras layers that stay in float as asked."""
    tensor_names: tuple[str, ...]
    """The converter's names of the main graph's tensors, by index; the file itself keeps few."""
    min_runtime_version: str
    """The oldest TFLite runtime that can load it, from the converter's metadata."""
    tflite_runtime_loads: bool | None
    """Whether tflite-runtime 2.14 loaded it; None if the package is not installed."""
    tflite_runtime_error: str | None = None
    calibration: Calibration | None = None
    equalization: Equalization | None = None
    """What was done beyond the calibration; None if nothing was tried."""
    dataset: str | None = None
    """The name of the data set."""
    data: str | None = None
    """A known name, or a path."""
    dataset_class_names: tuple[str, ...] | None = None
    """The data set's class names, if an app shows others (--labels)."""
    versions: dict[str, str]
    created_utc: str

    @property
    def precision(self) -> Precision:
        """How weights and activations are stored."""
        return self.settings.precision


def sidecar_path(tflite: Path) -> Path:
    """The path of an exported file's sidecar: model.tflite -> model.json."""
    return tflite.with_suffix(".json")


def sidecar_content(artifact: ExportArtifact) -> bytes:
    """The sidecar's bytes: indented JSON."""
    return (json.dumps(asdict(artifact), indent=2) + "\n").encode()


def check_described(tflite: Path, artifact: ExportArtifact, sha256: str) -> None:
    """Raises ExportError if a file's checksum is not the one in its sidecar."""
    if sha256 != artifact.sha256:
        raise ExportError(
            f"{tflite} is not the file that {sidecar_path(tflite).name} describes (sha256 {sha256[:12]}, "
            f"there {artifact.sha256[:12]}). Export the model again, so that both come from one run."
        )


def has_sidecar(tflite: Path) -> bool:
    """Whether the JSON file of this name beside a file is a sidecar, damaged or not, and no other tool's."""
    try:
        record = json_of(sidecar_path(tflite))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return isinstance(record, dict) and "sha256" in record


def read_sidecar(tflite: Path) -> ExportArtifact:
    """The sidecar of an exported file. Raises FileNotFoundError if there is none."""
    return read_sidecar_file(sidecar_path(tflite))


def read_sidecar_file(path: Path) -> ExportArtifact:
    """The sidecar at this path. Raises BadModelFileError if it is damaged or of another version."""
    try:
        return artifact_from_record(json_of(path))
    except (ValueError, TypeError, SettingsError) as error:
        raise BadModelFileError(
            f"{path} cannot be read as a sidecar ({error}). Export the model again."
        ) from error


def artifact_from_record(record: Any) -> ExportArtifact:  # noqa: ANN401 - what JSON holds
    """An ExportArtifact from asdict() of one, read back from JSON, of this version or an earlier one.

    Earlier versions wrote no head, since each output was a class, and did not record how they equalized.
    """
    artifact = read_record_as(ExportArtifact, record)
    if "equalization" not in record and artifact.settings.equalize:
        raise ValueError("it was equalized by an earlier version, which did not record how")
    if "head" in record:
        return artifact
    return replace(artifact, head=Head(kind=HeadKind.CLASSES, num_outputs=len(artifact.class_names)))

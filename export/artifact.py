"""An exported file and its JSON sidecar. Standard library only: phone and report need no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from export.errors import BadModelFileError, ExportError
from export.precisions import Precision
from export.settings import ExportSettings, settings_from_record

ZERO_PIXEL = {"int8": -128, "uint8": 0}
"""What a black pixel is in an integer file's input; each grey level is one more."""


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
    """An operator of the file, its newest version in there, and how often it stands there."""

    name: str
    version: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Which pixels the quantization ranges were read from."""

    dataset: str
    split: str
    num_samples: int
    seed: int
    samples_per_class: dict[str, int]
    sha256: str
    """Of the pixels themselves, in the order they were used."""
    left_out: int = 0
    """Images that were looked at too, but would have widened the ranges for all (typical.py)."""


@dataclass(frozen=True, kw_only=True)
class ExportArtifact:
    """A .tflite file that ships, and where it came from. Written as <file>.json beside the file."""

    path: str
    """The file's name; the sidecar stands in the same folder."""
    sha256: str
    size_bytes: int
    downloaded_bytes: int
    """Compressed with brotli, as app stores send it: what pruned and clustered weights make smaller."""
    settings: ExportSettings
    """How it was made."""
    parent_sha256: str
    """Of the Keras model file that was converted."""
    parent_path: str | None = None
    """Where that file stood when it was converted."""
    model_name: str
    """What a table calls it, such as mobilenet_alpha0.5_160."""
    family: str | None
    """None for a model from elsewhere."""
    knobs: dict[str, Any] = field(default_factory=dict)
    input: TensorInfo
    output: TensorInfo
    pixels: str
    """What an app feeds, in words, such as 'raw 0-255 RGB as int8: pixel - 128'."""
    class_names: tuple[str, ...]
    """What an app shows, in the order of the outputs."""
    operators: tuple[OperatorUse, ...]
    float_operators: tuple[str, ...]
    """Operators that compute in float; empty in a fully integer file."""
    float_layers: tuple[str, ...] = ()
    """The Keras layers that were to stay in float, and do."""
    tensor_names: tuple[str, ...]
    """Of the main graph's tensors, by index, as the converter named them; the file itself keeps few."""
    min_runtime_version: str
    """The oldest TFLite runtime that can load it, as the converter's metadata says."""
    tflite_runtime_loads: bool | None
    """Whether tflite-runtime 2.14 loaded it; None where that package has no wheel."""
    tflite_runtime_error: str | None = None
    calibration: Calibration | None = None
    dataset: str | None = None
    """The name of the data set."""
    data: str | None = None
    """Where that was: a known name, or a path."""
    dataset_class_names: tuple[str, ...] | None = None
    """The data set's own class names, where an app is shown others (--labels)."""
    versions: dict[str, str]
    created_utc: str

    @property
    def precision(self) -> Precision:
        """How weights and activations are stored."""
        return self.settings.precision


def sidecar_path(tflite: Path) -> Path:
    """Where the sidecar of an exported file stands: model.tflite -> model.json."""
    return tflite.with_suffix(".json")


def sidecar_content(artifact: ExportArtifact) -> bytes:
    """The sidecar as it stands in the file: indented JSON."""
    return (json.dumps(asdict(artifact), indent=2) + "\n").encode()


def check_described(tflite: Path, artifact: ExportArtifact, sha256: str) -> None:
    """Raises ExportError where a file, by its checksum, is not the one that its sidecar describes."""
    if sha256 != artifact.sha256:
        raise ExportError(
            f"{tflite} is not the file that {sidecar_path(tflite).name} describes (sha256 {sha256[:12]}, "
            f"there {artifact.sha256[:12]}). Export the model again, so that both come from one run."
        )


def read_sidecar(tflite: Path) -> ExportArtifact:
    """The sidecar of an exported file. FileNotFoundError where there is none."""
    return read_sidecar_file(sidecar_path(tflite))


def read_sidecar_file(path: Path) -> ExportArtifact:
    """A sidecar by its own path. BadModelFileError where it is damaged, or of another version."""
    try:
        record = json.loads(path.read_text())
        return artifact_from_record(record)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadModelFileError(
            f"{path} is not a sidecar that this version wrote ({error}). Export the model again."
        ) from error


def artifact_from_record(record: dict[str, Any]) -> ExportArtifact:
    """An ExportArtifact from what asdict() and JSON made of it."""
    for name in ("path", "sha256", "parent_sha256", "parent_path", "model_name", "data"):
        if not isinstance(record[name], str | None):
            raise TypeError(f"{name} is no text")
    calibration = record["calibration"]
    return ExportArtifact(
        **{
            **record,
            "settings": settings_from_record(record["settings"]),
            "input": _tensor(record["input"]),
            "output": _tensor(record["output"]),
            "class_names": tuple(record["class_names"]),
            "dataset_class_names": tuple(own) if (own := record["dataset_class_names"]) else None,
            "operators": tuple(OperatorUse(**use) for use in record["operators"]),
            "float_operators": tuple(record["float_operators"]),
            "float_layers": tuple(record["float_layers"]),
            "tensor_names": tuple(record["tensor_names"]),
            "calibration": Calibration(**calibration) if calibration else None,
        }
    )


def _tensor(record: dict[str, Any]) -> TensorInfo:
    return TensorInfo(**{**record, "shape": tuple(record["shape"])})

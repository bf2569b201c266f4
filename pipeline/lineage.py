"""Finds the Keras model that an exported file was made from, and the data set to verify it on.

Light at import: no TensorFlow.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.artifact import ExportArtifact, read_sidecar
from export.files import sha256_of
from export.model_format import SAVED_MODEL_FILE, format_of
from export.pixel_conventions import RGB, PixelConvention
from pipeline.errors import PipelineError, UsageError, unknown_name
from pipeline.records.compression import CompressConfig
from pipeline.records.training import read_record
from pipeline.runs import (
    EXPORT,
    MODEL,
    RECORD,
    find_run,
    finished_runs,
    folder_of_model,
    model_name,
    newest_run,
)

if TYPE_CHECKING:
    import keras

    from export.source.keras_file import LoadedModel

KERAS_ENDINGS = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class KerasSource:
    """A trained Keras model, and what is known about it."""

    model_path: Path
    model_name: str
    family: str | None
    """None for a model from elsewhere."""
    knobs: dict[str, Any] = field(default_factory=dict)
    """For a model from elsewhere: scale and offset of its training pixels, if given."""
    class_names: tuple[str, ...] | None
    """None for a model from elsewhere without a given data set."""
    data: str | None
    """What --data was, or is."""
    calibration: str | None = None
    """Other images to calibrate with: a name or a path; None: those of `data`."""
    dataset: str | None = None
    """The name of the training data set, if known."""
    export_folder: Path
    compression: CompressConfig | None = None
    """The compression settings; None for a trained run and for a model from elsewhere."""


def find_source(target: str | None, *, data: str | None, folder: Path) -> KerasSource:
    """The model of a command's RUN or MODEL argument; without it, the newest run's."""
    if target is not None and is_keras_model(target):
        return _foreign(Path(target), data, folder)
    run = newest_run(folder) if target is None else _run(target, folder)
    record = read_record(run / RECORD)
    if not (run / MODEL).is_file():
        raise PipelineError(f"the run {run} has lost its {MODEL}. Train it again, or export another run.")
    return KerasSource(
        model_path=run / MODEL,
        model_name=record.model_name,
        family=record.config.family,
        knobs=record.config.knobs,
        class_names=record.class_names,
        data=data or record.config.data,
        dataset=record.dataset,
        export_folder=run / EXPORT,
        compression=record.compression.config if record.compression else None,
    )


def is_keras_model(target: str) -> bool:
    """Whether a command's argument is a model's file or SavedModel folder, by its name or by its content."""
    return target.endswith(KERAS_ENDINGS) or format_of(Path(target)) is not None


def load_model_of(source: KerasSource) -> keras.Model:
    """The Keras model; it takes raw 0-255 pixels."""
    return load_of(source).model


def load_of(source: KerasSource) -> LoadedModel:
    """The model, which takes raw 0-255 pixels, and what is known of how it was read."""
    from export.graph.rescaling import add_rescaling
    from export.source.keras_file import load

    loaded = load(source.model_path)
    if source.family is None and source.knobs:
        return dataclasses.replace(loaded, model=add_rescaling(loaded.model, **source.knobs))
    return loaded


def source_of_file(
    tflite: Path, *, model: Path | None, data: str | None
) -> tuple[KerasSource, ExportArtifact]:
    """The Keras model that an exported file was made from, by its sidecar and checksum."""
    artifact = artifact_of(tflite)
    run = tflite.absolute().parent.parent
    source = KerasSource(
        model_path=_parent(artifact, tflite, given=model, beside=run / MODEL),
        model_name=artifact.model_name,
        family=artifact.family,
        knobs=artifact.knobs,
        class_names=artifact.class_names,
        data=data_of_file(tflite, data),
        export_folder=tflite.parent,
    )
    return source, artifact


def artifact_of(tflite: Path) -> ExportArtifact:
    """The sidecar of an exported file. Raises PipelineError if there is none."""
    try:
        return read_sidecar(tflite)
    except FileNotFoundError as error:
        raise PipelineError(
            f"{tflite} has no sidecar ({tflite.stem}.json), so its model is unknown. "
            "Expected a file that `pipeline export` wrote, with its sidecar beside it. "
            "Others are verified on this machine: `pipeline verify` without --adb."
        ) from error


def data_of_file(tflite: Path, data: str | None) -> str:
    """The data set to verify a file on: the given one, or else the training's."""
    record = tflite.absolute().parent.parent / RECORD
    found = data or (read_record(record).config.data if record.is_file() else None)
    if found is None:
        raise UsageError(f"which data set is {tflite.name} to be verified on? Give --data NAME or FOLDER.")
    return found


def _parent(artifact: ExportArtifact, tflite: Path, *, given: Path | None, beside: Path) -> Path:
    places = [given] if given else [beside, *([Path(artifact.parent_path)] if artifact.parent_path else [])]
    for place in places:
        if place.exists() and sha256_of(place) == artifact.parent_sha256:
            return place
    raise PipelineError(
        f"the Keras model that {tflite} was made from (sha256 {artifact.parent_sha256[:12]}) is not at "
        f"{' or '.join(map(str, places))}. Give it with --model, or export the model that is there again."
    )


def _run(target: str, folder: Path) -> Path:
    path = Path(target)
    if path.name == SAVED_MODEL_FILE and path.is_file():
        raise UsageError(
            f"{path} is a part of a SavedModel. Expected its folder: give {path.absolute().parent}."
        )
    if path.suffix and path.is_file():
        raise UsageError(
            f"{path} is no Keras model: a run, a .keras or .h5 file, or a SavedModel's folder was expected."
        )
    return find_run(target, folder)


def _foreign(path: Path, data: str | None, folder: Path) -> KerasSource:
    if not path.exists():
        near = [file.name for file in path.parent.glob("*") if file.suffix in KERAS_ENDINGS]
        near += [run.name for run in finished_runs(folder)]
        raise unknown_name("model", path.name, near)
    in_run = (path.absolute().parent / RECORD).is_file() and path.name == MODEL
    if in_run:
        return find_source(str(path.parent), data=data, folder=folder)
    return KerasSource(
        model_path=path,
        model_name=model_name(path),
        family=None,
        class_names=None,
        data=data,
        export_folder=folder_of_model(path, folder) / EXPORT,
    )


def with_pixels(
    source: KerasSource,
    *,
    scale: tuple[float, ...] | None = None,
    offset: tuple[float, ...] | None = None,
    channels: str | None = None,
) -> KerasSource:
    """The source with what a model from elsewhere was fed: pixel * scale + offset, as RGB or BGR."""
    if scale is None and offset is None and channels is None:
        return source
    if source.family is not None:
        raise UsageError(
            "--scale, --offset and --channels are for models from elsewhere: this run's model holds its own."
        )
    given = given_convention(scale=scale, offset=offset, channels=channels)
    return dataclasses.replace(source, knobs=given.knobs)


def given_convention(
    *, scale: tuple[float, ...] | None, offset: tuple[float, ...] | None, channels: str | None
) -> PixelConvention:
    """The pixels that --scale, --offset and --channels describe; None is raw RGB's."""
    return PixelConvention(
        name="", scale=scale or (1.0,), offset=offset or (0.0,), channels=channels or RGB
    ).named()

"""One Keras model in one precision -> a .tflite file with its sidecar, written whole or not at all."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.artifact import Calibration, ExportArtifact, Precision, sidecar_content, sidecar_path
from export.check.layer_errors import CONVERSIONS
from export.check.load_check import litert_loads, tflite_runtime_loads
from export.convert import IoDtype, Progress, Trained, convert
from export.errors import ExportError, FloatOperatorError
from export.files import replacing, sha256_of
from export.graph.keras_file import load_model
from export.graph.rewrite import Rewrite
from export.quantization.float_layers import operators_of
from export.sparse.weights import with_sparse_weights
from export.tflite.app_metadata import labels_text, with_labels_file, with_metadata_entry
from export.tflite.download_size import downloaded_bytes
from export.tflite.inspect import FileContents, Operator, inspect_bytes
from export.tflite.pack import pack

_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime")
_MOST_PLACES_NAMED = 5


def export_model(
    model_path: Path,
    target: Path,
    precision: Precision,
    *,
    model_name: str,
    family: str | None,
    knobs: Mapping[str, Any],
    class_names: Sequence[str],
    dataset: str | None,
    dataset_class_names: Sequence[str] | None = None,
    calibration: Calibration | None = None,
    pixels: npt.NDArray[np.uint8] | None = None,
    io_dtype: IoDtype = "int8",
    model: keras.Model | None = None,
    created_utc: str | None = None,
    progress: Progress | None = None,
    keep_names: bool = False,
    trained: Trained | None = None,
    rewrites: Collection[Rewrite] | None = None,
    logits: bool = False,
    sparse: bool = False,
    equalize: bool = False,
    keep_float: Collection[str] = (),
) -> ExportArtifact:
    """Writes `target` (.tflite) and its sidecar, and returns what the sidecar says.

    `model` is what load_model(model_path) gave, where several precisions share it, or that model behind
    add_rescaling(); `pixels` (n, height, width, channels) uint8 and `calibration` say what int8 and int16x8
    are calibrated with; `progress` is told (done, all) of the calibration images; `created_utc` defaults
    to now; `keep_names` leaves the tensors' names in the file; `trained`, `rewrites` and `logits` are those
    of convert(); `sparse` stores the pruned 1x1 convolutions of a float32 file as XNNPACK's sparse kernels
    take them; `equalize` and `keep_float` are convert()'s. A file that cannot be finished, or is refused, is
    not there afterwards; an earlier one stays.

    Raises BadModelFileError, FloatOperatorError for int8 with a float operator left, and ExportError.
    """
    if target.suffix != ".tflite":
        raise ExportError(
            f"{target} ends in '{target.suffix}'. Expected a name such as {target.stem}.tflite."
        )
    model = load_model(model_path) if model is None else model
    _check_class_names(class_names, model)
    content = convert(
        model,
        precision,
        pixels=pixels,
        io_dtype=io_dtype,
        progress=progress,
        trained=trained,
        rewrites=rewrites,
        logits=logits,
        equalize=equalize,
        keep_float=keep_float,
    )
    if sparse and precision is Precision.FLOAT32:
        content = with_sparse_weights(content, name=target.name)
    is_calibrated = precision is Precision.INT16X8 or (precision is Precision.INT8 and trained is None)
    if precision is Precision.INT8:  # before the names go that say where
        converted = inspect_bytes(content, name=target.name)
        kept = {name: _in_float(operators_of(converted, model, name), converted) for name in keep_float}
        refuse_float_operators(converted, model_name, kept=[each for own in kept.values() for each in own])
        keep_float = [name for name, operators in kept.items() if operators]
    packed = pack(with_metadata_entry(content, model_name=model_name), keep_names=keep_names)
    # last: what rewrites the model drops the archive behind it
    content = with_labels_file(packed.content, class_names)
    contents = inspect_bytes(content, name=target.name)

    def artifact(partial: Path) -> ExportArtifact:
        runtime_loads, runtime_error = _try_runtimes(partial, model_name)
        return ExportArtifact(
            path=target.name,
            sha256=contents.sha256,
            size_bytes=contents.size_bytes,
            downloaded_bytes=downloaded_bytes(content),
            precision=precision,
            parent_sha256=sha256_of(model_path),
            parent_path=str(model_path.absolute()),
            model_name=model_name,
            family=family,
            knobs=dict(knobs),
            input=contents.inputs[0],
            output=contents.outputs[0],
            pixels=contents.pixels,
            class_names=tuple(class_names),
            operators=contents.operators,
            float_operators=contents.float_operators,
            float_layers=tuple(keep_float) if precision is Precision.INT8 else (),
            equalized=equalize and precision is Precision.INT8,
            min_runtime_version=contents.min_runtime_version,
            tensor_names=packed.tensor_names,
            tflite_runtime_loads=runtime_loads,
            tflite_runtime_error=runtime_error,
            calibration=calibration if is_calibrated else None,
            dataset=dataset,
            dataset_class_names=tuple(dataset_class_names) if dataset_class_names else None,
            versions=package_versions(),
            created_utc=created_utc or datetime.now(UTC).isoformat(timespec="seconds"),
        )

    return _write(content, target, artifact)


def refuse_float_operators(contents: FileContents, name: str, *, kept: Collection[Operator] = ()) -> None:
    """Raises FloatOperatorError, naming them, where others than those `kept` compute in float."""
    allowed = {f"{each.name} at {contents.tensors[each.outputs[0]].name}" for each in kept}
    places = [
        place
        for place in contents.float_operator_places
        if place not in allowed and not (kept and place.split(" at ")[0] in CONVERSIONS)
    ]
    if not places:
        return
    names = sorted({place.split(" at ")[0] for place in places})
    more = f" and {len(places) - _MOST_PLACES_NAMED} more" if len(places) > _MOST_PLACES_NAMED else ""
    raise FloatOperatorError(
        f"{name} is not fully integer: {', '.join(names)} compute in float "
        f"({'; '.join(places[:_MOST_PLACES_NAMED])}{more}). Expected none. Replace the layers named there "
        "(ReLU, convolutions, pooling, Dense and softmax have integer kernels), or export float16 instead."
    )


def _in_float(operators: Collection[Operator], contents: FileContents) -> list[Operator]:
    return [each for each in operators if contents.tensors[each.outputs[0]].dtype == "float32"]


def _check_class_names(class_names: Sequence[str], model: keras.Model) -> None:
    num_classes = model.outputs[0].shape[-1]
    if len(class_names) != num_classes:
        raise ExportError(
            f"{len(class_names)} class names, but the model tells {num_classes} classes apart. "
            "Expected one name for each: give the data set that the model was trained on."
        )
    labels_text(class_names)  # what no labels file can hold is refused before the long conversion


def _try_runtimes(partial: Path, model_name: str) -> tuple[bool | None, str | None]:
    """What tflite-runtime said of the file; raises ExportError where LiteRT refuses it."""
    loads, error = litert_loads(partial)
    if loads is False:
        raise ExportError(
            f"LiteRT cannot run the converted {model_name}: {error}. Nothing was written. "
            "Replace the layer that it names, or export in another precision."
        )
    return tflite_runtime_loads(partial)


def _write(content: bytes, target: Path, artifact_of: Callable[[Path], ExportArtifact]) -> ExportArtifact:
    """Both files are written in full before either takes its name."""
    try:
        with replacing(sidecar_path(target)) as partial_sidecar, replacing(target) as partial:
            partial.write_bytes(content)
            artifact = artifact_of(partial)
            partial_sidecar.write_bytes(sidecar_content(artifact))
    except OSError as error:
        raise ExportError(
            f"cannot write {target} ({error.strerror or error}). Nothing was changed there. "
            f"Expected room for {len(content):,} bytes in a folder that you may write to."
        ) from error
    return artifact


def package_versions() -> dict[str, str]:
    """The versions that a file or a figure depends on; a package that is not installed is not in."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions

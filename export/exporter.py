"""Exports a Keras model in one precision: a .tflite file with its sidecar, written whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras

from export.artifact import Equalization, ExportArtifact, sidecar_content, sidecar_path
from export.check.load_check import litert_loads, tflite_runtime_loads
from export.choose_int8 import can_choose, chosen, equalization_asked
from export.convert import Progress, convert
from export.errors import ExportError, FloatOperatorError, OtherBytesError
from export.files import replacing, sha256_of
from export.graph.layer_outputs import network_steps
from export.graph.probabilities import head_of_model
from export.labels_file import labels_text
from export.plan import Trained, normalization_in_words
from export.quantization.calibrate import CalibrationImages
from export.quantization.float_layers import operators_of
from export.settings import ExportSettings
from export.source.keras_file import load_model
from export.sparse.weights import with_sparse_weights
from export.tflite.app_metadata import with_labels_file, with_metadata_entry
from export.tflite.content import FileContents, Operator
from export.tflite.download_size import downloaded_bytes
from export.tflite.inspect import inspect_bytes
from export.tflite.layers import layers_of_name
from export.tflite.output import CONVERSIONS, head_of_file
from export.tflite.pack import pack
from spelling import counted, some

_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime")
_MOST_PLACES_NAMED = 5
_ZERO_SCALE = 1e-8
"""The converter gives what is always 0 a range of 2e-6, so a scale of 7.8e-9."""


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """The Keras model to export, and what is known about it."""

    path: Path
    """Its .keras or .h5 file."""
    model: keras.Model | None = None
    """The result of load_model(path), shared by several files, or that of add_rescaling()."""
    dtype_policy: str | None = None
    """The half or mixed precision that it was trained under; None for float32."""
    trained: Trained | None = None
    """The same with its trained quantizers."""
    model_name: str
    family: str | None
    """None for a model from elsewhere."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    class_names: Sequence[str]
    """The names that an app shows, in the order of the outputs."""
    dataset: str | None = None
    """The data set that it was trained on, or that files are calibrated with."""
    data: str | None = None
    """A known name, or a path."""
    dataset_class_names: Sequence[str] | None = None
    """The data set's class names, if an app shows others."""


def export_model(
    source: SourceModel,
    target: Path,
    settings: ExportSettings,
    *,
    images: CalibrationImages | None = None,
    equalization: Equalization | None = None,
    only_sha256: str | None = None,
    progress: Progress | None = None,
    choosing: Progress | None = None,
) -> ExportArtifact:
    """Writes `target` (.tflite) and its sidecar, and returns the sidecar's content.

    `images` calibrate int8 and int16x8; `progress` is called with (done, all) of them, and `choosing` with
    those for the files that are compared to choose what makes int8 more accurate. `equalization`, from an
    earlier file's sidecar, leaves the choice out. With `only_sha256` other bytes are not written. If the
    export fails or the file is refused, nothing is written and an earlier file stays.

    Raises BadModelFileError, ExportError, FloatOperatorError for an integer file with a float operator, and
    OtherBytesError for a file of another checksum than `only_sha256`.
    """
    if target.suffix != ".tflite":
        raise ExportError(
            f"{target} ends in '{target.suffix}'. Expected a name such as {target.stem}.tflite."
        )
    model = load_model(source.path) if source.model is None else source.model
    check_class_names(source.class_names, model)
    is_calibrated = settings.precision.is_calibrated(has_quantizers=source.trained is not None)
    pixels = images.pixels if images else None
    content = None
    if equalization is None and is_calibrated and settings.precision.spec.is_integer:
        if can_choose(pixels, settings):
            choice = chosen(model, settings, pixels, choosing=choosing, progress=progress)
            equalization, content = choice.equalization, choice.content
        else:
            equalization = equalization_asked(model, settings, pixels)
    if content is None:
        content = convert(
            model,
            settings,
            pixels=pixels,
            trained=source.trained,
            equalization=equalization,
            progress=progress,
        )
    file = _finished(content, source, model, settings, name=target.name)
    made = hashlib.sha256(file.content).hexdigest()
    if only_sha256 not in (None, made):
        raise OtherBytesError(f"the new {target.name} has other bytes (sha256 {made[:12]}).")
    calibration = images.record if images and is_calibrated else None

    def artifact(partial: Path) -> ExportArtifact:
        loads, error = _try_runtimes(partial, source.model_name, file.zero_layers)
        return dataclasses.replace(
            _artifact(file, source, settings, name=target.name),
            normalization=normalization_in_words(model, settings, has_quantizers=source.trained is not None),
            calibration=calibration,
            equalization=equalization,
            tflite_runtime_loads=loads,
            tflite_runtime_error=error,
        )

    return _write(file.content, target, artifact)


@dataclass(frozen=True, kw_only=True)
class _File:
    content: bytes
    tensor_names: tuple[str, ...]
    """As the converter named them."""
    float_layers: tuple[str, ...]
    zero_layers: tuple[str, ...] = ()
    """Layers whose output was 0 on all calibration images."""


def _finished(
    content: bytes, source: SourceModel, model: keras.Model, settings: ExportSettings, *, name: str
) -> _File:
    """The converted file, packed, with metadata and labels, and with sparse weights if asked for."""
    if settings.sparse:
        content = with_sparse_weights(content, name=name)
    float_layers: tuple[str, ...] = ()
    zero_layers: tuple[str, ...] = ()
    if settings.precision.spec.is_integer:  # before packing drops the names that locate it
        converted = inspect_bytes(content, name=name)
        float_layers = _float_layers(converted, source, model, settings)
        zero_layers = _zero_layers(converted, model)
    packed = pack(with_metadata_entry(content, model_name=source.model_name), keep_names=settings.keep_names)
    # last: rewriting the model drops the archive after it
    labelled = with_labels_file(packed.content, source.class_names)
    return _File(
        content=labelled,
        tensor_names=packed.tensor_names,
        float_layers=float_layers,
        zero_layers=zero_layers,
    )


def _artifact(file: _File, source: SourceModel, settings: ExportSettings, *, name: str) -> ExportArtifact:
    """The sidecar from the file and its source, without calibration and load checks."""
    contents = inspect_bytes(file.content, name=name)
    names = source.dataset_class_names
    return ExportArtifact(
        path=name,
        sha256=contents.sha256,
        size_bytes=contents.size_bytes,
        downloaded_bytes=downloaded_bytes(file.content),
        settings=settings,
        parent_sha256=sha256_of(source.path),
        parent_path=str(source.path.absolute()),
        model_name=source.model_name,
        family=source.family,
        knobs=dict(source.knobs),
        dtype_policy=source.dtype_policy,
        input=contents.inputs[0],
        output=contents.outputs[0],
        pixels=contents.pixels,
        class_names=tuple(source.class_names),
        head=head_of_file(contents),
        operators=contents.operators,
        float_operators=contents.float_operators,
        float_layers=file.float_layers,
        tensor_names=file.tensor_names,
        min_runtime_version=contents.min_runtime_version,
        tflite_runtime_loads=None,
        dataset=source.dataset,
        data=source.data,
        dataset_class_names=tuple(names) if names else None,
        versions=package_versions(),
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def refuse_float_operators(contents: FileContents, name: str, *, kept: Collection[Operator] = ()) -> None:
    """Raises FloatOperatorError with the names of operators, other than `kept`, that compute in float."""
    allowed = {f"{each.name} at {contents.tensors[each.outputs[0]].name}" for each in kept}
    places = [
        place
        for place in contents.float_operator_places
        if place not in allowed and not (kept and place.split(" at ")[0] in CONVERSIONS)
    ]
    if not places:
        return
    names = sorted({place.split(" at ")[0] for place in places})
    tensors = [place.split(" at ", 1)[1] for place in places if place.split(" at ")[0] not in CONVERSIONS]
    # 'net_1/Sin', of an operation outside a layer, has the model's scope alone
    within = [tensor for tensor in tensors if tensor.count("/") > 1]
    layers = dict.fromkeys(layer for tensor in within for layer in layers_of_name(tensor)[-1:])
    most = _MOST_PLACES_NAMED
    keep = f"leave each in float (--keep-float: {some(list(layers), most=most)}), " if layers else ""
    raise FloatOperatorError(
        f"{name} is not fully integer: {', '.join(names)} compute in float "
        f"({some(places, most=_MOST_PLACES_NAMED)}). Expected none. Replace the layers named there "
        f"(ReLU, convolutions, pooling, Dense and softmax have integer kernels), {keep}"
        "or export float16 instead."
    )


def _float_layers(
    converted: FileContents, source: SourceModel, model: keras.Model, settings: ExportSettings
) -> tuple[str, ...]:
    """The layers that stay in float as asked; FloatOperatorError if others compute in float too."""
    operators = {name: operators_of(converted, model, name) for name in settings.keep_float}
    kept = {name: _in_float(own, converted) for name, own in operators.items()}
    refuse_float_operators(converted, source.model_name, kept=[each for own in kept.values() for each in own])
    return tuple(name for name, own in kept.items() if own)


def _zero_layers(converted: FileContents, model: keras.Model) -> tuple[str, ...]:
    """The layers whose int8 output has the smallest range that the converter gives."""
    if not any(0 < scale < _ZERO_SCALE for each in converted.tensors for scale in each.scales):
        return ()
    names = [step.name for step in network_steps(model)]
    outputs = {
        name: [converted.tensors[each.outputs[0]] for each in operators_of(converted, model, name)]
        for name in names
    }
    return tuple(
        name
        for name, tensors in outputs.items()
        if any(each.dtype == "int8" and each.scales and each.scales[0] < _ZERO_SCALE for each in tensors)
    )


def _in_float(operators: Collection[Operator], contents: FileContents) -> list[Operator]:
    return [each for each in operators if contents.tensors[each.outputs[0]].dtype == "float32"]


def check_class_names(class_names: Sequence[str], model: keras.Model) -> None:
    """Raises ExportError unless there is a name for each class, and a labels file can hold them."""
    num_classes = head_of_model(model).num_classes
    if len(class_names) != num_classes:
        raise ExportError(
            f"{counted(len(class_names), 'class name')}, but the model has "
            f"{counted(num_classes, 'class', 'classes')}. "
            "Expected one name for each: give the data set that the model was trained on."
        )
    labels_text(class_names)  # what no labels file can hold is refused before the long conversion


def _try_runtimes(
    partial: Path, model_name: str, zero_layers: Sequence[str]
) -> tuple[bool | None, str | None]:
    """Whether tflite-runtime loads the file, and its message; raises ExportError if LiteRT refuses it."""
    loads, error = litert_loads(partial)
    if loads is False and zero_layers:
        raise ExportError(
            f"LiteRT cannot run the converted {model_name}: {error}. Nothing was written. "
            f"{some(zero_layers, quoted=True)} gave 0 on all calibration images, so that int8 has no range "
            "for it. Calibrate with other images, leave it in float with "
            f"--keep-float {zero_layers[0]}, or take it out of the model."
        )
    if loads is False:
        raise ExportError(
            f"LiteRT cannot run the converted {model_name}: {error}. Nothing was written. "
            "Replace the layer that it names, or export in another precision."
        )
    return tflite_runtime_loads(partial)


def _write(content: bytes, target: Path, artifact_of: Callable[[Path], ExportArtifact]) -> ExportArtifact:
    """Writes both files in full before renaming either."""
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
    """The versions of the packages that a file or a figure depends on; only installed ones."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions

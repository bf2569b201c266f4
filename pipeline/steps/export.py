"""Exports a trained model to .tflite files with their sidecars, into a folder and the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from export.artifact import Equalization, ExportArtifact
from export.errors import ExportError, OtherBytesError
from export.exporter import SourceModel, check_class_names, export_model
from export.files import sha256_of
from export.graph.probabilities import head_of_model
from export.head import SIGMOIDS_ON_CLASSES, HeadKind
from export.precisions import Precision
from export.quantization.calibrate import CalibrationImages
from export.settings import ExportSettings
from pipeline.android_kit.kit import check_folder, write_kit
from pipeline.data.calibration import calibration_images
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.errors import UsageError
from pipeline.labels import read_labels
from pipeline.lineage import KerasSource, load_of
from pipeline.progress import Doing, Progress, silent
from pipeline.shell import quoted_value
from pipeline.steps.dataset import load_calibration, load_dataset
from pipeline.steps.export_notes import done_for_int8, meaning, normalized, told_once, too_few
from pipeline.steps.pixels import checked_pixels
from pipeline.steps.replaced import (
    KnownFile,
    Replaced,
    check_same_inputs,
    check_same_origin,
    known_files,
    other_bytes,
    replaced,
)
from pipeline.store.store import open_store

_Choice = tuple[int, int, bool]
"""The choice of calibration images: number, seed, whether only typical ones."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The files that were written, and the reasons for those that were not."""

    artifacts: tuple[ExportArtifact, ...]
    refused: tuple[str, ...]
    """Why a file could not be made, one sentence each."""
    notes: tuple[str, ...] = ()
    """What the user should know of the files."""
    replaced: tuple[Replaced, ...] = ()
    """Files that were verified, measured or in a kit, and whose place one of these took."""
    unchanged: tuple[str, ...] = ()
    """Names of files that were there already, with the same bytes."""
    kit: str | None = None
    """The name of the file that the Android kit was made of."""
    folder: Path
    source: KerasSource

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths of the files that were written."""
        return tuple(self.folder / artifact.path for artifact in self.artifacts)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where exported files go, and what they may replace there."""

    folder: Path | None = None
    """Default: the source's own."""
    kit: Path | None = None
    """Folder of an Android kit to write, of the integer file, else of the smallest."""
    force: bool = False
    """Replace files that were verified, measured or put into a kit by others."""


IN_ITS_FOLDER = Place()


def export(
    source: KerasSource,
    settings: Sequence[ExportSettings],
    *,
    runs: Path,
    place: Place = IN_ITS_FOLDER,
    labels: Path | Sequence[str] | None = None,
    progress: Progress = silent,
) -> Exported:
    """Exports the source with each of the settings into the place, and into the store in `runs`.

    The other files are written even if one fails. `labels` are the class names that an app shows, or a file
    of them; default: the source's own. Raises UsageError before anything slow if other settings or another
    model would replace a file that was verified, measured or put into a kit.
    """
    if place.kit is not None:
        check_folder(place.kit)
    if not place.force:
        for each in settings:
            for known in _known(source, [each], place, runs).values():
                check_same_origin(known, source, with_skipped_layers(source, each))
    ready = prepare(source, settings, labels=labels, progress=progress)
    note = checked_pixels(
        ready.source, ready.model.model, ready.dataset, ready.model.class_names, progress=progress
    )
    ready = dataclasses.replace(ready, notes=(*ready.notes, *filter(None, (note,))))
    return write(ready, place, runs=runs, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Everything needed to convert; nothing is written yet."""

    source: KerasSource
    model: SourceModel
    settings: tuple[ExportSettings, ...]
    images: Mapping[_Choice, CalibrationImages]
    dataset: Dataset | None
    """None if neither calibration images nor class names were needed."""
    notes: tuple[str, ...] = ()
    """What the user should know of the model."""
    equalization: Equalization | None = None
    """That of the file to make again."""
    file_name: str | None = None
    """The name of the one file to make; default: that of its model and settings."""


def prepare(
    source: KerasSource,
    settings: Sequence[ExportSettings],
    *,
    labels: Path | Sequence[str] | None = None,
    progress: Progress = silent,
) -> Ready:
    """Loads the model of the source and its calibration images."""
    progress(Doing(f"reading {source.model_path}"))

    loaded = load_of(source)
    model = loaded.model
    num_classes = head_of_model(model).num_classes
    shown = read_labels(labels, num_classes) if isinstance(labels, Path) else labels
    settings = tuple(with_skipped_layers(source, each) for each in settings)
    calibrated = [
        each for each in settings if each.precision.is_calibrated(has_quantizers=_is_quantized(source))
    ]
    dataset = _dataset(source, calibrated, progress)
    images = _calibration_images(source, model, dataset, calibrated, progress)
    source, unnamed = _named(source, dataset, num_classes, is_labelled=shown is not None)
    notes = [*loaded.notes, unnamed, _sigmoids_on_classes(model, dataset)]
    names = shown or source.class_names or tuple(map(str, range(num_classes)))
    check_class_names(names, model)
    described = SourceModel(
        path=source.model_path,
        model=model,
        dtype_policy=loaded.dtype_policy,
        trained=_trained_quantizers(source, model, settings, progress),
        model_name=source.model_name,
        family=source.family,
        knobs=source.knobs,
        class_names=names,
        data=from_any_folder(source.data) if source.data else None,
        dataset=dataset.spec.name if calibrated and dataset else source.dataset,
        dataset_class_names=source.class_names if labels else None,
    )
    return Ready(
        source=source,
        model=described,
        settings=settings,
        images=images,
        dataset=dataset,
        notes=tuple(filter(None, notes)),
    )


def write(ready: Ready, place: Place, *, runs: Path, progress: Progress = silent) -> Exported:
    """Writes the files and the kit into the place, and their records into the store in `runs`.

    A file that other bytes may not replace is kept, and `refused` says so.
    """
    folder = place.folder or ready.source.export_folder
    paths = {each: folder / (ready.file_name or file_name(ready.source, each)) for each in ready.settings}
    earlier = {path: sha256_of(path) for path in paths.values() if path.is_file()}
    known = known_files(paths.values(), runs=runs, kit=place.kit)
    kept = {} if place.force else known
    for each, path in paths.items():
        if path in kept:
            check_same_inputs(kept[path], ready.model.class_names, _calibrated_with(ready, each))
    artifacts, refused = _write(ready, paths, kept, progress)
    _store(artifacts, folder, runs)
    unchanged = [each.path for each in artifacts if earlier.get(folder / each.path) == each.sha256]
    notes = dict.fromkeys(
        [
            *ready.notes,
            *(too_few(each[0], found.record) for each, found in ready.images.items() if found.record),
            *(done_for_int8(each) for each in artifacts),
            *(meaning(each) for each in artifacts),
            *(normalized(each) for each in artifacts),
        ]
    )
    return Exported(
        artifacts=tuple(artifacts),
        refused=told_once(refused),
        notes=tuple(filter(None, notes)),
        replaced=tuple(
            replaced(known[folder / each.path], each, runs=runs)
            for each in artifacts
            if folder / each.path in known and each.path not in unchanged
        ),
        unchanged=tuple(unchanged),
        kit=_write_kit(place.kit, artifacts, folder, runs) if place.kit and artifacts else None,
        folder=folder,
        source=ready.source,
    )


def file_name(source: KerasSource, settings: ExportSettings) -> str:
    """The name of a file: model, precision, and the type of its input where it is not the usual one."""
    usual = settings.precision.spec.io_dtypes[0]
    typed = "" if settings.io_dtype == usual else f"_{settings.io_dtype}"
    return f"{source.model_name}_{settings.precision}{typed}.tflite"


def _known(
    source: KerasSource, settings: Sequence[ExportSettings], place: Place, runs: Path
) -> dict[Path, KnownFile]:
    folder = place.folder or source.export_folder
    return known_files((folder / file_name(source, each) for each in settings), runs=runs, kit=place.kit)


def _calibrated_with(ready: Ready, settings: ExportSettings) -> str | None:
    found = ready.images.get(_choice(settings))
    return found.record.sha256 if found and found.record else None


def _is_quantized(source: KerasSource) -> bool:
    return source.compression is not None and source.compression.is_quantized


def with_skipped_layers(source: KerasSource, settings: ExportSettings) -> ExportSettings:
    """The settings; if the source has trained quantizers, with its layers without quantizers kept in float.

    UsageError if the settings keep other layers in float.
    """
    config = source.compression
    if config is None or not config.is_quantized or not settings.precision.spec.takes_quantizers:
        return settings
    for name in settings.keep_float:
        if name not in config.kept_in_float:
            raise UsageError(
                f"--keep-float {name}: this run was trained with a quantizer there, which stays. Compress "
                f"{config.parent} again with --skip-layer {quoted_value(name)}, or export that run."
            )
    return dataclasses.replace(settings, keep_float=config.kept_in_float)


def _trained_quantizers(
    source: KerasSource, model: keras.Model, settings: Sequence[ExportSettings], progress: Progress
) -> Any:  # noqa: ANN401 - tf_keras carries no types
    """The network with its trained quantizers; None if none is needed."""
    if source.compression is None or not source.compression.is_quantized:
        return None
    if not any(each.precision.spec.takes_quantizers for each in settings):
        return None
    progress(Doing("reading the trained quantizers"))
    from pipeline.compression.compress import load_quantized  # with tf_keras, which few runs need

    return load_quantized(model, source.compression, source.model_path.parent)


def _dataset(source: KerasSource, calibrated: Sequence[ExportSettings], progress: Progress) -> Dataset | None:
    """The data set, if calibration images or class names are needed of it; else None."""
    needs_images = bool(calibrated) and source.calibration is None
    if source.data is None and needs_images:
        names = " and ".join(each.precision for each in calibrated)
        raise UsageError(
            f"{names} must see images to choose their ranges, and {source.model_path} comes without any. "
            "Give some: --data NAME or FOLDER of the training, or --calibration FOLDER, any images like "
            "those in the app."
        )
    if source.data is None or (not needs_images and source.class_names is not None):
        return None
    return load_dataset(source.data, progress)


def _named(
    source: KerasSource, dataset: Dataset | None, num_classes: int, *, is_labelled: bool
) -> tuple[KerasSource, str]:
    """The source, with the class names of its images if they can be its outputs', and what to say if not."""
    if source.class_names is not None:
        return source, ""
    spec = None if dataset is None else dataset.spec
    if spec is not None and len(spec.class_names) == num_classes:
        return dataclasses.replace(source, class_names=spec.class_names, dataset=spec.name), ""
    if is_labelled:
        return source, ""
    why = "no class names were given"
    if spec is not None:
        why = f"{spec.name} has {len(spec.class_names)} classes and the model {num_classes}"
    return (
        source,
        f"exported without labels, since {why}: its classes are numbers. To name them: --labels FILE.",
    )


def _sigmoids_on_classes(model: keras.Model, dataset: Dataset | None) -> str:
    """That the outputs are labels and the images have one class each; empty if it is not so."""
    if dataset is None or dataset.spec.has_several_labels:
        return ""
    return f"{SIGMOIDS_ON_CLASSES}." if head_of_model(model).kind is HeadKind.LABELS else ""


def _choice(settings: ExportSettings) -> _Choice:
    return settings.num_calibration, settings.seed, settings.typical


def _calibration_images(
    source: KerasSource,
    model: keras.Model,
    dataset: Dataset | None,
    calibrated: Sequence[ExportSettings],
    progress: Progress,
) -> dict[_Choice, CalibrationImages]:
    found: dict[_Choice, CalibrationImages] = {}
    address = from_any_folder(source.calibration) if source.calibration else None
    if address and calibrated:
        dataset = load_calibration(address, progress)
    for number, seed, typical in dict.fromkeys(map(_choice, calibrated)):
        assert dataset is not None
        progress(Doing("choosing calibration images"))
        found[number, seed, typical] = calibration_images(
            model, dataset, num_samples=number, seed=seed, typical=typical, address=address
        )
    return found


_Refused = tuple[Precision, str]


def _write(
    ready: Ready,
    paths: Mapping[ExportSettings, Path],
    kept: Mapping[Path, KnownFile],
    progress: Progress,
) -> tuple[list[ExportArtifact], list[_Refused]]:

    artifacts, refused = [], []
    source = ready.model
    for each in ready.settings:
        doing = f"converting {source.model_name} to {each.precision}"
        progress(Doing(doing))

        def count(done: int, total: int, doing: str = doing) -> None:
            progress(Doing(doing, f"calibrating, image {done} of {total}", done, total))

        def choosing(done: int, total: int, doing: str = doing) -> None:
            progress(
                Doing(doing, f"choosing what int8 loses least with, image {done} of {total}", done, total)
            )

        path = paths[each]
        stays = kept.get(path)
        try:
            artifact = export_model(
                source,
                path,
                each,
                images=ready.images.get(_choice(each)),
                equalization=ready.equalization,
                only_sha256=stays.sha256 if stays else None,
                progress=count,
                choosing=choosing,
            )
        except OtherBytesError as error:
            assert stays is not None
            refused.append((each.precision, other_bytes(stays, str(error))))
        except ExportError as error:
            refused.append((each.precision, str(error)))
        else:
            artifacts.append(artifact)
    return artifacts, refused


def _store(artifacts: Sequence[ExportArtifact], folder: Path, runs: Path) -> None:
    with open_store(runs) as store:
        for artifact in artifacts:
            store.add_artifact(artifact, folder)


def _write_kit(kit: Path, artifacts: Sequence[ExportArtifact], folder: Path, runs: Path) -> str:
    """Writes the Android kit of the integer file, else of the smallest; returns that file's name."""
    integer = [artifact for artifact in artifacts if artifact.precision.spec.is_integer]
    artifact = min(integer or artifacts, key=lambda each: each.size_bytes)
    write_kit(kit, folder / artifact.path, artifact)
    with open_store(runs) as store:
        store.add_kit(artifact.sha256, kit)
    return artifact.path

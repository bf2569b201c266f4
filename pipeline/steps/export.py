"""Exports a trained model to .tflite files with their sidecars, into a folder and the store."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from export.artifact import Equalization, ExportArtifact
from export.choose_int8 import FEWEST_IMAGES
from export.errors import ExportError
from export.exporter import SourceModel, check_class_names, export_model
from export.graph.rewrite import head_of_model
from export.head import HeadKind
from export.precisions import Precision
from export.quantization.calibrate import CalibrationImages
from export.quantization.typical import typical_images
from export.settings import ExportSettings
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.data.spec import image_shape_of
from pipeline.errors import UsageError
from pipeline.labels import read_labels
from pipeline.lineage import KerasSource, load_of
from pipeline.progress import Doing, Progress, silent
from pipeline.steps.dataset import load_dataset
from pipeline.steps.pixels import checked_pixels
from pipeline.steps.replaced import Replaced, digests, replaced_files
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
    folder: Path
    source: KerasSource

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths of the files that were written."""
        return tuple(self.folder / artifact.path for artifact in self.artifacts)


def export(
    source: KerasSource,
    settings: Sequence[ExportSettings],
    *,
    runs: Path,
    out: Path | None = None,
    labels: Path | Sequence[str] | None = None,
    progress: Progress = silent,
) -> Exported:
    """Exports the source with each of the settings into its folder, or `out`, and into the store in `runs`.

    The other files are written even if one fails. `labels` are the class names that an app shows, or a file
    of them; default: the source's own.
    """
    ready = prepare(source, settings, labels=labels, progress=progress)
    note = checked_pixels(
        ready.source, ready.model.model, ready.dataset, ready.model.class_names, progress=progress
    )
    ready = dataclasses.replace(ready, notes=(*ready.notes, *filter(None, (note,))))
    return write(ready, out or source.export_folder, runs=runs, progress=progress)


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
    settings = tuple(_with_skipped_layers(source, each) for each in settings)
    calibrated = [
        each for each in settings if each.precision.is_calibrated(has_quantizers=_is_quantized(source))
    ]
    dataset = _dataset(source, calibrated, progress)
    if source.class_names is None and dataset is not None:
        spec = dataset.spec
        source = dataclasses.replace(source, class_names=spec.class_names, dataset=spec.name)
    names = shown or source.class_names or tuple(map(str, range(num_classes)))
    check_class_names(names, model)
    images = _calibration_images(model, dataset, calibrated, progress) if dataset else {}
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
        notes=loaded.notes,
    )


def write(ready: Ready, folder: Path, *, runs: Path, progress: Progress = silent) -> Exported:
    """Writes the files into `folder`, and their records into the store in `runs`."""
    before = digests(folder / _file_name(ready.model, each) for each in ready.settings)
    artifacts, refused = _write(ready, folder, progress)
    _store(artifacts, folder, runs)
    notes = dict.fromkeys(
        [
            *ready.notes,
            *(_too_few(each, found) for each, found in ready.images.items()),
            *(_done_for_int8(each) for each in artifacts),
            *(_meaning(each) for each in artifacts),
        ]
    )
    return Exported(
        artifacts=tuple(artifacts),
        refused=_told_once(refused),
        notes=tuple(filter(None, notes)),
        replaced=replaced_files(before, runs=runs),
        folder=folder,
        source=ready.source,
    )


def _meaning(artifact: ExportArtifact) -> str:
    """What the outputs mean, if they are no classes that exclude each other."""
    head, names = artifact.head, artifact.class_names
    if head.kind is HeadKind.BINARY:
        return f"one output: above {head.threshold:g} it says '{names[1]}', else '{names[0]}'."
    if head.kind is HeadKind.LABELS:
        return (
            f"{head.num_outputs} sigmoids: each label holds on its own, above {head.threshold:g}, so a top-1 "
            "says nothing. `pipeline verify` gives the average precision."
        )
    return ""


def _file_name(source: SourceModel, settings: ExportSettings) -> str:
    return f"{source.model_name}_{settings.precision}.tflite"


def _told_once(refused: Sequence[tuple[Precision, str]]) -> tuple[str, ...]:
    """The refusals; one that several precisions share is told for the first, and names the others."""
    alike: dict[str, list[tuple[Precision, str]]] = {}
    for precision, text in refused:
        form = re.sub(rf"(?:\b|_){precision}\b", "...", text)
        alike.setdefault(form, []).append((precision, text))
    told = []
    for (_, text), *others in alike.values():
        names = " and ".join(precision for precision, _ in others)
        told.append(f"{text} The same holds for {names}." if others else text)
    return tuple(told)


def _is_quantized(source: KerasSource) -> bool:
    return source.compression is not None and source.compression.is_quantized


def _with_skipped_layers(source: KerasSource, settings: ExportSettings) -> ExportSettings:
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
                f"{config.parent} again with --skip-layer {name}, or export that run."
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
    """The data set, if calibration images or class names are needed; else None."""
    if not calibrated and source.class_names is not None:
        return None
    if source.data is None:
        if calibrated:
            names = " and ".join(each.precision for each in calibrated)
            raise UsageError(
                f"{names} must see training images to choose their ranges, and {source.model_path} comes "
                "without any. Give them: --data NAME or FOLDER."
            )
        return None
    return load_dataset(source.data, progress)


def _choice(settings: ExportSettings) -> _Choice:
    return settings.num_calibration, settings.seed, settings.typical


def _calibration_images(
    model: keras.Model,
    dataset: Dataset,
    calibrated: Sequence[ExportSettings],
    progress: Progress,
) -> dict[_Choice, CalibrationImages]:

    found: dict[_Choice, CalibrationImages] = {}
    for number, seed, typical in dict.fromkeys(map(_choice, calibrated)):
        image_size = image_shape_of(model)
        progress(Doing("choosing calibration images"))
        pixels, record = dataset.calibration_pixels(
            image_size=image_size,
            num_samples=number,
            seed=seed,
            choose=(lambda pixels: typical_images(model, pixels)) if typical else None,
        )
        found[number, seed, typical] = CalibrationImages(pixels=pixels, record=record)
    return found


def _too_few(asked: _Choice, found: CalibrationImages) -> str:
    assert found.record is not None
    there_are = found.record.num_samples + found.record.left_out
    if there_are >= asked[0]:
        return ""
    return f"calibrating with {there_are} images: the training split has no more."


def _done_for_int8(artifact: ExportArtifact) -> str:
    """What an int8 file loses less with, and the two errors; empty for another file."""
    done, settings, calibration = artifact.equalization, artifact.settings, artifact.calibration
    if calibration is None or not settings.precision.spec.is_integer or settings.equalize is not None:
        return ""
    if done is None and settings.rewrites:
        return (
            f"{artifact.path}: {calibration.num_samples} calibration images are too few to hold some out and "
            f"choose what int8 loses least with. Give {FEWEST_IMAGES}, or say --equalize or --no-equalize."
        )
    if done is None:
        return ""
    if done.error is None or done.plain_error is None:
        return ""
    without = "" if done.error == done.plain_error else f", {100 * done.plain_error:.1f}% without"
    return (
        f"{artifact.path}: {done.in_words}. Its class scores are off by {100 * done.error:.1f}% of their "
        f"spread on {done.num_held_out} images held out{without}."
    )


_Refused = tuple[Precision, str]


def _write(ready: Ready, folder: Path, progress: Progress) -> tuple[list[ExportArtifact], list[_Refused]]:

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

        path = folder / _file_name(source, each)
        try:
            artifact = export_model(
                source,
                path,
                each,
                images=ready.images.get(_choice(each)),
                equalization=ready.equalization,
                progress=count,
                choosing=choosing,
            )
        except ExportError as error:
            refused.append((each.precision, str(error)))
        else:
            artifacts.append(artifact)
    return artifacts, refused


def _store(artifacts: Sequence[ExportArtifact], folder: Path, runs: Path) -> None:
    with open_store(runs) as store:
        for artifact in artifacts:
            store.add_artifact(artifact, folder)

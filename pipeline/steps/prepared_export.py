"""What an export needs before anything is converted: the model, its calibration images, its class names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from export.artifact import Equalization
from export.exporter import SourceModel, check_class_names
from export.graph.probabilities import head_of_model
from export.head import SIGMOIDS_ON_CLASSES, HeadKind
from export.quantization.calibrate import CalibrationImages
from export.settings import ExportSettings
from pipeline.data.calibration import calibration_images
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.errors import UsageError
from pipeline.labels import read_labels
from pipeline.lineage import KerasSource, load_of
from pipeline.progress import Doing, Progress, silent
from pipeline.shell import quoted_value
from pipeline.steps.dataset import load_calibration, load_dataset

Choice = tuple[int, int, bool]
"""The choice of calibration images: number, seed, whether only typical ones."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Everything needed to convert; nothing is written yet."""

    source: KerasSource
    model: SourceModel
    settings: tuple[ExportSettings, ...]
    images: Mapping[Choice, CalibrationImages]
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


def choice_of(settings: ExportSettings) -> Choice:
    """The choice of calibration images that the settings ask for."""
    return settings.num_calibration, settings.seed, settings.typical


def _calibration_images(
    source: KerasSource,
    model: keras.Model,
    dataset: Dataset | None,
    calibrated: Sequence[ExportSettings],
    progress: Progress,
) -> dict[Choice, CalibrationImages]:
    found: dict[Choice, CalibrationImages] = {}
    address = from_any_folder(source.calibration) if source.calibration else None
    if address and calibrated:
        dataset = load_calibration(address, progress)
    for number, seed, typical in dict.fromkeys(map(choice_of, calibrated)):
        assert dataset is not None
        progress(Doing("choosing calibration images"))
        found[number, seed, typical] = calibration_images(
            model, dataset, num_samples=number, seed=seed, typical=typical, address=address
        )
    return found

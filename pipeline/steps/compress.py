"""Compresses a trained model into a new run: prunes, clusters, trains quantized."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path

from export.files import sha256_of
from export.graph.probabilities import head_of_model
from export.head import HeadKind
from export.records import read_record_as
from export.source.serving import is_serving_function
from models.registry import family_of
from pipeline.class_names import check_same_classes
from pipeline.compression.compress import compress as compress_run
from pipeline.compression.compress import start_run
from pipeline.compression.finetune import Images
from pipeline.compression.prepare import Prepared, equalized, prepare, prove
from pipeline.data import augment
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.data.spec import image_shape_of
from pipeline.errors import PipelineError, UsageError
from pipeline.lineage import KerasSource, find_source, load_model_of
from pipeline.progress import Doing, Note, Progress, silent
from pipeline.records.compression import LEARNING_RATES, CompressConfig, check
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.run_lock import only_process_of
from pipeline.runs import CONFIG, setting_of
from pipeline.shell import quoted
from pipeline.steps.dataset import load_dataset
from pipeline.steps.pixels import checked_pixels
from pipeline.steps.resumable import resumable
from pipeline.store.store import open_store
from pipeline.training.trainer import check_same_data
from spelling import counted


def compress(
    source: KerasSource, settings: CompressConfig, *, runs: Path, progress: Progress = silent
) -> TrainRecord:
    """Compresses the source into a new run in the folder `runs`; returns its record.

    The settings' parent and data are filled in from the source.
    """
    check(settings)
    config = compress_config(source, settings, runs=runs)
    prepared = _prepared(source, config, progress)
    return _compressed(source, prepared, None, runs, progress)


def resume(run: Path, *, runs: Path, progress: Progress = silent) -> TrainRecord:
    """Resumes a stopped compression with its own settings."""
    with only_process_of(run):
        return _resumed(run, runs, progress)


def _resumed(run: Path, runs: Path, progress: Progress) -> TrainRecord:
    try:
        config = read_record_as(CompressConfig, setting_of(run, "compression"))
    except (ValueError, TypeError) as error:
        raise PipelineError(
            f"{run / CONFIG} was written by another version ({error}). Compress anew."
        ) from error
    source = find_source(config.parent, data=config.data, folder=runs)
    if source.family is None:
        source = dataclasses.replace(source, knobs=setting_of(run, "pixels"))
    return _compressed(source, _prepared(source, config, progress), run, runs, progress)


def compress_config(source: KerasSource, settings: CompressConfig, *, runs: Path) -> CompressConfig:
    """The settings with parent and data filled in. UsageError without images."""
    if source.data is None:
        raise UsageError(
            f"{source.model_path} comes without images to train on. Give them: --data NAME or FOLDER."
        )
    return dataclasses.replace(
        settings,
        parent=_name_of(source, runs),
        parent_sha256=sha256_of(source.model_path),
        data=from_any_folder(source.data),
    )


def _name_of(source: KerasSource, runs: Path) -> str:
    """The name with which find_source() finds the model from any folder: its run, else a path."""
    run = source.model_path.absolute().parent
    if source.export_folder.absolute().parent != run:
        return str(source.model_path.absolute())
    return run.name if run.resolve().parent == runs.resolve() else str(run)


def _prepared(source: KerasSource, config: CompressConfig, progress: Progress) -> Prepared:
    progress(Doing(f"reading {source.model_path}"))
    model = load_model_of(source)
    if is_serving_function(model):
        raise PipelineError(
            f"{source.model_path} is a SavedModel without Keras layers, so there is nothing to prune or "
            "train. Expected layers: save the model itself with model.save('model.keras'), or export this "
            f"one uncompressed: pipeline export {quoted(source.model_path)} --int8 "
            f"--data {quoted(config.data)}"
        )
    return prepare(model, config)


def _compressed(
    source: KerasSource, prepared: Prepared, run: Path | None, runs: Path, progress: Progress
) -> TrainRecord:
    config = prepared.config
    dataset = load_dataset(config.data, progress)
    dataset.check_trainable()
    images = _images(source, prepared, dataset)
    if run is None and (
        note := checked_pixels(source, None, dataset, _names(source, prepared), progress=progress)
    ):
        progress(Note(note))
    progress(Doing("proving that the copy to be compressed computes the same"))
    prepared = equalized(prepared, images)
    prove(prepared, images)
    name = f"{source.model_name}{_suffix(config)}"
    is_new = run is None
    if run is None:
        run = start_run(
            config,
            f"{name}-{dataset.spec.name}",
            folder=runs,
            fingerprint=dataset.spec.fingerprint,
            pixels=source.knobs if source.family is None else {},
        )
    else:
        check_same_data(run, dataset.spec)
        _check_same_parent(source, config)
    progress(Note(f"{run.name}: from {config.parent}, {counted(dataset.spec.num_train, 'image')}"))
    for note in prepared.notes:
        progress(Note(note))
    alone = only_process_of(run) if is_new else nullcontext()
    with alone, resumable(run, batch_size=config.batch_size):
        record = compress_run(
            prepared,
            images,
            run,
            parent=_train_config(source, config),
            name=name,
            progress=progress,
        )
    with open_store(runs) as store:
        store.add_run(record)
    return record


def _images(source: KerasSource, prepared: Prepared, dataset: Dataset) -> Images:
    check_same_classes(_names(source, prepared), dataset.spec.class_names, name=source.model_path.name)
    image_size = image_shape_of(prepared.model)
    chosen = augment.NONE
    if prepared.config.augment:
        family = source.family
        area = family_of(family).min_crop_area if family is not None else augment.FOREIGN_CROP_AREA
        chosen = augment.suited(
            augment.preset(area, image_size=min(image_size[:2])),
            mirror_keeps_labels=dataset.spec.mirror_keeps_labels,
            background=dataset.spec.background,
        )
    head = head_of_model(prepared.model)
    if head.kind is not HeadKind.LABELS:
        dataset.check_one_label("fine-tuning a model without several sigmoids")
    return Images(
        dataset=dataset,
        head=head,
        image_size=image_size,
        rescaling=prepared.rescaling,
        augment=chosen,
    )


def _names(source: KerasSource, prepared: Prepared) -> tuple[str, ...]:
    return source.class_names or tuple(map(str, range(head_of_model(prepared.model).num_classes)))


def _check_same_parent(source: KerasSource, config: CompressConfig) -> None:
    found = sha256_of(source.model_path)
    if found != config.parent_sha256:
        raise PipelineError(
            f"{source.model_path} has changed since the compression was started (sha256 "
            f"{config.parent_sha256[:12]}, now {found[:12]}). Put it back, or compress anew."
        )


def _train_config(source: KerasSource, config: CompressConfig) -> TrainConfig:
    """The training settings of the new run's record."""
    return TrainConfig(
        family=source.family,
        knobs=source.knobs if source.family is not None else {},
        data=config.data,
        epochs=config.epochs * len(config.steps),
        batch_size=config.batch_size,
        optimizer="sgd",
        learning_rate=config.learning_rate or max(LEARNING_RATES[step] for step in config.steps),
        momentum=config.momentum,
        warmup_epochs=0.0,
        clip_norm=config.clip_norm,
        augment=config.augment,
        seed=config.seed,
    )


def _suffix(config: CompressConfig) -> str:
    """The suffix of the model's name for its compression, such as _pruned67_clustered64_qat."""
    share = f"{100 * config.prune:g}" if config.prune is not None else ""
    words = {"prune": f"_pruned{share}", "cluster": f"_clustered{config.cluster}", "qat": "_qat"}
    return "".join(words[step] for step in config.steps)

"""Trains a family with its knobs on a data set, into a new run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.build import build_without_weights
from models.cost import cost
from models.registry import family_of, remarks, resolve, without_aliases
from models.weights.catalogue import best_for
from pipeline.data.advice import advice
from pipeline.data.dataset import Dataset
from pipeline.data.registry import DATASETS, from_any_folder
from pipeline.data.spec import DatasetSpec
from pipeline.errors import UsageError
from pipeline.progress import Note, Progress, silent
from pipeline.records.training import BALANCED, TrainConfig, TrainRecord, read_record
from pipeline.run_lock import only_process_of
from pipeline.runs import RECORD
from pipeline.shell import quoted
from pipeline.steps.dataset import load_dataset
from pipeline.steps.resumable import resumable
from pipeline.steps.settings import TrainSettings
from pipeline.steps.teacher import check_teaches, find_teacher, matched_teacher
from pipeline.store.store import open_store
from pipeline.training import trainer
from pipeline.training.checkpoint import History
from pipeline.training.freeze import ALL, NONE
from pipeline.training.loop import has_waited
from pipeline.training.mixed_precision import why_slow
from pipeline.training.start import IMAGENET, Start, find_start
from spelling import counted

FEW_IMAGES = 20_000
"""Below so many training images, published weights are suggested."""
MAX_IMBALANCE = 10
"""Images of the largest class to those of the smallest, above which balanced class weights are suggested."""
WITH_WEIGHTS: dict[str, Any] = {
    "epochs": 8,
    "head_epochs": 40,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "schedule": "cosine",
    "weight_decay": 1e-4,
    "clip_norm": 0.0,
    "label_smoothing": 0.1,
}
"""The recipe for few images, from weights that were trained on others."""
FROM_RECIPE = ("optimizer", "learning_rate", "batch_size", "schedule", "clip_norm")


def train(
    family: str,
    data: str,
    settings: TrainSettings | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> TrainRecord:
    """Trains the family on a data set (name or folder), in a new folder of `runs`; returns its record."""
    prepared = prepare(family, data, settings or TrainSettings(), runs=runs, progress=progress)
    run = trainer.start_run(prepared.config, prepared.dataset.spec, folder=runs)
    with only_process_of(run):
        return _trained(prepared.config, prepared.dataset, run, runs, progress)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far a marked training has come."""

    run: Path
    epochs: int
    """Of its schedule."""
    history: History
    """Its finished epochs."""
    dataset: DatasetSpec
    record: TrainRecord | None
    """None before its last epoch."""


def train_marked(
    family: str,
    data: str,
    settings: TrainSettings,
    *,
    mark: str,
    until: int | None = None,
    runs: Path,
    progress: Progress = silent,
) -> Reached:
    """Trains the run whose name ends in `mark` up to epoch `until` of its schedule, or to its end.

    A run of that mark goes on where it is: nothing is trained twice. One that pauses, now or after a kill,
    ends with the very weights of one that does not. Raises PipelineError if its images have changed.
    """
    prepared = prepare(family, data, settings, runs=runs, progress=progress)
    dataset = prepared.dataset
    run = trainer.start_run(prepared.config, dataset.spec, folder=runs, mark=mark)
    with only_process_of(run):
        config = trainer.read_config(run)
        trainer.check_same_data(run, dataset.spec)
        if (run / RECORD).is_file():
            record = read_record(run / RECORD)
        elif until is None or until >= config.epochs:
            record = _trained(config, dataset, run, runs, progress)
        else:
            with resumable(run, batch_size=config.batch_size):
                history = trainer.train_until(config, dataset, run, epoch=until, progress=progress)
            if not has_waited(history, config.patience):
                return _reached(run, config, dataset, None)
            record = _trained(config, dataset, run, runs, progress)
        return _reached(run, config, dataset, record)


def _reached(run: Path, config: TrainConfig, dataset: Dataset, record: TrainRecord | None) -> Reached:
    history = trainer.read_history(run)
    return Reached(run=run, epochs=config.epochs, history=history, dataset=dataset.spec, record=record)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training before it begins."""

    config: TrainConfig
    dataset: Dataset


def prepare(
    family: str, data: str, settings: TrainSettings, *, runs: Path, progress: Progress = silent
) -> Prepared:
    """Every setting of the training and its images; says what other settings would bring."""
    start = _start(family, settings, runs)
    found = find_teacher(settings.teacher, runs=runs) if settings.teacher else None
    dataset = load_dataset(data, progress)
    _name_left_out(dataset.spec, progress)
    dataset.check_trainable()
    dataset.check_one_label("training")
    config = train_config(family, from_any_folder(data), dataset.spec, settings, start=start)
    if settings.teacher and found:
        matched = matched_teacher(found, dataset, settings.teacher, progress=progress)
        check_teaches(matched, dataset, image_size=config.knobs["image_size"], progress=progress)
        config = dataclasses.replace(config, teacher=matched.config)
    _advise(config, dataset.spec, progress)
    if config.mixed_precision and (why := why_slow()):
        progress(Note(f"--mixed-precision: {why}, so that it will be slower than without."))
    for sentence in _suggestions(config, dataset.spec, settings):
        progress(Note(sentence))
    return Prepared(config=config, dataset=dataset)


def resume(run: Path, *, runs: Path, progress: Progress = silent) -> TrainRecord:
    """Resumes a stopped training with its own settings."""
    with only_process_of(run):
        config = trainer.read_config(run)
        dataset = load_dataset(config.data, progress)
        trainer.check_same_data(run, dataset.spec)
        return _trained(config, dataset, run, runs, progress)


def train_config(
    family: str, data: str, dataset: DatasetSpec, settings: TrainSettings, *, start: Start | None = None
) -> TrainConfig:
    """Every setting of the training: the given value, else the recipe's, else the default.

    With weights to start from, the recipe is the one for few images, else the family's.
    """
    knobs = without_aliases(family, dict(start.knobs if start else settings.knobs))
    knobs["num_classes"] = len(dataset.class_names)
    if "image_size" not in knobs and dataset.image_size is not None:
        knobs["image_size"] = dataset.image_size
    resolved = resolve(family, knobs)
    asked = {
        field.name: value
        for field in dataclasses.fields(settings)
        if field.name not in ("knobs", "weights", "teacher")
        and (value := getattr(settings, field.name)) is not None
    }
    if start is not None:
        came_from = {"weights": str(start.path), "weights_sha256": start.sha256, "weights_name": start.said}
        asked = {**WITH_WEIGHTS, **asked, **came_from}
        if asked.get("freeze") == ALL:
            asked["epochs"] = 0
    recipe = family_of(family).recipe
    for name in FROM_RECIPE:
        asked.setdefault(name, getattr(recipe, name))
    if "weight_decay" not in asked:
        parameters = cost(build_without_weights(family, **resolved)).parameters
        asked["weight_decay"] = recipe.weight_decay_for(parameters)
    return TrainConfig(family=family, knobs=resolved, data=data, **asked)


def _trained(config: TrainConfig, dataset: Dataset, run: Path, runs: Path, progress: Progress) -> TrainRecord:
    if config.weights:
        progress(Note(f"starting from {config.weights_name}; BatchNorm is kept, and the head is new"))
    whole = counted(config.epochs, "epoch") if config.epochs else "the head alone"
    progress(
        Note(
            f"{run.name}: {whole} of "
            f"{counted(dataset.spec.num_train, 'image')}, {config.optimizer}, "
            f"learning rate {config.learning_rate:g}, batch {config.batch_size}, "
            f"weight decay {config.weight_decay:g}"
        )
    )
    with resumable(run, batch_size=config.batch_size):
        record = trainer.train(config, dataset, run, progress=progress)
    with open_store(runs) as store:
        store.add_run(record)
    return record


def _start(family: str, settings: TrainSettings, runs: Path) -> Start | None:
    """The weights to start from, tried on the net; None for random ones."""
    if settings.weights is None:
        for name in ("head_epochs", "freeze"):
            if getattr(settings, name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for a training from weights. Give --weights imagenet, a "
                    "file or a run, or leave it out."
                )
        return None
    if settings.freeze == ALL and settings.head_epochs == 0:
        raise UsageError("--freeze all with --head-epochs 0 trains nothing. Leave one of them out.")
    given = without_aliases(family, dict(settings.knobs))
    return find_start(settings.weights, family, given, freeze=settings.freeze or NONE, runs=runs)


def _suggestions(config: TrainConfig, dataset: DatasetSpec, settings: TrainSettings) -> Iterator[str]:
    """What other settings would bring, a sentence each."""
    family, size = str(config.family), {"image_size": config.knobs["image_size"]}
    best = best_for(family, {**without_aliases(family, dict(settings.knobs)), **size})
    if config.weights is None and dataset.num_train < FEW_IMAGES and config.data not in DATASETS and best:
        yield (
            f"{counted(dataset.num_train, 'training image')} are few to train a net from random weights. "
            f"Published ones know edges, textures and shapes already: --weights {IMAGENET} ({best})"
        )
    counts = [each.train for each in dataset.class_counts if each.train]
    if config.class_weights != BALANCED and max(counts) >= MAX_IMBALANCE * min(counts):
        yield (
            f"one class has {max(counts) // min(counts)} times the images of another. To let each class "
            f"count the same: --class-weights {BALANCED}"
        )


def _advise(config: TrainConfig, dataset: DatasetSpec, progress: Progress) -> None:
    others = {name: value for name, value in config.knobs.items() if name != "image_size"}
    made_for = resolve(str(config.family), others)["image_size"]
    for sentence in remarks(str(config.family), config.knobs):
        progress(Note(sentence))
    for sentence in advice(dataset, image_size=config.knobs["image_size"], made_for=made_for):
        progress(Note(sentence))


def _name_left_out(dataset: DatasetSpec, progress: Progress) -> None:
    left_out = dataset.left_out
    if left_out:
        progress(
            Note(
                f"{counted(len(left_out), 'file')} left out, such as {left_out[0].path} "
                f"({left_out[0].reason}). "
                f"All of them: pipeline data {quoted(dataset.source)}"
            )
        )

"""Trains a family with its knobs on a data set, into a new run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from models.build import build_without_weights
from models.cost import cost
from models.registry import family_of, resolve, without_aliases
from pipeline.data.advice import advice
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.data.spec import DatasetSpec
from pipeline.progress import Note, Progress, silent
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.run_lock import only_process_of
from pipeline.shell import quoted
from pipeline.steps.dataset import load_dataset
from pipeline.steps.resumable import resumable
from pipeline.steps.settings import TrainSettings
from pipeline.store.store import open_store
from pipeline.training import trainer
from spelling import counted

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
    dataset = load_dataset(data, progress)
    _name_left_out(dataset.spec, progress)
    dataset.check_trainable()
    dataset.check_one_label("training")
    config = train_config(family, from_any_folder(data), dataset.spec, settings or TrainSettings())
    _advise(config, dataset.spec, progress)
    run = trainer.start_run(config, dataset.spec, folder=runs)
    with only_process_of(run):
        return _trained(config, dataset, run, runs, progress)


def resume(run: Path, *, runs: Path, progress: Progress = silent) -> TrainRecord:
    """Resumes a stopped training with its own settings."""
    with only_process_of(run):
        config = trainer.read_config(run)
        dataset = load_dataset(config.data, progress)
        trainer.check_same_data(run, dataset.spec)
        return _trained(config, dataset, run, runs, progress)


def train_config(family: str, data: str, dataset: DatasetSpec, settings: TrainSettings) -> TrainConfig:
    """Every setting of the training: the given value, else the family's recipe, else the default."""
    knobs = without_aliases(family, dict(settings.knobs))
    knobs["num_classes"] = len(dataset.class_names)
    if "image_size" not in knobs and dataset.image_size is not None:
        knobs["image_size"] = dataset.image_size
    resolved = resolve(family, knobs)
    asked = {
        field.name: value
        for field in dataclasses.fields(settings)
        if field.name != "knobs" and (value := getattr(settings, field.name)) is not None
    }
    recipe = family_of(family).recipe
    for name in FROM_RECIPE:
        asked.setdefault(name, getattr(recipe, name))
    if "weight_decay" not in asked:
        parameters = cost(build_without_weights(family, **resolved)).parameters
        asked["weight_decay"] = recipe.weight_decay_for(parameters)
    return TrainConfig(family=family, knobs=resolved, data=data, **asked)


def _trained(config: TrainConfig, dataset: Dataset, run: Path, runs: Path, progress: Progress) -> TrainRecord:
    progress(
        Note(
            f"{run.name}: {counted(config.epochs, 'epoch')} of "
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


def _advise(config: TrainConfig, dataset: DatasetSpec, progress: Progress) -> None:
    others = {name: value for name, value in config.knobs.items() if name != "image_size"}
    made_for = resolve(str(config.family), others)["image_size"]
    family = family_of(str(config.family))
    remarks = (knob.remark(config.knobs.get(knob.name)) for knob in family.all_knobs)
    for sentence in filter(None, remarks):
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

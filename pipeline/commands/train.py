"""`pipeline train`: a family, its knobs and a data set in, a run out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.knobs import given_knobs, knob_options, recipe_values
from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, print_records, say
from pipeline.commands.resume import refuse_settings, resumable
from pipeline.errors import UsageError
from pipeline.records.training import TrainConfig
from pipeline.runs import find_unfinished, runs_folder
from pipeline.training.schedule import SCHEDULES

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.records.training import TrainRecord

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
RECIPE = "the paper's, by family"


@click.command(name="train", short_help="Train a model on your images.")
@click.argument("family", required=False)
@click.option(
    "--data", metavar="NAME|FOLDER", help="A data set or a folder of class/image files.  [default: digits]"
)
@knob_options(without=("num_classes",))
@click.option("--epochs", type=click.IntRange(min=1), default=DEFAULTS["epochs"], show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), help=f"[default: {RECIPE}]")
@click.option("--optimizer", type=click.Choice(["sgd", "rmsprop", "adam"]), help=f"[default: {RECIPE}]")
@click.option(
    "--learning-rate",
    type=Finite(min=0, min_open=True),
    help=f"At its highest.  [default: {RECIPE}]",
)
@click.option("--momentum", type=Finite(0, 1), default=DEFAULTS["momentum"], show_default=True)
@click.option("--schedule", type=click.Choice(list(SCHEDULES)), help=f"[default: {RECIPE}]")
@click.option("--warmup-epochs", type=Finite(min=0), default=DEFAULTS["warmup_epochs"], show_default=True)
@click.option(
    "--weight-decay",
    type=Finite(min=0),
    help=f"[default: {recipe_values('weight_decay')}; 0 for models under 0.5 M parameters]",
)
@click.option("--decay-depthwise", is_flag=True, help="Decay depthwise kernels too.")
@click.option("--decay-norm-and-bias", is_flag=True, help="Decay BatchNorm and biases too.")
@click.option("--clip-norm", type=Finite(min=0), help=f"[default: {recipe_values('clip_norm')}: no clipping]")
@click.option("--label-smoothing", type=Finite(0, 1), default=DEFAULTS["label_smoothing"], show_default=True)
@click.option(
    "--augment/--no-augment", default=True, show_default=True, help="The data set's own augmentation."
)
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**32 - 1), default=DEFAULTS["seed"], show_default=True
)
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped, with its own settings.")
@json_option
def command(
    family: str | None,
    data: str | None,
    resume: str | None,
    *,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Train a model on your images.

    `pipeline models` lists the families, and what each can be set to.

    \b
    pipeline train mobilenet --alpha 0.5 --data photos/ --image-size 160
    pipeline train --resume mobilenet_alpha0.5_160-photos-1
    """
    if (family is None) == (resume is None):
        raise UsageError(
            "give either a family to train or --resume RUN: "
            "pipeline train mobilenet --alpha 0.5 --data photos/"
        )
    if resume:
        refuse_settings(click.get_current_context())
    run, config, dataset = _resumed(resume) if resume else _new(str(family), data, options)
    record = _train(config, dataset, run)
    if as_json:
        print_records([record])
        return
    click.echo(
        f"{record.model_name} on {record.dataset}: test top-1 {record.test_top1:.2f}%, validation "
        f"{record.validation_top1:.2f}% (epoch {record.best_epoch} of {record.epochs_run}), "
        f"{record.parameters:,} parameters, {record.macs / 1e6:,.1f} M MACs, {record.seconds:,.0f} s"
    )
    say(f"wrote {run}/model.keras. Next: pipeline export {run.name} --float32 --int8")


def train_new(family: str, data: str, **options: Any) -> tuple[Path, TrainRecord]:  # noqa: ANN401
    """Trains a new run with the family's recipe, and gives back its folder and record."""
    run, config, dataset = _new(family, data, options)
    return run, _train(config, dataset, run)


def _new(family: str, data: str | None, options: dict[str, Any]) -> tuple[Path, TrainConfig, Dataset]:
    from models.registry import resolve

    resolve(family, given_knobs(family, options))  # a mistyped name is told before anything slow is imported
    if data is not None and not data.strip():
        raise UsageError("--data is empty: give a data set's name or a folder of class/image files.")
    if data is None:
        say("no --data given: training on digits, 1,797 images of 32x32 that come with scikit-learn.")
        data = str(DEFAULTS["data"])
    from pipeline.data.progress import load_shown
    from pipeline.data.registry import DATASETS

    dataset = load_shown(data)
    _name_left_out(dataset)
    if data not in DATASETS:
        data = str(Path(data).expanduser().absolute())  # so that the run is of use from any folder
    config = _config(family, data, dataset, options)
    from pipeline.training.trainer import start_run

    return start_run(config, dataset.spec, folder=runs_folder()), config, dataset


def _config(family: str, data: str, dataset: Dataset, options: dict[str, Any]) -> TrainConfig:
    from models.build import build_without_weights
    from models.cost import cost
    from models.registry import family_of, resolve, without_aliases

    knobs = without_aliases(family, given_knobs(family, options))
    knobs["num_classes"] = len(dataset.spec.class_names)
    if "image_size" not in knobs and dataset.spec.image_size is not None:
        knobs["image_size"] = dataset.spec.image_size
    resolved = resolve(family, knobs)
    settings = {name: options[name] for name in DEFAULTS if options.get(name) is not None}
    recipe = family_of(family).recipe
    for name in ("optimizer", "learning_rate", "batch_size", "schedule", "clip_norm"):
        settings.setdefault(name, getattr(recipe, name))
    if "weight_decay" not in settings:
        parameters = cost(build_without_weights(family, **resolved)).parameters
        settings["weight_decay"] = recipe.weight_decay_for(parameters)
    return TrainConfig(**{**settings, "family": family, "knobs": resolved, "data": data})


def _resumed(name: str) -> tuple[Path, TrainConfig, Dataset]:
    run = find_unfinished(name, runs_folder(), compressed=False)
    from pipeline.data.progress import load_shown
    from pipeline.training.trainer import check_same_data, read_config

    config = read_config(run)
    dataset = load_shown(config.data)
    check_same_data(run, dataset.spec)
    return run, config, dataset


def _train(config: TrainConfig, dataset: Dataset, run: Path) -> TrainRecord:
    from pipeline.store.store import open_store
    from pipeline.training.trainer import train

    say(
        f"{run.name}: {config.epochs} epochs of {dataset.spec.num_train:,} images, {config.optimizer}, "
        f"learning rate {config.learning_rate:g}, batch {config.batch_size}, "
        f"weight decay {config.weight_decay:g}"
    )
    with resumable(run):
        record = train(config, dataset, run)
    with open_store(runs_folder()) as store:
        store.add_run(record)
    return record


def _name_left_out(dataset: Dataset) -> None:
    left_out = dataset.spec.left_out
    if left_out:
        say(
            f"{len(left_out)} files were left out, such as {left_out[0].path} ({left_out[0].reason}). "
            f"All of them: pipeline data {dataset.spec.source}"
        )

"""`pipeline train`: trains a family with its knobs on a data set, into a new run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.registry import resolve
from pipeline.commands.knobs import given_knobs, knob_options, recipe_values
from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, print_records, say, stages
from pipeline.commands.resume import refuse_settings
from pipeline.commands.split_options import CHOICES, split_options, with_choice
from pipeline.commands.teacher import taken_teacher, teacher_options
from pipeline.data.registry import check_there
from pipeline.errors import UsageError
from pipeline.records.training import BALANCED, TrainConfig
from pipeline.runs import find_unfinished, runs_folder
from pipeline.shell import quoted
from pipeline.steps.settings import TrainSettings
from pipeline.training.schedule import SCHEDULES

if TYPE_CHECKING:
    from pipeline.records.training import TrainRecord

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
RECIPE = "the paper's, by family"
NO_DATA = "digits, 1,797 images of 32x32 that come with scikit-learn."


@click.command(name="train", short_help="Train a model on your images.")
@click.argument("family", required=False)
@click.option(
    "--data", metavar="NAME|FOLDER", help="A data set or a folder of class/image files.  [default: digits]"
)
@split_options
@knob_options(without=("num_classes",))
@click.option(
    "--weights",
    metavar="imagenet|NAME|FILE|RUN",
    help="Start from these: the best published ones, a file of 'pipeline weights', one of yours, or a run.",
)
@click.option("--freeze", metavar="all|none|LAYER", help="Keep all but the head, or up to LAYER.")
@click.option(
    "--head-epochs",
    type=click.IntRange(min=0),
    help="Of the head alone, on features computed once.  [default: 40 with --weights]",
)
@teacher_options
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help=f"[default: {DEFAULTS['epochs']}; 8 with --weights]",
)
@click.option("--patience", type=click.IntRange(min=0), help="Stop after N epochs without a better one.")
@click.option("--batch-size", type=click.IntRange(min=1), help=f"[default: {RECIPE}]")
@click.option(
    "--mixed-precision", is_flag=True, help="Compute in bfloat16; the model and its files stay float32."
)
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
@click.option("--label-smoothing", type=Finite(0, 1), help="[default: 0; 0.1 with --weights]")
@click.option(
    "--class-weights",
    type=click.Choice(["equal", BALANCED]),
    help="balanced: each class counts the same.  [default: equal]",
)
@click.option(
    "--augment/--no-augment", default=True, show_default=True, help="The data set's own augmentation."
)
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**32 - 1), default=DEFAULTS["seed"], show_default=True
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Go on with a run that was stopped, with its own settings.  [default: the newest such run]",
)
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
    if family is not None and resume is not None:
        raise UsageError(
            f"'{family}' and --resume were given together: a resumed run has its own family. Leave one out."
        )
    if family is None and resume is None:
        raise UsageError(
            "give either a family to train or --resume RUN: "
            "pipeline train mobilenet --alpha 0.5 --data photos/"
        )
    if resume is not None:
        refuse_settings(click.get_current_context())
    runs = runs_folder()
    record = _resumed(resume, runs) if resume is not None else _trained(str(family), data, options, runs)
    if as_json:
        print_records([record])
        return
    click.echo(
        f"{record.model_name} on {record.dataset}: test top-1 {record.test_top1:.2f}%, validation "
        f"{record.validation_top1:.2f}% (epoch {record.best_epoch} of {record.epochs_run}), "
        f"{record.parameters:,} parameters, {record.macs / 1e6:,.1f} M MACs, {record.seconds:,.0f} s"
    )
    say(f"wrote {runs / record.run}/model.keras. Next: pipeline export {quoted(record.run)} --float32 --int8")


def asked_training(family: str, data: str | None, options: Mapping[str, Any]) -> tuple[str, TrainSettings]:
    """The data set's address and the settings that the options ask for; imports nothing slow."""
    knobs = given_knobs(family, dict(options))
    resolve(family, knobs)  # a mistyped name is reported before anything slow is imported
    if data is not None and not data.strip():
        raise UsageError("--data is empty: give a data set's name or a folder of class/image files.")
    data = with_choice(
        data or str(DEFAULTS["data"]), **{name: options[name] for name in CHOICES if name in options}
    )
    check_there(data)
    given = {"teacher": None, **options}
    teacher = taken_teacher(given)
    asked = {field.name for field in dataclasses.fields(TrainSettings)} & set(given)
    return data, TrainSettings(knobs=knobs, teacher=teacher, **{name: given[name] for name in asked})


def _trained(family: str, data: str | None, options: dict[str, Any], runs: Path) -> TrainRecord:
    address, settings = asked_training(family, data, options)
    if data is None:
        say(f"no --data given: training on {NO_DATA}")
    with stages() as progress:
        from pipeline.steps.train import train  # takes seconds

        return train(family, address, settings, runs=runs, progress=progress)


def _resumed(name: str, runs: Path) -> TrainRecord:
    run = find_unfinished(name, runs, compressed=False)
    say(f"going on with {run.name}")
    with stages() as progress:
        from pipeline.steps.train import resume

        return resume(run, runs=runs, progress=progress)

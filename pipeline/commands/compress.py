"""`pipeline compress`: prunes, clusters and quantizes a trained model into a new run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.calibration import calibration_option
from pipeline.commands.newest import say_newest
from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, print_records, print_table, say, stages, table
from pipeline.commands.pixels import NAMES, pixel_options
from pipeline.commands.resume import refuse_settings
from pipeline.data.registry import check_there
from pipeline.errors import UsageError
from pipeline.lineage import find_source, with_pixels
from pipeline.records.compression import (
    LEARNING_RATES,
    PAPER_PRESET,
    PATTERNS,
    CompressConfig,
    CompressionRecord,
    check,
    paper_sparsities,
)
from pipeline.runs import find_unfinished, runs_folder
from pipeline.shell import quoted
from pipeline.steps.settings import MaxDropSettings

if TYPE_CHECKING:
    from pipeline.lineage import KerasSource
    from pipeline.records.training import TrainRecord

DEFAULTS = {field.name: field.default for field in dataclasses.fields(CompressConfig)}
RATES = ", ".join(f"{rate:g} {step}" for step, rate in LEARNING_RATES.items())


@click.command(name="compress", short_help="Prune, cluster and train quantized, into a new run.")
@click.argument("target", required=False, metavar="[RUN|MODEL]")
@click.option(
    "--prune",
    metavar=f"SHARE|{PAPER_PRESET}",
    help="Share of weights that become zero, such as 0.67, in every layer but the first and depthwise ones; "
    "or the SqueezeNet paper's table.",
)
@click.option(
    "--prune-layer",
    multiple=True,
    metavar="LAYER=SHARE",
    help="Another share for one layer; may be repeated.",
)
@click.option(
    "--prune-pattern",
    type=click.Choice(PATTERNS),
    default=DEFAULTS["prune_pattern"],
    show_default=True,
    help="2:4: two of four; 1x16: blocks, in 1x1 convolutions and Dense.",
)
@click.option(
    "--cluster", type=int, metavar="N", help="Distinct weight values a layer, 2 to 256, such as 64."
)
@click.option(
    "--qat/--no-qat",
    default=None,
    help="Quantization-aware training, for int8; --max-drop tries it last but for more float.",
)
@click.option(
    "--max-drop",
    type=Finite(),
    metavar="POINTS",
    help="Write an int8 file that loses at most this many percentage points of top-1 on the validation "
    "split: calibration, equalizing, layers in float are tried before --qat; the first that holds is taken.",
)
@click.option("--force", is_flag=True, help="--max-drop: replace an int8 file that was verified or measured.")
@click.option("--skip-layer", multiple=True, metavar="LAYER", help="Leave it unchanged; may be repeated.")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=DEFAULTS["epochs"],
    show_default=True,
    help="Of fine-tuning, for each of the steps.",
)
@click.option(
    "--steps-per-epoch", type=click.IntRange(min=1), metavar="N", help="Batches.  [default: all images once]"
)
@click.option(
    "--learning-rate", type=Finite(min=0, min_open=True), help=f"At its highest.  [default: {RATES}]"
)
@click.option("--batch-size", type=click.IntRange(min=1), default=DEFAULTS["batch_size"], show_default=True)
@click.option("--momentum", type=Finite(0, 1), default=DEFAULTS["momentum"], show_default=True)
@click.option("--clip-norm", type=Finite(min=0), default=DEFAULTS["clip_norm"], show_default=True)
@click.option(
    "--freeze-norms/--no-freeze-norms",
    default=DEFAULTS["freeze_norms"],
    show_default=True,
    help="--qat leaves the BatchNorms' statistics as the training left them.",
)
@click.option("--augment/--no-augment", default=DEFAULTS["augment"], show_default=True)
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**32 - 1), default=DEFAULTS["seed"], show_default=True
)
@click.option("--data", metavar="NAME|FOLDER", help="Images.  [default: those of the training]")
@calibration_option
@pixel_options
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Go on with a compression that was stopped.  [default: the newest such run]",
)
@json_option
def command(
    target: str | None,
    *,
    resume: str | None,
    max_drop: float | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Prune, cluster and train quantized, into a new run.

    RUN is a run's name or folder (default: the newest), MODEL a model of your own, as for export. Any of
    --prune, --cluster and --qat, always in this order; each preserves the result of the one before.

    \b
    pipeline compress --qat
    pipeline compress mobilenet_alpha0.5_160-photos-1 --prune 0.67 --cluster 64 --qat --epochs 4
    pipeline compress squeezenet_1.0_64-photos-1 --prune squeezenet-paper --cluster 64 --qat
    pipeline compress --max-drop 1
    pipeline compress --resume mobilenet_alpha0.5_160_qat-photos-1
    """
    runs = runs_folder()
    if resume is not None:
        refuse_settings(click.get_current_context())
        record = _resumed(resume, runs)
    elif max_drop is not None:
        return _int8_within(max_drop, target, options, as_json=as_json)
    else:
        if options["force"]:
            raise UsageError("--force is for --max-drop: without it, nothing is ever replaced. Leave it out.")
        if options["calibration"] is not None:
            raise UsageError(
                "--calibration is for the int8 file of --max-drop. Give it to export, or leave it out."
            )
        source, settings = _asked(target, options)
        with stages() as progress:
            from pipeline.steps.compress import compress  # takes seconds

            record = compress(source, settings, runs=runs, progress=progress)
    if as_json:
        print_records([record])
        return 0
    assert record.compression is not None
    _print(record.compression)
    click.echo(
        f"{record.model_name} on {record.dataset}: test top-1 {record.test_top1:.2f}% in float, "
        f"{record.seconds:,.0f} s"
    )
    say(f"wrote {runs / record.run}/model.keras. Next: pipeline export {quoted(record.run)} --int8")
    return 0


def _int8_within(max_drop: float, target: str | None, options: dict[str, Any], *, as_json: bool) -> int:
    """Runs --max-drop; returns the exit status."""
    from pipeline.commands.max_drop import write_int8_within

    for name, words in {"prune": "--prune", "prune_layer": "--prune-layer", "cluster": "--cluster"}.items():
        if options[name]:
            raise UsageError(
                f"{words} cannot be given with --max-drop, which makes the int8 file of a finished run. "
                f"Compress first, with {words}, then: pipeline compress RUN --max-drop {max_drop:g}"
            )
    source, settings = _asked(target, {**options, "qat": True})
    source = dataclasses.replace(source, calibration=options["calibration"])
    asked = MaxDropSettings(
        max_drop=max_drop,
        seed=settings.seed,
        training=None if options["qat"] is False else settings,
        force=options["force"],
    )
    return write_int8_within(source, asked, as_json=as_json)


def _resumed(name: str, runs: Path) -> TrainRecord:
    run = find_unfinished(name, runs, compressed=True)
    say(f"going on with {run.name}")
    with stages() as progress:
        from pipeline.steps.compress import resume

        return resume(run, runs=runs, progress=progress)


def _asked(target: str | None, options: dict[str, Any]) -> tuple[KerasSource, CompressConfig]:
    """The model to compress, and the settings."""

    given = {name: options[name] for name in DEFAULTS if options.get(name) is not None}
    settings = CompressConfig(
        **{
            **given,
            "prune": _share(options["prune"]),
            "prune_layers": _layer_shares(options["prune"], options["prune_layer"]),
            "skip_layers": tuple(dict.fromkeys(options["skip_layer"])),
        }
    )
    check(settings)  # before the model is searched
    if options["data"] is not None:
        check_there(options["data"])
    say_newest(target)
    source = find_source(target, data=options["data"], folder=runs_folder())
    return with_pixels(source, **{name: options[name] for name in NAMES}), settings


def _share(prune: str | None) -> float | None:
    if prune is None or prune == PAPER_PRESET:
        return None
    try:
        return float(prune)
    except ValueError as error:
        raise UsageError(
            f"--prune {prune}: expected a share of zeros above 0 and below 1, such as 0.67, "
            f"or {PAPER_PRESET}."
        ) from error


def _layer_shares(prune: str | None, given: tuple[str, ...]) -> dict[str, float]:
    shares = paper_sparsities() if prune == PAPER_PRESET else {}
    for text in given:
        layer, found, share = text.partition("=")
        try:
            shares[layer] = float(share)
        except ValueError:
            found = ""
        if not found or not layer:
            raise UsageError(f"--prune-layer {text}: expected LAYER=SHARE, such as conv_pw_13=0.8.")
    return shares


def _print(compression: CompressionRecord) -> None:
    if compression.config.steps != ("qat",):  # which makes no zeros and no fewer values
        _print_layers(compression)
    steps = table(
        "step", "validation top-1", "epochs", "seconds", numbers=["validation top-1", "epochs", "seconds"]
    )
    steps.add_row("before", f"{compression.parent_validation_top1:.2f}%", "-", "-")
    for step in compression.steps:
        steps.add_row(step.step, f"{step.validation_top1:.2f}%", str(step.epochs_run), f"{step.seconds:,.0f}")
    print_table(steps)


def _print_layers(compression: CompressionRecord) -> None:
    layers = table("layer", "weights", "zeros asked", "reached", "values asked", "there are", numbers=[
        "weights", "zeros asked", "reached", "values asked", "there are",
    ])  # fmt: skip
    for each in compression.layers:
        layers.add_row(
            each.layer,
            f"{each.num_weights:,}",
            "-" if each.sparsity_asked is None else f"{each.sparsity_asked:.1%}",
            f"{each.sparsity:.1%}",
            "-" if each.clusters_asked is None else str(each.clusters_asked),
            f"{each.num_values:,}",
        )
    print_table(layers)

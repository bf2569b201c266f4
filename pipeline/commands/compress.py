"""`pipeline compress`: a trained model in, a smaller run out: pruned, clustered, trained quantized."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, print_records, print_table, say, table, working
from pipeline.commands.resume import refuse_settings, resumable
from pipeline.errors import PipelineError, UsageError
from pipeline.records.compression import (
    LEARNING_RATES,
    PAPER_PRESET,
    PATTERNS,
    CompressConfig,
    CompressionRecord,
    check,
    config_from_json,
    paper_sparsities,
)
from pipeline.runs import CONFIG, find_unfinished, runs_folder, setting_of

if TYPE_CHECKING:
    from pipeline.compression.prepare import Prepared
    from pipeline.data.dataset import Dataset
    from pipeline.lineage import KerasSource
    from pipeline.records.training import TrainConfig, TrainRecord

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
    "--qat/--no-qat", default=None, help="Quantization-aware training, for int8; --max-drop's last resort."
)
@click.option(
    "--max-drop",
    type=Finite(),
    metavar="POINTS",
    help="Write an int8 file that loses no more than so many percentage points of top-1 on the validation "
    "split: calibration, equalizing, layers in float are tried before --qat; the first that holds is taken.",
)
@click.option("--skip-layer", multiple=True, metavar="LAYER", help="Leave it as it is; may be repeated.")
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
@click.option("--scale", type=Finite(), help="A model from elsewhere was fed pixel * SCALE + OFFSET.")
@click.option("--offset", type=Finite(), help="See --scale.")
@click.option("--resume", metavar="RUN", help="Go on with a compression that was stopped.")
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

    RUN is a run's name or folder (default: the newest), MODEL a .keras or .h5 file of your own. Any of
    --prune, --cluster and --qat, always in this order, each keeping what the one before made.

    \b
    pipeline compress --qat
    pipeline compress mobilenet_alpha0.5_160-photos-1 --prune 0.67 --cluster 64 --qat --epochs 4
    pipeline compress squeezenet_1.0_64-photos-1 --prune squeezenet-paper --cluster 64 --qat
    pipeline compress --max-drop 1
    pipeline compress --resume mobilenet_alpha0.5_160_qat-photos-1
    """
    if resume is not None:
        refuse_settings(click.get_current_context())
        source, config, run = _resumed(resume)
    elif max_drop is not None:
        return _int8_within(max_drop, target, options, as_json=as_json)
    else:
        source, config, run = *_new(target, options), None
    with working(f"reading {source.model_path}"):
        from pipeline.compression.prepare import prepare
        from pipeline.lineage import load_model_of

        prepared = prepare(load_model_of(source), config)
    record, run = _compress(source, prepared, run)
    if as_json:
        print_records([record])
        return 0
    assert record.compression is not None
    _print(record.compression)
    click.echo(
        f"{record.model_name} on {record.dataset}: test top-1 {record.test_top1:.2f}% in float, "
        f"{record.seconds:,.0f} s"
    )
    say(f"wrote {run}/model.keras. Next: pipeline export {run.name} --int8")
    return 0


def _int8_within(max_drop: float, target: str | None, options: dict[str, Any], *, as_json: bool) -> int:
    """Does what --max-drop asks for; gives back the exit status."""
    from pipeline.commands.max_drop import write_int8_within

    for name, words in {"prune": "--prune", "prune_layer": "--prune-layer", "cluster": "--cluster"}.items():
        if options[name]:
            raise UsageError(
                f"{words} cannot be given with --max-drop, which makes the int8 file of a finished run. "
                f"Compress first, with {words}, then: pipeline compress RUN --max-drop {max_drop:g}"
            )
    source, config = _new(target, {**options, "qat": True})

    def train() -> KerasSource:
        from pipeline.compression.prepare import prepare
        from pipeline.lineage import find_source, load_model_of

        _, run = _compress(source, prepare(load_model_of(source), config), None)
        return find_source(str(run), data=config.data, folder=runs_folder())

    may_train = options["qat"] is not False
    return write_int8_within(
        max_drop, source, seed=config.seed, train=train if may_train else None, as_json=as_json
    )


def _new(target: str | None, options: dict[str, Any]) -> tuple[KerasSource, CompressConfig]:
    from export.files import sha256_of
    from pipeline.lineage import find_source, with_pixels

    settings = {name: options[name] for name in DEFAULTS if options.get(name) is not None}
    settings |= {
        "prune": _share(options["prune"]),
        "prune_layers": _layer_shares(options["prune"], options["prune_layer"]),
        "skip_layers": tuple(dict.fromkeys(options["skip_layer"])),
    }
    # what is wrong with the settings alone is told before anything is looked for
    check(CompressConfig(**{**settings, "parent": "", "parent_sha256": "", "data": ""}))
    source = find_source(target, data=options["data"], folder=runs_folder())
    source = with_pixels(source, scale=options["scale"], offset=options["offset"])
    if source.data is None:
        raise UsageError(
            f"{source.model_path} comes without images to train on. Give them: --data NAME or FOLDER."
        )
    settings |= {
        "parent": _name_of(source),
        "parent_sha256": sha256_of(source.model_path),
        "data": _from_any_folder(source.data),
    }
    return source, CompressConfig(**settings)


def _name_of(source: KerasSource) -> str:
    """What find_source() knows the model by from any folder: its run's name, else a path."""
    run = source.model_path.absolute().parent
    if source.export_folder.absolute().parent != run:
        return str(source.model_path.absolute())
    return run.name if run.resolve().parent == runs_folder().resolve() else str(run)


def _from_any_folder(data: str) -> str:
    from pipeline.data.registry import DATASETS

    return data if data in DATASETS else str(Path(data).expanduser().absolute())


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


def _resumed(name: str) -> tuple[KerasSource, CompressConfig, Path]:
    from pipeline.lineage import find_source

    run = find_unfinished(name, runs_folder(), compressed=True)
    try:
        config = config_from_json(setting_of(run, "compression"))
    except (KeyError, TypeError) as error:
        raise PipelineError(
            f"{run / CONFIG} was written by another version ({error}). Compress anew."
        ) from error
    pixels = setting_of(run, "pixels")
    source = find_source(config.parent, data=config.data, folder=runs_folder())
    return dataclasses.replace(source, knobs=pixels if source.family is None else source.knobs), config, run


def _compress(source: KerasSource, prepared: Prepared, run: Path | None) -> tuple[TrainRecord, Path]:
    from pipeline.compression.compress import compress, start_run
    from pipeline.compression.prepare import equalized, prove
    from pipeline.data.progress import load_shown
    from pipeline.store.store import open_store

    config = prepared.config
    dataset = load_shown(config.data)
    images = _images(source, prepared, dataset)
    with working("proving that the copy to be compressed computes the same"):
        prepared = equalized(prepared, images)
        prove(prepared, images)
    name = f"{source.model_name}{_suffix(config)}"
    if run is None:
        run = start_run(
            config,
            f"{name}-{dataset.spec.name}",
            folder=runs_folder(),
            fingerprint=dataset.spec.fingerprint,
            pixels=source.knobs if source.family is None else {},
        )
    else:
        from pipeline.training.trainer import check_same_data

        check_same_data(run, dataset.spec)
        _check_same_parent(source, config)
    say(f"{run.name}: from {config.parent}, {dataset.spec.num_train:,} images")
    with resumable(run):
        record = compress(prepared, images, run, parent=_train_config(source, config), name=name, tell=say)
    with open_store(runs_folder()) as store:
        store.add_run(record)
    return record, run


def _images(source: KerasSource, prepared: Prepared, dataset: Dataset) -> Any:  # noqa: ANN401 - heavy to import
    from models.registry import family_of
    from pipeline.compression.finetune import Images
    from pipeline.data import augment
    from pipeline.lineage import image_size_of
    from pipeline.steps.dataset import check_classes

    num_classes = prepared.model.output_shape[-1]
    names = source.class_names or tuple(str(number) for number in range(num_classes))
    check_classes(source.model_path, names, dataset.spec.class_names)
    image_size = image_size_of(prepared.model, source.model_path)
    chosen = augment.NONE
    if prepared.config.augment:
        family = source.family
        area = family_of(family).min_crop_area if family is not None else augment.FOREIGN_CROP_AREA
        chosen = augment.suited(
            augment.preset(area, image_size=image_size),
            mirror_keeps_labels=dataset.spec.mirror_keeps_labels,
            background=dataset.spec.background,
        )
    return Images(dataset=dataset, image_size=image_size, rescaling=prepared.rescaling, augment=chosen)


def _check_same_parent(source: KerasSource, config: CompressConfig) -> None:
    from export.files import sha256_of

    found = sha256_of(source.model_path)
    if found != config.parent_sha256:
        raise PipelineError(
            f"{source.model_path} has changed since the compression was started (sha256 "
            f"{config.parent_sha256[:12]}, now {found[:12]}). Put it back, or compress anew."
        )


def _train_config(source: KerasSource, config: CompressConfig) -> TrainConfig:
    """The settings that the new run's record shows as its training's."""
    from pipeline.records.training import TrainConfig

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
    """What the model's name says of its compression, such as _pruned67_clustered64_qat."""
    share = f"{100 * config.prune:g}" if config.prune is not None else ""
    words = {"prune": f"_pruned{share}", "cluster": f"_clustered{config.cluster}", "qat": "_qat"}
    return "".join(words[step] for step in config.steps)


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

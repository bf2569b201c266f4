"""`pipeline verify`: exported files on the test split, compared with their Keras models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.artifact import has_sidecar
from pipeline.commands.confusion import change_to_keras, predictions_of, print_confusion
from pipeline.commands.newest import say_newest
from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, say, stages
from pipeline.commands.phones.options import (
    delegate_option,
    refuse_without_adb,
    serial_option,
    server_option,
    tool_option,
)
from pipeline.commands.pixels import NAMES, labels_option, pixel_options
from pipeline.commands.verified import measure_of, names_of, print_json, print_verified
from pipeline.errors import UsageError
from pipeline.records.phone_verification import MIN_AGREEMENT
from pipeline.runs import runs_folder, tflite_files
from pipeline.shell import quoted
from pipeline.steps.settings import PhoneVerifySettings, VerifySettings
from spelling import counted

if TYPE_CHECKING:
    from export.verification import Verification

ON_HOST = ("data", "split", "model", "limit", "labels", *NAMES)
PHONE_OPTIONS = ("serials", "delegates", "binaries", "servers", "budget_secs", "min_agreement")


@click.command(name="verify", short_help="Compare exported files with the Keras model on the test split.")
@click.argument("targets", nargs=-1, metavar="[FILE|RUN]...")
@click.option("--data", metavar="NAME|FOLDER", help="[default: that of the training]")
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default=VerifySettings().split,
    show_default=True,
)
@click.option(
    "--model",
    type=click.Path(exists=True, path_type=Path),
    help="The Keras model, if it is not beside the file.",
)
@labels_option
@pixel_options
@click.option(
    "--max-drop",
    type=Finite(),
    metavar="POINTS",
    help="A gate: exit 1 when a file's top-1 is more percentage points than this below the Keras model's.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="The first N images of the split alone."
)
@click.option("--confusion", is_flag=True, help="Show too which classes are taken for which.")
@click.option("--adb", "on_phones", is_flag=True, help="Run them on phones, and compare with LiteRT here.")
@serial_option
@delegate_option
@tool_option
@server_option
@click.option(
    "--budget-secs",
    type=click.FloatRange(min=0, min_open=True),
    default=PhoneVerifySettings().budget_secs,
    show_default=True,
    metavar="SECS",
    help="On a phone: run as many samples as fit into this time, for each file and delegate.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 100),
    default=MIN_AGREEMENT,
    show_default=True,
    metavar="PERCENT",
    help="On a phone: exit 1 when it gives the host's label on a smaller share of the samples.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    targets: tuple[str, ...],
    *,
    max_drop: float | None,
    on_phones: bool,
    confusion: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Compare exported files with the Keras model on the test split.

    FILE is a .tflite file, RUN a run's name or folder; without either, the newest run's files. Shows the
    top-1 of both, how often they agree, the largest difference of any output, and for quantized files the
    layer where the error grows most.

    Of a file without a sidecar, from any tool, the top-1 alone is shown. Exit status 1 when other pixels
    than those it is fed are clearly better.

    With --adb the files run on phones, and their labels are compared with LiteRT's on this machine, which
    finds a delegate that is fast but wrong.

    \b
    pipeline verify --max-drop 1.0
    pipeline verify --confusion
    pipeline verify runs/mobilenet_alpha0.5_160-photos-1/export/mobilenet_alpha0.5_160_int8.tflite
    pipeline verify theirs.tflite --data photos/ --labels names.txt --scale 0.00784314 --offset -1
    pipeline verify --adb --delegate cpu,gpu
    """
    say_newest(targets)
    files = tflite_files(targets, runs_folder())
    if on_phones:
        return _on_phones(files, max_drop, options, confusion=confusion, as_json=as_json)
    refuse_without_adb(context, PHONE_OPTIONS)
    from pipeline.steps.verify import verify

    if max_drop is not None:
        _refuse_gate(files)
    settings = VerifySettings(**{name: options[name] for name in ON_HOST})
    with stages() as progress:
        verified = verify(files, settings, runs=runs_folder(), progress=progress)
    if as_json:
        print_json(verified)
    else:
        print_verified(verified)
        if confusion:
            print_confusion(names_of(verified), predictions_of(verified))
    failed = [found for found in verified if max_drop is not None and (found.drop_points or 0.0) > max_drop]
    for found in failed:
        say(
            f"pipeline: {Path(found.path).name} loses {found.drop_points:.2f} points of {measure_of(found)}, "
            f"more than --max-drop {max_drop:g}.{_distinguished(found)}"
            + (f" Its error grows most at {found.worst_layer}." if found.worst_layer else "")
        )
    broken = [*_not_finite(verified), *_doubtful(verified)]
    for text in broken:
        say(f"pipeline: {text}")
    if max_drop is not None and not failed:
        worst = max(verified, key=lambda found: found.drop_points or 0.0)
        drop = worst.drop_points or 0.0
        say(f"--max-drop {max_drop:g} holds: the largest drop is {drop:.2f} points, {Path(worst.path).name}.")
    if max_drop is not None:
        for words in dict.fromkeys(too_few_images(found, max_drop) for found in verified):
            if words:
                say(words)
    if not as_json and not failed and not broken:
        words = " ".join(["pipeline bench", *map(quoted, targets)])
        say(f"stored in {runs_folder()}/results.sqlite. Next: {words}")
    return 1 if failed or broken else 0


def _refuse_gate(files: Sequence[Path]) -> None:
    """Raises UsageError if a file cannot have a drop."""
    alone = [file for file in files if not has_sidecar(file)]
    if alone:
        raise UsageError(
            f"{alone[0].name} has no sidecar, so there is no Keras model to compare with. Expected a file "
            "that `pipeline export` wrote: leave out --max-drop, or the file."
        )


def _on_phones(
    files: Sequence[Path],
    max_drop: float | None,
    options: dict[str, Any],
    *,
    confusion: bool,
    as_json: bool,
) -> int:
    from pipeline.commands.phones.verify import Gate, Phones, show_answers

    for name in ("model", "labels", *NAMES):
        if options[name] is not None:
            raise UsageError(
                f"--{name} is for the host: on a phone the file is compared with itself. Leave it out."
            )
    settings = PhoneVerifySettings(
        delegates=options["delegates"],
        data=options["data"],
        split=options["split"],
        num_samples=options["limit"] or PhoneVerifySettings().num_samples,
        budget_secs=options["budget_secs"],
    )
    phones = Phones(**{name: options[name] for name in ("serials", "servers", "binaries")})
    gate = Gate(min_agreement=options["min_agreement"], max_drop=max_drop)
    return show_answers(files, phones, settings, gate, confusion=confusion, as_json=as_json)


def too_few_images(found: Verification, max_drop: float) -> str:
    """Why a top-1 on so few images cannot tell such a drop at all; empty if it can."""
    from export.check.paired import fewest_images

    least, lost = fewest_images(), max_drop * found.num_samples / 100
    if found.drop_points is None or measure_of(found) != "top-1" or max_drop <= 0 or lost >= least:
        return ""
    return (
        f"--max-drop {max_drop:g} of {counted(found.num_samples, f'{found.split} image')} is "
        f"{lost:.1f} images. Fewer than {least} cannot be told from chance (McNemar's exact test): "
        f"such a gate needs {math.ceil(100 * least / max_drop):,} images or more."
    )


def _distinguished(found: Verification) -> str:
    change = change_to_keras(found)
    if change is None or change.is_distinguishable:
        return ""
    return f" On these images it is not distinguishable from chance (p = {change.p:.2g})."


def _doubtful(verified: Sequence[Verification]) -> Iterator[str]:
    """A line for each file that seems to be fed other pixels than it was trained on; one for equal doubts."""
    doubts: dict[str, list[str]] = {}
    for name, found in zip(names_of(verified), verified, strict=True):
        if found.pixels_doubt:
            doubts.setdefault(found.pixels_doubt, []).append(name)
    for words, files in doubts.items():
        yield f"{', '.join(files)}: {words}"


def _not_finite(verified: Sequence[Verification]) -> Iterator[str]:
    """A line for each file, and for each model, whose outputs are not finite."""
    for name, found in zip(names_of(verified), verified, strict=True):
        if found.num_keras_not_finite or found.num_tflite_not_finite:
            keras = (
                f", its Keras model on {found.num_keras_not_finite:,}" if found.keras_top1 is not None else ""
            )
            yield (
                f"{name} gives NaN or infinite values on {found.num_tflite_not_finite:,} of "
                f"{counted(found.num_samples, 'image')}{keras}: these "
                "count as wrong. Train the model again, or choose another precision if the file alone does."
            )

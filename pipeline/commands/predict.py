"""`pipeline predict`: what an exported file says of images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.output import json_option as with_json
from pipeline.commands.output import print_records, print_table, say, stages, table
from pipeline.commands.phones.options import (
    DEVICE_TROUBLE,
    delegate_option,
    find_fleet,
    refuse_without_adb,
    serial_option,
    server_option,
    tool_option,
)
from pipeline.commands.pixels import labels_option, pixel_options
from pipeline.errors import UsageError
from pipeline.runs import runs_folder, tflite_files
from pipeline.steps.settings import PredictSettings
from spelling import counted

if TYPE_CHECKING:
    from pipeline.records.prediction import ImagePrediction

PHONE_OPTIONS = ("serials", "delegates", "binaries", "servers")


@click.command(name="predict", short_help="Show what an exported file says of your images.")
@click.argument("target", metavar="FILE|RUN")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|FOLDER...")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=PredictSettings().top,
    show_default=True,
    help="Number of classes of each image.",
)
@labels_option
@pixel_options
@click.option("--adb", "on_phones", is_flag=True, help="Run it on phones.")
@serial_option
@delegate_option
@tool_option
@server_option
@with_json
@click.pass_context
def command(
    context: click.Context,
    /,
    target: str,
    images: tuple[Path, ...],
    *,
    on_phones: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Show what an exported file says of your images.

    FILE is a .tflite file of any tool, RUN a run's name or folder, of which every file is asked. Shows the
    likeliest classes of each image with their probabilities, and the milliseconds that it took.

    Images become pixels as in training: upright, the central part, resized. An image that cannot be read is
    named, and the others go on; the exit status is then 1.

    \b
    pipeline predict mobilenet_alpha0.5_160-photos-1 photo.jpg
    pipeline predict net_int8.tflite photos/ --top 1 --json
    pipeline predict theirs.tflite photo.jpg --labels names.txt --scale 1/127.5 --offset -1
    pipeline predict net_int8.tflite photo.jpg --adb --delegate cpu,gpu
    """
    if Path(target).is_file() and Path(target).suffix != ".tflite":
        raise UsageError(
            f"{target} is no .tflite file. Expected the file or the run first, then the images: "
            "pipeline predict FILE|RUN IMAGE"
        )
    phones = {name: options.pop(name) for name in ("serials", "binaries", "servers")}
    if not on_phones:
        refuse_without_adb(context, PHONE_OPTIONS)
    files = tflite_files([target], runs_folder())
    settings = PredictSettings(**options)
    from pipeline.steps.predict import image_files, predict, predict_on_phones

    paths = image_files(images)
    num_lost = 0
    if on_phones:
        fleet, num_lost = find_fleet(phones["serials"], phones["servers"], phones["binaries"])
        with stages() as progress:
            found = list(predict_on_phones(files, paths, fleet, settings, progress=progress))
    else:
        with stages() as progress:
            found = list(predict(files, paths, settings, progress=progress))
    if as_json:
        print_records(found)
    else:
        _print(found, top=settings.top)
    problems = [each for each in found if each.problem]
    for each in problems:
        say(f"pipeline: {each.image}{_by(each, found)}: {each.problem}")
    if problems:
        say(f"pipeline: {len(problems):,} of {counted(len(found), 'answer')} missing or doubtful.")
        return 1
    return DEVICE_TROUBLE if num_lost else 0


def _by(one: ImagePrediction, found: Sequence[ImagePrediction]) -> str:
    """Which file, where several were asked."""
    several = len({(each.file, each.where, each.delegate) for each in found}) > 1
    place = "" if one.where == "host" else f" with {one.delegate} on {one.where}"
    return f" ({Path(one.file).name}{place})" if several else ""


def _print(found: Sequence[ImagePrediction], *, top: int) -> None:
    answered = [each for each in found if each.classes]
    if not answered:
        return
    several = len({each.file for each in found}) > 1
    on_phone = any(each.where != "host" for each in found)
    first = ["image", *(["file"] if several else []), *(["phone", "delegate"] if on_phone else [])]
    rows = table(*first, "ms", f"the likeliest {top}" if top > 1 else "class", numbers=["ms"])
    for each in answered:
        cells = [each.image, *([Path(each.file).name] if several else [])]
        cells += [each.where, each.delegate] if on_phone else []
        rows.add_row(*cells, "-" if each.ms is None else f"{each.ms:.2f}", in_words(each))
    print_table(rows)
    if any(each.has_labels for each in answered):
        click.echo("✓: the label holds; each is its own yes or no")
    process = ", in a process of its own there" if on_phone else ""
    images = counted(len({each.image for each in answered}), "image")
    click.echo(f"{images}; ms: one image, one thread, warmed up{process}")


def in_words(found: ImagePrediction) -> str:
    """'cat 93.1%, dog 4.2%'; of labels with their own yes or no those that hold are marked."""
    return ", ".join(
        f"{each.name} {100 * each.probability:.1f}%{' ✓' if found.has_labels and each.holds else ''}"
        for each in found.classes
    )

"""`pipeline data`: a data set's classes, splits and skipped files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.files import replacing
from models.registry import family_of
from pipeline.commands.output import json_option, print_records, print_table, say, stages, table
from pipeline.commands.split_options import split_options, with_choice
from pipeline.data.advice import advice_on_images
from pipeline.data.registry import DATASETS
from pipeline.errors import PipelineError, UsageError
from pipeline.home import expanded
from pipeline.progress import Doing
from pipeline.shell import quoted
from pipeline.steps.dataset import load_dataset
from spelling import counted

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.data.spec import DatasetSpec

DEFAULT_SHEET_SIZE = 96
"""Side of an image on a contact sheet, in pixels, if neither the data set nor the user sets one."""


@dataclass(frozen=True, kw_only=True)
class KnownName:
    """A data set that can be given by name."""

    name: str
    help: str


@click.command(name="data", short_help="Show a data set: classes, splits, and the files that were left out.")
@click.argument("name", metavar="[NAME|FOLDER]", required=False)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw training images of each class to this .png or .jpg: central squares, as verify sees them.",
)
@click.option(
    "--family",
    metavar="FAMILY",
    help="With --sheet: draw them augmented, as this family's training sees them.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=8),
    metavar="PIXELS",
    help=f"The side of the sheet's images.  [default: the data set's own, or {DEFAULT_SHEET_SIZE}]",
)
@split_options
@click.option(
    "--merge-classes",
    type=click.Path(path_type=Path),
    metavar="NEW_FOLDER",
    help="Write a copy of the folder there, in which classes that differ only in case or blanks are one.",
)
@json_option
def command(
    name: str | None,
    *,
    sheet: Path | None,
    family: str | None,
    image_size: int | None,
    merge_classes: Path | None,
    as_json: bool,
    **choice: Any,  # noqa: ANN401 - the options of split_options
) -> None:
    """Show a data set: classes, splits, and the files that were left out.

    Without an argument, the data sets that have a name.

    \b
    pipeline data                       the names
    pipeline data photos/               a folder of class/image files
    pipeline data photos/ --sheet seen.png --family mobilenet
    pipeline data photos/ --split 70/15/15 --group-by 'video(\\d+)'
    """
    if name is None:
        if sheet:
            raise UsageError("--sheet needs a data set: pipeline data NAME|FOLDER --sheet FILE.")
        _list_known(as_json=as_json)
        return
    if merge_classes:
        _merge(name, merge_classes)
        return
    name = with_choice(name, **choice)
    if sheet:
        _check_sheet(sheet)
    elif family:
        raise UsageError("--family says how --sheet's images are augmented: give --sheet FILE too.")
    if family:
        family_of(family)  # reports a mistyped name before anything is read

    with stages() as progress:
        dataset = load_dataset(name, progress)
    if as_json:
        print_records([dataset.spec])
        for note in advice_on_images(dataset.spec):
            say(note)
    else:
        _print_spec(dataset.spec)
    if sheet:
        _draw(dataset, sheet, family, image_size or dataset.spec.image_size or DEFAULT_SHEET_SIZE)
    elif not as_json:
        say(_next(dataset, name))


def _next(dataset: Dataset, name: str) -> str:
    """What to do with the data set: train on it, or first what training would ask for."""
    try:
        dataset.check_trainable()
    except PipelineError as error:
        return f"Not enough to train on: {error}"
    if dataset.spec.has_several_labels:
        return (
            "Several labels an image are for a model of your own that ends in several sigmoids. Next: "
            f"pipeline export MODEL --int8 --data {quoted(name)}"
        )
    return f"Next: pipeline train mobilenet --data {quoted(name)}"


def _merge(name: str, out: Path) -> None:
    from pipeline.data.merge import merge_classes

    with stages() as progress:
        merged = merge_classes(
            expanded(name),
            out,
            progress=lambda done, total: progress(
                Doing("copying", f"{done:,} of {total:,} images", done, total)
            ),
        )
    for old, new in merged.items():
        click.echo(f"'{old}' is '{new}' now")
    say(f"wrote {out}; {name} is unchanged. Next: pipeline data {quoted(out)}")


def _list_known(*, as_json: bool) -> None:
    known = [KnownName(name=name, help=row.help) for name, row in DATASETS.items()]
    if as_json:
        print_records(known)
        return
    rows = table("name", "what")
    for entry in known:
        rows.add_row(entry.name, entry.help)
    print_table(rows)
    say("Or a folder of class/image files, a .npz file, or a cifar-10-batches-py folder, by its path.")


def _print_spec(spec: DatasetSpec) -> None:
    size = f"{spec.image_size} x {spec.image_size}" if spec.image_size else "several, or not square"
    facts = table("", spec.name)
    facts.add_row("source", spec.source)
    facts.add_row("image size", size)
    facts.add_row("licence", spec.licence)
    facts.add_row("fingerprint", spec.fingerprint)
    facts.add_row(
        "mirrored in training", "yes" if spec.mirror_keeps_labels else "no: it would change the labels"
    )
    if spec.converted:
        facts.add_row("converted", ", ".join(f"{count} {kind}" for kind, count in spec.converted.items()))
    for note in (*spec.notes, *advice_on_images(spec)):
        facts.add_row("note", note)
    print_table(facts)
    columns = ("train", "validation", "test")
    classes = table("class", *columns, numbers=columns)
    for count in spec.class_counts:
        classes.add_row(count.name, f"{count.train:,}", f"{count.validation:,}", f"{count.test:,}")
    classes.add_section()
    classes.add_row(
        counted(len(spec.class_names), "class", "classes"),
        f"{spec.num_train:,}",
        f"{spec.num_validation:,}",
        f"{spec.num_test:,}",
    )
    print_table(classes)
    if spec.left_out:
        left_out = table(f"left out ({len(spec.left_out)})", "why")
        for item in spec.left_out:
            left_out.add_row(item.path, item.reason)
        print_table(left_out)


def _check_sheet(sheet: Path) -> None:
    if sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--sheet {sheet}: a name that ends in .png or .jpg was expected.")


def _draw(dataset: Dataset, sheet: Path, family: str | None, image_size: int) -> None:
    from pipeline.data import augment
    from pipeline.data.sheet import draw

    chosen, how = augment.NONE, "not augmented: as verify sees them"
    if family:
        chosen = augment.suited(
            augment.preset(family_of(family).min_crop_area, image_size=image_size),
            mirror_keeps_labels=dataset.spec.mirror_keeps_labels,
            background=dataset.spec.background,
        )
        how = f"augmented: as {family}'s training sees them"
    picture = draw(dataset, image_size=image_size, augment=chosen)
    with replacing(sheet) as partial:
        picture.save(partial)
    say(f"Wrote {sheet}: training images at {image_size} x {image_size}, {how}.")

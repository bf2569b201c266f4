"""What `pipeline verify` shows of its results: a table with its notes, or JSON with intervals and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from export.head import SIGMOIDS_ON_CLASSES, HeadKind
from pipeline.commands.confusion import change_to_keras, changes, changes_to_float
from pipeline.commands.output import print_plain, print_table, table
from pipeline.records.interval import wilson_interval
from pipeline.report.figures import interval_text
from spelling import counted

if TYPE_CHECKING:
    from export.verification import Verification


def print_json(verified: Sequence[Verification]) -> None:
    """Prints the records, each with its top-1's 95% interval and how the file differs from others.

    `drop_p` and `float32_p` are the p of McNemar's exact test against the Keras model and
    the float32 file, on the same images; null where there is none, and for labels.
    """
    records = []
    for found, to_float in zip(verified, changes_to_float(verified), strict=True):
        is_top1 = measure_of(found) == "top-1"
        low, high = (is_top1 and wilson_interval(found.tflite_top1, found.num_samples)) or (None, None)
        to_keras = change_to_keras(found)
        records.append(
            asdict(found)
            | {
                "tflite_top1_low": low,
                "tflite_top1_high": high,
                "drop_p": None if to_keras is None else to_keras.p,
                "float32_p": None if to_float is None else to_float.p,
            }
        )
    print_plain(records)


def print_verified(verified: Sequence[Verification]) -> None:
    for measure in dict.fromkeys(measure_of(found) for found in verified):
        interval = ["95% interval"] if measure == "top-1" else []
        numbers = [
            f"Keras {measure}",
            f"file {measure}",
            *interval,
            "drop",
            _second(measure),
            "agree",
            "max diff",
        ]
        rows = table("file", *numbers, "error grows most at", numbers=numbers)
        for name, found in zip(names_of(verified), verified, strict=True):
            if measure_of(found) == measure:
                rows.add_row(name, *_cells(found))
        print_table(rows)
    one = verified[0]
    click.echo(
        f"{_images(verified)}; {one.runtime} {one.runtime_version}; "
        "drop in percentage points, max diff the largest of any output"
    )
    names = names_of(verified)
    alone = [name for name, found in zip(names, verified, strict=True) if found.keras_top1 is None]
    if alone:
        click.echo(f"{', '.join(alone)}: no Keras model to compare with")
    for words in changes(verified, names):
        click.echo(words)
    for words in _shares(verified):
        click.echo(words)
    if any(found.is_of_serving_function for found in verified):
        click.echo("compared with the SavedModel's serving function, which shows no layers to compare")
    for words, files in _by_classes(verified).items():
        click.echo(words if len(files) == len(verified) else f"{', '.join(files)}: {words}")


def measure_of(found: Verification) -> str:
    return "top-1" if found.tflite_average_precision is None else "mAP"


def _second(measure: str) -> str:
    """The figure of the file beside top-1 or mAP."""
    return "balanced" if measure == "top-1" else "all labels"


def _cells(found: Verification) -> list[str]:
    is_top1 = measure_of(found) == "top-1"
    second = found.tflite_balanced if is_top1 else found.tflite_all_labels
    ends = wilson_interval(found.tflite_top1, found.num_samples)
    interval = [interval_text(*ends)] if is_top1 and ends is not None else []
    return [
        _percent(found.keras_score),
        f"{found.tflite_score:.2f}%",
        *interval,
        "-" if found.drop_points is None else f"{found.drop_points:+.2f}",
        _percent(second),
        _percent(found.agreement),
        _difference(found),
        found.worst_layer or "-",
    ]


def _shares(verified: Sequence[Verification]) -> Iterator[str]:
    """What the figures are to be held against, and how labels are judged."""
    for found in {each.dataset_fingerprint + each.split: each for each in verified}.values():
        if found.majority_share is not None and measure_of(found) == "top-1":
            yield (
                f"always saying the most frequent class would be right on {found.majority_share:.2f}%; "
                "balanced: the mean of the classes' own shares right, of the file"
            )
    if any(found.head is HeadKind.LABELS for found in verified):
        yield (
            "several sigmoids: each label is its own yes or no, so a top-1 says nothing. mAP: the mean over "
            "the labels of the average precision; all labels: images with every label on its side of 0.5"
        )
    if any(found.head is HeadKind.LABELS and found.tflite_balanced is not None for found in verified):
        yield SIGMOIDS_ON_CLASSES


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}%"


def _difference(found: Verification) -> str:
    if found.keras_top1 is None:
        return "-"
    if found.max_abs_difference is None or found.num_keras_not_finite or found.num_tflite_not_finite:
        return "not finite"
    return f"{found.max_abs_difference:.3g}"


def _images(verified: Sequence[Verification]) -> str:
    """The images that the files ran on, per file if they are not the same for all."""
    names: dict[str, list[str]] = {}
    for name, found in zip(names_of(verified), verified, strict=True):
        images = f"{counted(found.num_samples, f'{found.split} image')} of {found.dataset}"
        names.setdefault(images, []).append(name)
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{', '.join(files)}: {images}" for images, files in names.items())


def _by_classes(verified: Sequence[Verification]) -> dict[str, list[str]]:
    """How the classes were matched -> the files matched so."""
    files: dict[str, list[str]] = {}
    for name, found in zip(names_of(verified), verified, strict=True):
        files.setdefault(found.classes_matched, []).append(name)
    return files


def names_of(verified: Sequence[Verification]) -> list[str]:
    """The files' names, prefixed with the run's name if two are equal."""
    from pipeline.bench.table import short_names

    return [f"{name}.tflite" for name in short_names([Path(found.path) for found in verified])]

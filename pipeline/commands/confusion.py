"""What the terminal shows of a file's predictions: the confusion matrix, and comparisons with other files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from export.artifact import has_sidecar, read_sidecar
from export.precisions import Precision
from pipeline.commands.output import print_table, stdout_console, table
from pipeline.runs import runs_folder
from spelling import counted

if TYPE_CHECKING:
    from export.verification import Verification
    from pipeline.report.confusion import PairedChange
    from pipeline.store.predictions import KeptPredictions

MOST_PAIRS = 20
CELL, INDEX = 1, 3
"""Blanks between the matrix's columns, and between its names and its figures."""
LONGEST_NAME = 24


def predictions_of(verified: Sequence[Verification]) -> list[KeptPredictions | None]:
    """The predictions that the store keeps of these verifications."""
    from pipeline.store.store import open_store

    with open_store(runs_folder()) as store:
        return [
            store.predictions(
                found.artifact_sha256, dataset_fingerprint=found.dataset_fingerprint, split=found.split
            )
            for found in verified
        ]


def changes(verified: Sequence[Verification], names: Sequence[str]) -> Iterator[str]:
    """A line for each file: its top-1 against the Keras model's and against the float32 file's."""
    kept = predictions_of(verified)
    for name, found, each in zip(names, verified, kept, strict=True):
        if each is None or each.num_images != found.num_samples:
            continue
        said = [("Keras", change_to_keras(found)), ("float32", _change_to_float(found, each, verified, kept))]
        words = [change.against(other) for other, change in said if change is not None]
        if words:
            yield f"{name} {'; it '.join(words)}"


def changes_to_float(verified: Sequence[Verification]) -> list[PairedChange | None]:
    """Each file against the float32 file of its model, where that is among them; None for the others."""
    kept = predictions_of(verified)
    return [
        None if each is None else _change_to_float(found, each, verified, kept)
        for found, each in zip(verified, kept, strict=True)
    ]


def change_to_keras(found: Verification) -> PairedChange | None:
    """The file against its Keras model; None without one, and for labels."""
    from pipeline.report.confusion import PairedChange

    if found.num_only_keras_right is None or found.num_only_tflite_right is None:
        return None
    return PairedChange(
        num_images=found.num_samples,
        only_before=found.num_only_keras_right,
        only_after=found.num_only_tflite_right,
    )


def _change_to_float(
    found: Verification,
    own: KeptPredictions,
    verified: Sequence[Verification],
    kept: Sequence[KeptPredictions | None],
) -> PairedChange | None:
    """The file against the float32 file of the same model, if it is among the verified."""
    from pipeline.report.confusion import are_of_the_same_images, paired_change

    parent, precision = _origin(found)
    if not parent or precision == Precision.FLOAT32:
        return None
    for other, others in zip(verified, kept, strict=True):
        is_float = _origin(other) == (parent, Precision.FLOAT32)
        if is_float and others is not None and are_of_the_same_images(own, others):
            return paired_change(own, others.found.file)
    return None


def _origin(found: Verification) -> tuple[str, str]:
    """The SHA-256 of the Keras model, and the precision; empty without a sidecar."""
    path = Path(found.path)
    if not has_sidecar(path):
        return "", ""
    sidecar = read_sidecar(path)
    return sidecar.parent_sha256, sidecar.precision


def print_confusion(names: Sequence[str], predictions: Sequence[KeptPredictions | None]) -> None:
    """The confusion matrix of each; the pairs most often confused where the terminal is too narrow."""
    for name, kept in zip(names, predictions, strict=True):
        click.echo()
        if kept is None:
            continue
        if kept.is_of_labels:
            click.echo(f"{name}: each label is its own yes or no, so there is no matrix")
            _print_classes(kept)
            continue
        lines = matrix_lines(kept, width=stdout_console().width)
        images = counted(kept.num_images, f"{kept.split} image")
        if lines is None:
            click.echo(
                f"{name}: {counted(len(kept.class_names), 'class', 'classes')} make a matrix too wide for "
                f"here. Of {images}:"
            )
        else:
            click.echo(f"{name}: {images}; a line is a true class, a column what the file says")
            for line in lines:
                click.echo(line)
            click.echo()
        _print_pairs(kept)
        if lines is None:
            _print_classes(kept)


def matrix_lines(kept: KeptPredictions, *, width: int) -> list[str] | None:
    """The matrix as text with recall at the end of each line, precision below; None if it is too wide."""
    from pipeline.report.confusion import class_figures, confusion_matrix

    matrix = confusion_matrix(kept)
    if not matrix[:, -1].any():
        matrix = matrix[:, :-1]
    figures = class_figures(kept)
    heads = [str(number) for number in range(len(kept.class_names))]
    heads += ["none"] * (matrix.shape[1] - len(heads))
    below = [_percent(each.precision) for each in figures]
    wide = max(max(map(len, heads)), len(str(matrix.max())), max(map(len, below)))
    digits = len(str(len(figures) - 1))
    names = [
        each.name if each.name == str(number) else f"{number:>{digits}} {_cut(each.name)}"
        for number, each in enumerate(figures)
    ]
    first = max(*(len(name) for name in names), len("precision"))
    if first + INDEX + matrix.shape[1] * (wide + CELL) + len("recall") + 1 > width:
        return None

    def line(name: str, cells: Sequence[str], last: str) -> str:
        return (
            f"{name:<{first}}{' ' * (INDEX - CELL)}"
            + "".join(f"{cell:>{wide + CELL}}" for cell in cells)
            + f"  {last}".rstrip()
        )

    rows = [
        line(name, ["." if not cell else str(cell) for cell in cells.tolist()], _percent(each.recall))
        for name, cells, each in zip(names, matrix, figures, strict=True)
    ]
    return [line("", heads, "recall"), *rows, line("precision", below, "")]


def _print_pairs(kept: KeptPredictions) -> None:
    from pipeline.report.confusion import class_figures, confused_pairs

    pairs = confused_pairs(kept)
    if not pairs:
        click.echo("no two classes are confused")
        return
    numbers = ["images", "of that class"]
    rows = table("most often confused", "taken for", *numbers, numbers=numbers)
    figures = class_figures(kept)
    for pair in pairs[:MOST_PAIRS]:
        truth = figures[pair.truth]
        rows.add_row(
            truth.name,
            kept.class_names[pair.label],
            f"{pair.count:,}",
            f"{100 * pair.count / truth.count:.1f}% of {truth.count:,}",
        )
    print_table(rows)
    if len(pairs) > MOST_PAIRS:
        click.echo(f"and {len(pairs) - MOST_PAIRS:,} more pairs, in the page: pipeline report --format html")


def _print_classes(kept: KeptPredictions) -> None:
    """The classes with the lowest recall."""
    from pipeline.report.confusion import class_figures

    figures = sorted(class_figures(kept), key=lambda each: 101 if each.recall is None else each.recall)
    numbers = ["recall", "precision", "images"]
    rows = table("least often found", *numbers, numbers=numbers)
    for each in figures[:MOST_PAIRS]:
        rows.add_row(each.name, _percent(each.recall), _percent(each.precision), f"{each.count:,}")
    print_table(rows)


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0f}%"

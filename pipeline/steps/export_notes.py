"""What the user should know of exported files and of refusals, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from export.artifact import Calibration, ExportArtifact
from export.choose_int8 import FEWEST_IMAGES
from export.head import HeadKind
from export.precisions import Precision
from spelling import counted


def meaning(artifact: ExportArtifact) -> str:
    """What the outputs mean, if they are no classes that exclude each other."""
    head, names = artifact.head, artifact.class_names
    if head.kind is HeadKind.BINARY:
        return f"one output: above {head.threshold:g} it says '{names[1]}', else '{names[0]}'."
    if head.kind is HeadKind.LABELS:
        return (
            f"{counted(head.num_outputs, 'sigmoid')}: each label holds on its own, above "
            f"{head.threshold:g}, so a top-1 "
            "says nothing. `pipeline verify` gives the average precision."
        )
    return ""


def normalized(artifact: ExportArtifact) -> str:
    """That the normalisation costs an operator of an int8 file, and why; empty if it does not."""
    if "operator" not in artifact.normalization:
        return ""
    return f"{artifact.path} turns pixels into the network's values {artifact.normalization}."


def too_few(asked: int, found: Calibration) -> str:
    """That there are fewer calibration images than asked for; empty if there are enough."""
    there_are = found.num_samples + found.left_out
    if there_are >= asked:
        return ""
    return f"calibrating with {counted(there_are, 'image')}: the training split has no more."


def done_for_int8(artifact: ExportArtifact) -> str:
    """What an int8 file loses less with, and the two errors; empty for another file."""
    done, settings, calibration = artifact.equalization, artifact.settings, artifact.calibration
    if calibration is None or not settings.precision.spec.is_integer or settings.equalize is not None:
        return ""
    if done is None and settings.rewrites:
        return (
            f"{artifact.path}: {counted(calibration.num_samples, 'calibration image')}, too few to hold "
            "some out and "
            f"choose what int8 loses least with. Give {FEWEST_IMAGES}, or say --equalize or --no-equalize."
        )
    if done is None:
        return ""
    if done.error is None or done.plain_error is None:
        return ""
    without = "" if done.error == done.plain_error else f", {100 * done.plain_error:.1f}% without"
    return (
        f"{artifact.path}: {done.in_words}. Its class scores are off by {100 * done.error:.1f}% of their "
        f"spread on {counted(done.num_held_out, 'image')} held out{without}."
    )


def told_once(refused: Sequence[tuple[Precision, str]]) -> tuple[str, ...]:
    """The refusals; one that several precisions share is told for the first, and names the others."""
    alike: dict[str, list[tuple[Precision, str]]] = {}
    for precision, text in refused:
        form = re.sub(rf"(?:\b|_){precision}\b", "...", text)
        alike.setdefault(form, []).append((precision, text))
    told = []
    for (_, text), *others in alike.values():
        names = " and ".join(precision for precision, _ in others)
        told.append(f"{text} The same holds for {names}." if others else text)
    return tuple(told)

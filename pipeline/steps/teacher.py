"""Finds the teacher of a training, matches its classes with the images', and tries it on some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.check.pixel_trial import NUM_TRIED
from export.files import sha256_of
from export.graph.probabilities import head_of_model
from models.errors import CheckpointError
from models.family import Checkpoint
from models.registry import resolve
from models.weights.arrays import read_arrays
from models.weights.catalogue import CHECKPOINTS
from models.weights.fetch import fetched
from models.weights.fill import family_with
from pipeline.class_names import MatchedClasses, is_unnamed, match_classes, match_known
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError, UsageError
from pipeline.labels import read_labels
from pipeline.lineage import KerasSource, find_source, is_keras_model, with_pixels
from pipeline.progress import Doing, Note, Progress
from pipeline.records.training import TeacherConfig
from pipeline.runs import finished_runs
from pipeline.steps.pixels import doubt, tried
from pipeline.steps.settings import TeacherSettings
from pipeline.training.teacher import Teacher, load_model, scores_of
from spelling import counted, did_you_mean

ADVICE = "Give a teacher that was trained on these classes, or name its outputs: --teacher-labels FILE."
WEIGHTS_ENDINGS = (".npz", ".safetensors", ".weights.h5")
BATCH_SIZE = 50
FEWEST_IMAGES = 20
"""With fewer labelled images nothing is concluded from a teacher that gets none right."""


@dataclass(frozen=True, kw_only=True)
class FoundTeacher:
    """A teacher's file, its model, and what is known about it."""

    path: Path
    said: str
    """What it is, in words."""
    model: keras.Model
    """The whole model; it takes raw 0-255 pixels."""
    scores: keras.Model
    """The same up to its class scores."""
    family: str | None = None
    """Of a file of weights alone."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None
    """Of a run or a known file; None if they are unknown."""
    foreign: KerasSource | None = None
    """For a model from elsewhere, whose pixels are not known."""


@dataclass(frozen=True, kw_only=True)
class MatchedTeacher:
    """A teacher whose classes are matched with a data set's."""

    config: TeacherConfig
    teacher: Teacher
    by_number: bool
    """Whether the order of its outputs was assumed, for want of names."""


def find_teacher(settings: TeacherSettings, *, runs: Path) -> FoundTeacher:
    """The teacher that --teacher names: a run, a model's file, or a published file's name or path.

    Fetches a published file that is not on this machine. Raises UsageError if it is no classifier that can
    teach, PipelineError, CheckpointError or ExportError for a damaged file.
    """
    name, path = settings.teacher, Path(settings.teacher)
    if name in CHECKPOINTS and not path.exists():
        return _weights(fetched(name, CHECKPOINTS[name]), [CHECKPOINTS[name]], settings, said=name)
    if name.endswith(WEIGHTS_ENDINGS) and path.is_file():
        return _weights(path, _candidates(path), settings, said=path.name)
    return _whole_model(settings, runs)


def matched_teacher(
    found: FoundTeacher, dataset: Dataset, settings: TeacherSettings, *, progress: Progress
) -> MatchedTeacher:
    """The teacher for a training on the data set.

    Raises UsageError if its classes are others, or it was clearly trained on other pixels.
    """
    num_classes = head_of_model(found.model).num_classes
    numbers = tuple(map(str, range(num_classes)))
    given = read_labels(settings.labels, num_classes) if settings.labels else None
    names = given or found.class_names or numbers
    match = match_known if found.class_names and not given else match_classes
    of_data = dataset.spec.class_names
    try:
        matched = match(names, of_data, name=f"the teacher {found.said}", advice=ADVICE)
    except PipelineError as error:
        raise UsageError(str(error)) from error
    if found.foreign is not None and not found.knobs:
        _check_pixels(found, found.foreign, dataset, matched, progress)
    asked = {"temperature": settings.temperature, "weight": settings.weight}
    config = TeacherConfig(
        path=str(found.path.absolute()),
        sha256=sha256_of(found.path),
        name=found.said,
        family=found.family,
        knobs=dict(found.knobs),
        outputs=matched.outputs,
        **{name: value for name, value in asked.items() if value is not None},
    )
    return MatchedTeacher(
        config=config,
        teacher=Teacher(scores=found.scores, outputs=matched.outputs),
        by_number=is_unnamed(names) and not is_unnamed(of_data),
    )


def check_teaches(
    matched: MatchedTeacher,
    dataset: Dataset,
    *,
    image_size: int,
    progress: Progress,
    at_least: int = FEWEST_IMAGES,
) -> None:
    """Reports how many validation images of the student's size the teacher gets right.

    Raises UsageError if they are no more than chance where the order of its outputs was assumed, and
    `at_least` so many images say so.
    """
    pixels, labels = dataset.balanced_samples(
        "validation", image_size=image_size, num_samples=NUM_TRIED, seed=0
    )
    starts = range(0, len(pixels), BATCH_SIZE)
    scores = [np.asarray(matched.teacher(pixels[at : at + BATCH_SIZE].astype(np.float32))) for at in starts]
    top1 = 100 * float((np.concatenate(scores).argmax(axis=1) == labels).mean())
    config, images = matched.config, counted(len(labels), "validation image")
    right = f"right on {top1:.1f}% of {images}"
    if matched.by_number and len(labels) >= at_least and top1 <= 100 / len(config.outputs):
        raise UsageError(
            f"the teacher {config.name} is {right}, no more than chance: its outputs have no names and seem "
            f"to stand in another order than the classes. {ADVICE}"
        )
    progress(
        Note(
            f"learning from {config.name}, {right}: temperature {config.temperature:g}, weight "
            f"{config.weight:g}"
        )
    )


def _check_pixels(
    found: FoundTeacher,
    source: KerasSource,
    dataset: Dataset,
    matched: MatchedClasses,
    progress: Progress,
) -> None:
    progress(Doing(f"trying which pixels {found.said} takes"))
    trial = tried(source, dataset, matched, split="train", model=found.model)
    if words := doubt(trial, "Give {options}, or --scale 1 to keep raw pixels."):
        raise UsageError(f"the teacher {found.said}: {words.replace('--', '--teacher-')}")


def _whole_model(settings: TeacherSettings, runs: Path) -> FoundTeacher:
    name = settings.teacher
    if not (is_keras_model(name) or Path(name).exists() or (runs / name).exists()):
        known = [*(run.name for run in finished_runs(runs)), *CHECKPOINTS]
        raise UsageError(
            f"there is no teacher '{name}': expected a run, the file of a model or the name of a published "
            f"file. {did_you_mean(name, known)}The runs: pipeline runs; published files: pipeline weights"
        )
    source = find_source(name, data=None, folder=runs)
    is_run = source.class_names is not None
    said = source.model_path.absolute().parent.name if is_run else source.model_path.name
    if is_run and (settings.pixels or settings.labels):
        raise UsageError(
            f"--teacher-scale, -offset, -channels and -labels are for a model from elsewhere: the run {said} "
            "has its own. Leave them out."
        )
    if settings.pixels:
        source = with_pixels(source, **settings.pixels)
    knobs = source.knobs if source.family is None else {}
    model = load_model(source.model_path, family=None, knobs=knobs)
    return FoundTeacher(
        path=source.model_path,
        said=said,
        model=model,
        scores=scores_of(model, said),
        knobs=knobs,
        class_names=source.class_names,
        foreign=None if is_run else source,
    )


def _weights(
    path: Path, candidates: list[Checkpoint], settings: TeacherSettings, *, said: str
) -> FoundTeacher:
    """The net of the first candidate that takes the file's weights."""
    if settings.pixels:
        raise UsageError(
            "--teacher-scale, --teacher-offset and --teacher-channels are for a model from elsewhere, and "
            f"what {said} takes is known. Leave them out."
        )
    failures = []
    for each in candidates:
        knobs = resolve(each.family, each.knobs)
        try:
            model = load_model(path, family=each.family, knobs=knobs)
        except CheckpointError as error:
            failures.append(error)
            continue
        return FoundTeacher(
            path=path,
            said=said,
            model=model,
            scores=scores_of(model, said),
            family=each.family,
            knobs=knobs,
            class_names=each.class_names or None,
        )
    raise failures[0]


def _candidates(path: Path) -> list[Checkpoint]:
    """The published files that the file may be: that of its name, else those with arrays of its names."""
    of_name = [each for each in CHECKPOINTS.values() if each.file == path.name and not each.hub]
    if of_name:
        return of_name
    family = family_with(read_arrays(path))
    of_family = list(family.checkpoints.values()) if family else []
    if not of_family:
        raise UsageError(
            f"{path} is none of the published files that `pipeline weights` lists, so its net is not known. "
            "Give a run or a whole model (.keras) as teacher."
        )
    return of_family

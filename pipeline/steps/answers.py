"""What one or two files answer on the same labelled images: top-1, and how often both name the same class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.artifact import has_sidecar
from export.check.foreign import read_foreign
from export.check.paired import paired_p
from export.check.pixel_trial import NUM_TRIED, Labels
from export.check.runner import Floats, Runners, check_runs
from export.check.verify import check_sidecar
from export.errors import ExportError
from export.tflite.inspect import inspect
from export.tflite.output import head_of_file
from pipeline.class_names import MatchedClasses, match_classes, match_file
from pipeline.data.dataset import Dataset
from pipeline.data.spec import ImageShape
from pipeline.errors import PipelineError
from pipeline.lineage import artifact_of
from pipeline.progress import Doing, Progress, silent
from pipeline.steps.dataset import load_dataset
from pipeline.steps.foreign import class_names_of, fed_pixels, tried_on_file
from pipeline.steps.pixels import doubt, predicted_labels
from pipeline.steps.settings import VerifySettings


@dataclass(frozen=True, kw_only=True)
class FileAnswers:
    """A file's answers on the images."""

    path: str
    top1: float | None
    """Percent; None if the file could not be asked."""
    reason: str = ""
    """Why not, or what is doubtful about them."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of one or two files on the same images."""

    dataset: str
    split: str
    num_images: int
    files: tuple[FileAnswers, ...]
    agreement: float | None = None
    """Percent of the images for which both files name the same class; None unless both were asked."""
    p: float | None = None
    """Of McNemar's exact test, two-sided: how likely chance alone makes top-1 differ as much."""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    answers: FileAnswers
    found: Labels | None = None
    """The class of the data set for each image; -1 for another."""
    labels: Labels | None = None


def answers(paths: Sequence[Path], settings: VerifySettings, *, progress: Progress = silent) -> Answers:
    """The answers on up to 200 images of the settings' data and split, as many of each class.

    A file that cannot be asked has the reason instead.
    """
    assert settings.data is not None
    dataset = load_dataset(settings.data, progress)
    settings = dataclasses.replace(settings, split=dataset.filled_split(settings.split))
    dataset.check_one_label("comparing the answers of files")
    asked = []
    for path in paths:
        progress(Doing(f"asking {path.name}"))
        try:
            ask = _ask_ours if has_sidecar(path) else _ask_foreign
            asked.append(ask(path, dataset, settings))
        except (ExportError, PipelineError) as error:
            asked.append(_Asked(answers=FileAnswers(path=str(path), top1=None, reason=str(error))))
    known = [(each.found, each.labels) for each in asked if each.found is not None]
    found = Answers(
        dataset=dataset.spec.name,
        split=settings.split,
        num_images=min(NUM_TRIED, dataset.num_examples(settings.split)),
        files=tuple(each.answers for each in asked),
    )
    if len(known) < 2:
        return found
    (one, labels), (other, _) = known
    return dataclasses.replace(
        found,
        agreement=100 * float(((one == other) & (one >= 0)).mean()),
        p=paired_p(one == labels, other == labels),
    )


def _ask_ours(path: Path, dataset: Dataset, settings: VerifySettings) -> _Asked:
    artifact = artifact_of(path)
    check_sidecar(path, artifact)
    check_runs(path)
    contents = inspect(path)
    matched = match_file(artifact, dataset.spec.class_names)
    images, labels = _images(dataset, ImageShape(*contents.inputs[0].shape[1:]), settings.split)
    with Runners(path, contents) as runners:
        found = predicted_labels(runners.outputs(images), head_of_file(contents))
    return _asked(path, found, labels, matched)


def _ask_foreign(path: Path, dataset: Dataset, settings: VerifySettings) -> _Asked:
    file = read_foreign(path)
    matched = match_classes(class_names_of(file, settings.labels), dataset.spec.class_names, name=path.name)
    pixels = fed_pixels(file, settings)
    trial = tried_on_file(file, dataset, matched, pixels, settings.split)
    if trial.better is not None and not settings.pixels:
        reason = doubt(trial, "Give {options}.")
        return _Asked(answers=FileAnswers(path=str(path), top1=None, reason=reason))
    images, labels = _images(dataset, ImageShape(*file.shape), settings.split)
    with Runners(path, file.contents, stored=lambda raw: file.stored(pixels(raw))) as runners:
        found = predicted_labels(runners.outputs(images), file.head)
    return _asked(path, found, labels, matched, reason=doubt(trial, "Give {options}."))


def _images(dataset: Dataset, shape: ImageShape, split: str) -> tuple[Floats, Labels]:
    images, labels = dataset.balanced_samples(split, image_size=shape, num_samples=NUM_TRIED, seed=0)
    return images.astype(np.float32), labels.astype(np.int64)


def _asked(
    path: Path, outputs: Labels, labels: Labels, matched: MatchedClasses, *, reason: str = ""
) -> _Asked:
    """`outputs` are the numbers that the file names, `labels` the data set's."""
    classes = {output: label for label, output in enumerate(matched.outputs)}
    found = np.asarray([classes.get(int(each), -1) for each in outputs], np.int64)
    top1 = 100 * float((found == labels).mean())
    return _Asked(answers=FileAnswers(path=str(path), top1=top1, reason=reason), found=found, labels=labels)

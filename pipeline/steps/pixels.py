"""Tries on labelled images whether a model from elsewhere was trained on other pixels than it is fed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.check.pixel_trial import NUM_TRIED, Floats, Labels, PixelTrial, try_conventions
from export.graph.rewrite import head_of_model
from export.head import Head
from export.pixel_conventions import convention_of
from export.source.keras_file import load_model
from pipeline.class_names import MatchedClasses, is_unnamed, match_classes
from pipeline.data.dataset import Dataset
from pipeline.data.spec import image_shape_of
from pipeline.errors import PipelineError, UsageError
from pipeline.lineage import KerasSource
from pipeline.progress import Doing, Progress, silent

BATCH_SIZE = 50
RAW_ANYWAY = "--scale 1"
EXPORT_AGAIN = "Export it with {options}."


def checked_pixels(
    source: KerasSource,
    dataset: Dataset | None,
    class_names: Sequence[str],
    *,
    progress: Progress = silent,
) -> str:
    """What was found about a model's pixels, in one line; empty for a run's own model.

    `class_names` are the model's. Raises UsageError if no pixels were given, and others than raw 0-255 are
    clearly better.
    """
    if source.family is not None:
        return ""
    if dataset is None:
        return "" if source.knobs else _untried("there are no labelled images: give --data FOLDER")
    try:
        matched = matched_classes(class_names, dataset, name=source.model_path.name)
    except PipelineError:
        return _untried("its outputs cannot be matched with the classes of the images")
    progress(Doing(f"trying which pixels {source.model_path.name} takes"))
    trial = tried(source, dataset, matched, split="train")
    if trial.better is not None and not source.knobs:
        advice = "Give {options}, or " + RAW_ANYWAY + " to keep raw pixels."
        raise UsageError(f"{source.model_path.name}: {doubt(trial, advice)}")
    return f"pixels: {doubt(trial) or without_doubt(trial)}"


def matched_classes(class_names: Sequence[str], dataset: Dataset, *, name: str) -> MatchedClasses:
    """The outputs of the data set's classes, by name, or else by number, since an app's names may be others.

    Raises PipelineError if neither is possible, or if there is one class alone.
    """
    of_data = dataset.spec.class_names
    if len(of_data) < 2:
        raise PipelineError(f"the data set has the class {', '.join(of_data)} alone. Expected two or more.")
    try:
        return match_classes(class_names, of_data, name=name)
    except PipelineError:
        if is_unnamed(class_names) or len(class_names) != len(of_data):
            raise
        return match_classes(tuple(map(str, range(len(class_names)))), of_data, name=name)


def tried(source: KerasSource, dataset: Dataset, matched: MatchedClasses, *, split: str) -> PixelTrial:
    """The trial of the model, beside the pixels that the source says it takes."""
    bare = load_model(source.model_path)
    head = head_of_model(bare)
    pixels, labels = dataset.balanced_samples(
        split, image_size=image_shape_of(bare), num_samples=NUM_TRIED, seed=0
    )

    def predict(fed: Floats) -> Labels:
        outputs = np.asarray(bare.predict(fed, batch_size=BATCH_SIZE, verbose=0), np.float32)
        return predicted_labels(outputs, head)

    return try_conventions(
        predict, pixels.astype(np.float32), matched.labels(labels), convention_of(source.knobs)
    )


def predicted_labels(outputs: Floats, head: Head) -> Labels:
    """(n, outputs) -> (n,) numbers of classes; -1 where an output is not finite."""
    found = head.answers(outputs)
    return np.where(np.isfinite(outputs).all(axis=1), found, -1).astype(np.int64)


def doubt(trial: PixelTrial, advice: str = EXPORT_AGAIN) -> str:
    """What is wrong with the pixels, the figures and the options to give; empty if nothing is."""
    if trial.better is None:
        return ""
    better = trial.better.convention
    alike = " or ".join(f"{each.convention} ({each.convention.options})" for each in trial.alike)
    return (
        f"fed {trial.assumed.convention} it is right on {trial.assumed.top1:.1f}% of {trial.num_images} "
        f"images, fed {better} on {trial.better.top1:.1f}% ({trial.figures}). Expected the pixels that it "
        f"was trained on. {advice.format(options=better.options)}"
        + (f" As good on these images: {alike}; take what the training used." if alike else "")
    )


def without_doubt(trial: PixelTrial) -> str:
    """What was tried, where nothing is clearly better."""
    if not trial.others:
        return (
            f"fed {trial.assumed.convention} it is right on {trial.assumed.top1:.1f}% of {trial.num_images} "
            "images: no other convention can be clearly better."
        )
    return (
        f"taken as {trial.assumed.convention}; none is clearly better on {trial.num_images} images "
        f"({trial.figures})."
    )


def _untried(why: str) -> str:
    return f"pixels: taken as raw 0-255 RGB, untried, since {why}. Other pixels: --scale, --offset."

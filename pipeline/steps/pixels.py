"""Tries on labelled images whether a model from elsewhere was trained on other pixels than it is fed."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from export.check.pixel_trial import NUM_TRIED, Floats, Labels, PixelTrial, try_conventions
from export.graph.probabilities import head_of_model
from export.head import Head
from export.pixel_conventions import convention_of
from pipeline.class_names import MatchedClasses, is_unnamed, match_classes
from pipeline.data.dataset import Dataset
from pipeline.data.spec import image_shape_of
from pipeline.errors import PipelineError, UsageError
from pipeline.lineage import KerasSource, load_model_of
from pipeline.progress import Doing, Progress, silent
from spelling import counted

BATCH_SIZE = 50
RAW_ANYWAY = "--scale 1"
EXPORT_AGAIN = "Export it with {options}."


def checked_pixels(
    source: KerasSource,
    model: keras.Model | None,
    dataset: Dataset | None,
    class_names: Sequence[str],
    *,
    progress: Progress = silent,
) -> str:
    """What was found about a model's pixels, in one line; empty for a run's model.

    `model` is that of load_model_of(), `class_names` its outputs' names. Raises UsageError if no pixels were
    given, and others than raw 0-255 are clearly better.
    """
    if source.family is not None or source.compression is not None:  # tried before it was compressed
        return ""
    if dataset is None:
        return "" if source.knobs else _untried(source, "there are no labelled images: give --data FOLDER")
    if dataset.spec.has_several_labels:
        return _untried(source, "the images have several labels")
    try:
        matched = _matched(class_names, dataset, name=source.model_path.name)
    except PipelineError:
        return _untried(source, "its outputs cannot be matched with the classes of the images")
    progress(Doing(f"trying which pixels {source.model_path.name} takes"))
    trial = tried(source, dataset, matched, split="train", model=model)
    if trial.better is not None and not source.knobs:
        advice = "Give {options}, or " + RAW_ANYWAY + " to keep raw pixels."
        raise UsageError(f"{source.model_path.name}: {doubt(trial, advice)}")
    return f"pixels: {doubt(trial) or without_doubt(trial)}"


def _matched(class_names: Sequence[str], dataset: Dataset, *, name: str) -> MatchedClasses:
    """The outputs of the data set's classes, by name, or else by number, since an app's names may be others.

    Raises PipelineError if neither is possible.
    """
    of_data = dataset.spec.class_names
    try:
        return match_classes(class_names, of_data, name=name)
    except PipelineError:
        if is_unnamed(class_names) or len(class_names) != len(of_data):
            raise
        return match_classes(tuple(map(str, range(len(class_names)))), of_data, name=name)


def tried(
    source: KerasSource,
    dataset: Dataset,
    matched: MatchedClasses,
    *,
    split: str,
    model: keras.Model | None = None,
) -> PixelTrial:
    """The trial of the model, beside the pixels that the source says it takes.

    `model` is that of load_model_of(), if it is loaded already.
    """
    whole = load_model_of(source) if model is None else model
    head, assumed = head_of_model(whole), convention_of(source.knobs)
    pixels, labels = dataset.balanced_samples(
        split, image_size=image_shape_of(whole), num_samples=NUM_TRIED, seed=0
    )

    def predict(fed: Floats) -> Labels:
        return predicted_labels(_outputs(whole, assumed.undone(fed)), head)

    return try_conventions(predict, pixels.astype(np.float32), matched.labels(labels), assumed)


def _outputs(model: keras.Model, fed: Floats) -> Floats:
    """The model's outputs, in batches of the size that it was built for, if of any."""
    size = model.inputs[0].shape[0] or BATCH_SIZE
    filled = np.concatenate([fed, np.zeros((-len(fed) % size, *fed.shape[1:]), np.float32)])
    found = [model.predict_on_batch(each) for each in np.split(filled, len(filled) // size)]
    outputs: Floats = np.concatenate(found).astype(np.float32)[: len(fed)]
    return outputs


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
        + (f" These images cannot tell it from {alike}: take what the training used." if alike else "")
    )


def without_doubt(trial: PixelTrial) -> str:
    """What was tried, where nothing is clearly better."""
    if not trial.others:
        return (
            f"fed {trial.assumed.convention} it is right on {trial.assumed.top1:.1f}% of {trial.num_images} "
            "images: no other convention can be clearly better."
        )
    order = (
        " Its outputs may stand in another order than the classes "
        f"({trial.other_order_top1:.1f}% right if so): check the class names."
    )
    return (
        f"taken as {trial.assumed.convention}; none is clearly better on "
        f"{counted(trial.num_images, 'image')} "
        f"({trial.figures})." + (order if trial.is_in_another_order else "")
    )


def _untried(source: KerasSource, why: str) -> str:
    others = "" if source.knobs else " Other pixels: --scale, --offset."
    return f"pixels: taken as {convention_of(source.knobs)}, untried, since {why}.{others}"

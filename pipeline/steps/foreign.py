"""Verifies a .tflite file of another tool on labelled images: its top-1, and whether its pixels are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.check.foreign import ForeignFile, read_foreign
from export.check.pixel_trial import NUM_TRIED, Floats, Labels, PixelTrial, try_conventions
from export.check.predictions import PredictionLog
from export.check.runner import Runners
from export.check.verify import Samples, verify_alone
from export.pixel_conventions import PixelConvention
from export.tflite.content import signatures_in_words
from export.verification import Verification
from pipeline.class_names import MatchedClasses, match_classes
from pipeline.data.dataset import Dataset
from pipeline.data.spec import ImageShape
from pipeline.errors import UsageError
from pipeline.labels import read_labels
from pipeline.lineage import given_convention
from pipeline.progress import Doing, Note, Progress
from pipeline.steps.pixels import doubt, predicted_labels, without_doubt
from pipeline.steps.predictions import kept_predictions
from pipeline.steps.settings import ForeignSettings, VerifySettings
from pipeline.store.predictions import KeptPredictions

BATCH_SIZE = 64


def verify_foreign(
    path: Path, dataset: Dataset, settings: VerifySettings, progress: Progress
) -> tuple[Verification, KeptPredictions]:
    """The verification of a file without a sidecar, and its predictions.

    The settings name its outputs and say what it is fed.

    Raises ExportError for a file that is no image classifier, PipelineError for classes that cannot be
    matched, and UsageError if no pixels are given and others than the file's own are clearly better.
    """
    progress(Doing(f"reading {path}"))
    file = read_foreign(path)
    if said := signatures_in_words(file.contents):
        progress(Note(f"{path.name}: {said}"))
    dataset.check_one_label("verifying a file of another tool")
    names = class_names_of(file, settings.labels)
    matched = match_classes(names, dataset.spec.class_names, name=path.name)
    given, pixels = settings.pixels, fed_pixels(file, settings)
    progress(Doing(f"trying which pixels {path.name} takes"))
    trial = tried_on_file(file, dataset, matched, pixels, settings.split)
    advice = "Give {options}" + f", or {pixels.options} to keep these."
    if trial.better is not None and not given:
        raise UsageError(f"{path.name}: {doubt(trial, advice)}")
    found = doubt(trial, "Give {options}.")
    why = f" ({file.pixels_from})" if file.pixels_from and not given else ""
    if not found:
        progress(Note(f"{path.name}: pixels{why}: {without_doubt(trial)}"))
    shape, spec = ImageShape(*file.shape), dataset.spec
    total = min(dataset.num_examples(settings.split), settings.limit or dataset.num_examples(settings.split))
    batches = dataset.batches(settings.split, image_size=shape, batch_size=BATCH_SIZE, limit=settings.limit)
    samples = Samples(
        batches=matched.batches(batches),
        dataset=spec.name,
        dataset_fingerprint=spec.fingerprint,
        split=settings.split,
    )
    log = PredictionLog()
    doing = f"verifying {path.name}"
    verified = verify_alone(
        file,
        samples,
        pixels,
        log=log,
        progress=lambda done: progress(Doing(doing, f"{done:,} of {total:,} images", done, total)),
    )
    verified = replace(verified, classes_matched=matched.words, pixels_doubt=found)
    return verified, kept_predictions(verified, log, names, dataset, settings, shape=shape)


def fed_pixels(file: ForeignFile, settings: ForeignSettings) -> PixelConvention:
    """What the settings say that the file is fed, else what it says itself."""
    return given_convention(**settings.pixels) if settings.pixels else file.pixels


def class_names_of(file: ForeignFile, labels: Path | None) -> tuple[str, ...]:
    """The names of the outputs: from the labels file, else from inside the file, else numbers."""
    if labels is not None:
        return read_labels(labels, file.head.num_classes)
    return file.class_names or tuple(map(str, range(file.head.num_classes)))


def tried_on_file(
    file: ForeignFile, dataset: Dataset, matched: MatchedClasses, assumed: PixelConvention, split: str
) -> PixelTrial:
    """The trial of the file, beside the assumed pixels."""
    images, labels = dataset.balanced_samples(
        split, image_size=ImageShape(*file.shape), num_samples=NUM_TRIED, seed=0
    )
    with Runners(file.path, file.contents, stored=file.stored) as runners:

        def predict(fed: Floats) -> Labels:
            return predicted_labels(runners.outputs(fed), file.head)

        return try_conventions(predict, images.astype("float32"), matched.labels(labels), assumed)

"""The predictions of a verification, with the images and classes that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from export.check.predictions import PredictionLog
from export.verification import Verification
from pipeline.data.dataset import Dataset
from pipeline.data.spec import ImageShape
from pipeline.report.confusion import confident_mistakes, disagreements
from pipeline.report.mistakes_page import MOST_DISAGREEMENTS, MOST_MISTAKES
from pipeline.steps.settings import VerifySettings
from pipeline.store.predictions import KeptPredictions

MOST_SIDE = 64
"""Pixels of a kept image's longer side."""


def kept_predictions(
    verified: Verification,
    log: PredictionLog,
    class_names: Sequence[str],
    dataset: Dataset,
    settings: VerifySettings,
    *,
    shape: ImageShape,
) -> KeptPredictions:
    """What the store keeps of a file's answers; the names of the images only if all of them are known.

    `shape` is what the file takes. Of an array, the images that a page shows are kept too.
    """
    found = log.predictions()
    names = dataset.read_names(settings.split, limit=settings.limit)
    kept = KeptPredictions(
        artifact_sha256=verified.artifact_sha256,
        dataset=verified.dataset,
        dataset_fingerprint=verified.dataset_fingerprint,
        split=verified.split,
        class_names=tuple(class_names),
        images=names if len(names) == len(found.truth) else (),
        found=found,
    )
    return replace(kept, pictures=_pictures(kept, dataset, settings, shape)) if kept.images else kept


def _pictures(
    kept: KeptPredictions, dataset: Dataset, settings: VerifySettings, shape: ImageShape
) -> dict[int, npt.NDArray[np.uint8]]:
    """The surest mistakes and disagreements, small; empty for image files, which are read again."""
    places = [*confident_mistakes(kept, MOST_MISTAKES)]
    if kept.found.keras is not None:
        places += disagreements(kept, kept.found.keras)[:MOST_DISAGREEMENTS]
    places = list(dict.fromkeys(places))
    shrink = min(1.0, MOST_SIDE / max(shape[:2]))
    small = ImageShape(
        max(1, round(shape.height * shrink)), max(1, round(shape.width * shrink)), shape.channels
    )
    images = dataset.array_images(settings.split, places, image_size=small, limit=settings.limit)
    return {} if images is None else dict(zip(places, images, strict=True))

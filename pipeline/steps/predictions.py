"""The predictions of a verification, with the images and classes that they are of."""

from __future__ import annotations

from collections.abc import Sequence

from export.check.predictions import PredictionLog
from export.verification import Verification
from pipeline.data.dataset import Dataset
from pipeline.steps.settings import VerifySettings
from pipeline.store.predictions import KeptPredictions


def kept_predictions(
    verified: Verification,
    log: PredictionLog,
    class_names: Sequence[str],
    dataset: Dataset,
    settings: VerifySettings,
) -> KeptPredictions:
    """What the store keeps of a file's answers; the names of the images only if all of them are known."""
    found = log.predictions()
    names = dataset.read_names(settings.split, limit=settings.limit)
    return KeptPredictions(
        artifact_sha256=verified.artifact_sha256,
        dataset=verified.dataset,
        dataset_fingerprint=verified.dataset_fingerprint,
        split=verified.split,
        class_names=tuple(class_names),
        images=names if len(names) == len(found.truth) else (),
        found=found,
    )

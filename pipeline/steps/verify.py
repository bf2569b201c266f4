"""Verifies exported files on a split of a data set, each compared with its Keras model."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import keras

from export.artifact import ExportArtifact, has_sidecar
from export.check.pixel_trial import MARGIN_POINTS
from export.check.predictions import PredictionLog
from export.check.verify import KerasOutputs, NamedLayers, Samples, check_sidecar
from export.check.verify import verify as verify_file
from export.plan import converted_model
from export.source.serving import is_serving_function
from export.verification import Verification
from pipeline.class_names import MatchedClasses, match_file
from pipeline.data.dataset import Dataset
from pipeline.data.spec import image_shape_of
from pipeline.errors import UsageError
from pipeline.lineage import KerasSource, data_of_file, load_model_of, source_of_file
from pipeline.progress import Doing, Progress, silent
from pipeline.steps.dataset import load_dataset
from pipeline.steps.foreign import verify_foreign
from pipeline.steps.pixels import doubt, tried
from pipeline.steps.predictions import kept_predictions
from pipeline.steps.settings import VerifySettings
from pipeline.store.predictions import KeptPredictions
from pipeline.store.store import open_store
from pipeline.training.memory import fitting_batch

MOST_AT_ONCE = 64
"""Images that the Keras model runs on together, where they fit into memory."""


def verify(
    files: Sequence[Path],
    settings: VerifySettings | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> list[Verification]:
    """Verifies the files one after another; each result is in the store in `runs` before the next begins.

    A Keras model is loaded and run over the images once for all of its files. Of a file without a sidecar
    the top-1 alone is found.
    """
    settings = settings or VerifySettings()
    ours = [path for path in files if has_sidecar(path)]
    _check_options(ours, settings)
    sources = {path: source_of_file(path, model=settings.model, data=settings.data) for path in ours}
    data = {path: data_of_file(path, settings.data) for path in files}
    datasets = {name: load_dataset(name, progress) for name in dict.fromkeys(data.values())}
    models = _Models([source for source, _ in sources.values()], progress)
    found = []
    for path in files:
        dataset = datasets[data[path]]
        asked = dataclasses.replace(settings, split=dataset.filled_split(settings.split))
        if path not in sources:
            verified, kept = verify_foreign(path, dataset, asked, progress)
            found.append(verified)
            with open_store(runs) as store:
                store.add_verification(verified, kept)
            continue
        source, artifact = sources[path]
        check_sidecar(path, artifact)
        verified, kept = _verified(path, artifact, source, models.take(source), dataset, asked, progress)
        found.append(verified)
        with open_store(runs) as store:
            store.add_artifact(artifact, path.parent)
            store.add_verification(verified, kept)
    return found


def _check_options(ours: Sequence[Path], settings: VerifySettings) -> None:
    """Raises UsageError for options of files from elsewhere where a sidecar says these things."""
    if ours and (settings.pixels or settings.labels):
        raise UsageError(
            f"--scale, --offset, --channels and --labels are for files without a sidecar: that of {ours[0]} "
            "says them. Leave them out, or export the file again with them."
        )


def _verified(
    path: Path,
    artifact: ExportArtifact,
    source: KerasSource,
    loaded: _Loaded,
    dataset: Dataset,
    settings: VerifySettings,
    progress: Progress,
) -> tuple[Verification, KeptPredictions]:
    model, split = loaded.model, settings.split
    doing = f"verifying {path.name}"
    progress(Doing(doing))
    total = min(dataset.num_examples(split), settings.limit or dataset.num_examples(split))
    matched = match_file(artifact, dataset.spec.class_names)
    shape, spec = image_shape_of(model), dataset.spec
    samples = Samples(
        batches=matched.batches(
            dataset.batches(
                split, image_size=shape, batch_size=fitting_batch(model, MOST_AT_ONCE), limit=settings.limit
            )
        ),
        dataset=spec.name,
        dataset_fingerprint=spec.fingerprint,
        split=split,
    )
    converted = converted_model(
        model,
        artifact.settings,
        has_quantizers=artifact.calibration is None,
        equalization=artifact.equalization,
    )
    log = PredictionLog()
    found = verify_file(
        model,
        path,
        samples,
        layers=NamedLayers(model=converted, tensor_names=artifact.tensor_names),
        outputs=loaded.outputs,
        log=log,
        progress=lambda done: progress(Doing(doing, f"{done:,} of {total:,} images", done, total)),
    )
    doubted = loaded.doubt(source, dataset, matched, split=split, top1=found.keras_top1)
    found = dataclasses.replace(
        found,
        classes_matched=matched.words,
        is_of_serving_function=is_serving_function(model),
        pixels_doubt=doubted,
    )
    return found, kept_predictions(found, log, artifact.class_names, dataset, settings, shape=shape)


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A Keras model, its outputs on the images that it has seen, and what is doubtful about its pixels."""

    model: keras.Model
    outputs: KerasOutputs
    doubts: dict[str, str] = dataclasses.field(default_factory=dict)
    """By the fingerprint of the images."""

    def doubt(
        self,
        source: KerasSource,
        dataset: Dataset,
        matched: MatchedClasses,
        *,
        split: str,
        top1: float | None,
    ) -> str:
        """Why it seems to be fed other pixels than it was trained on; empty if it does not."""
        if source.family is not None or dataset.spec.has_several_labels:
            return ""
        if top1 is None or top1 > 100 - MARGIN_POINTS:
            return ""
        key = dataset.spec.fingerprint
        if key not in self.doubts:
            self.doubts[key] = doubt(tried(source, dataset, matched, split=split))
        return self.doubts[key]


class _Models:
    """The Keras models of some files; each is loaded for its first file and kept until its last."""

    def __init__(self, sources: Sequence[KerasSource], progress: Progress) -> None:
        self._left = Counter(map(_identity, sources))
        self._loaded: dict[str, _Loaded] = {}
        self._progress = progress

    def take(self, source: KerasSource) -> _Loaded:
        """The model for one of its files."""
        key = _identity(source)
        if key not in self._loaded:
            self._progress(Doing(f"reading {source.model_path}"))
            self._loaded[key] = _Loaded(load_model_of(source), KerasOutputs())
        self._left[key] -= 1
        return self._loaded[key] if self._left[key] else self._loaded.pop(key)


def _identity(source: KerasSource) -> str:
    """The key of a loaded model: its file and its pixel scaling."""
    return json.dumps([str(source.model_path.absolute()), source.knobs], sort_keys=True)

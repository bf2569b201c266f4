"""Verifies exported files on a split of a data set, each compared with its Keras model."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import keras

from export.artifact import ExportArtifact
from export.check.verify import KerasOutputs, NamedLayers, Samples, check_sidecar
from export.check.verify import verify as verify_file
from export.convert import converted_model
from export.verification import Verification
from pipeline.class_names import match_file
from pipeline.data.dataset import Dataset
from pipeline.data.spec import image_shape_of
from pipeline.lineage import KerasSource, load_model_of, source_of_file
from pipeline.progress import Doing, Progress, silent
from pipeline.steps.dataset import load_dataset
from pipeline.steps.settings import VerifySettings
from pipeline.store.store import open_store

BATCH_SIZE = 64


def verify(
    files: Sequence[Path],
    settings: VerifySettings | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> list[Verification]:
    """Verifies the files one after another; each result is in the store in `runs` before the next begins.

    A Keras model is loaded and run over the images once for all of its files.
    """
    settings = settings or VerifySettings()
    sources = {path: source_of_file(path, model=settings.model, data=settings.data) for path in files}
    names = dict.fromkeys(str(source.data) for source, _ in sources.values())
    datasets = {name: load_dataset(name, progress) for name in names}
    models = _Models([source for source, _ in sources.values()], progress)
    found = []
    for path, (source, artifact) in sources.items():
        check_sidecar(path, artifact)
        dataset = datasets[str(source.data)]
        found.append(_verified(path, artifact, models.take(source), dataset, settings, progress))
        with open_store(runs) as store:
            store.add_artifact(artifact, path.parent)
            store.add_verification(found[-1])
    return found


def _verified(
    path: Path,
    artifact: ExportArtifact,
    loaded: _Loaded,
    dataset: Dataset,
    settings: VerifySettings,
    progress: Progress,
) -> Verification:
    model, split = loaded.model, settings.split
    doing = f"verifying {path.name}"
    progress(Doing(doing))
    total = min(dataset.num_examples(split), settings.limit or dataset.num_examples(split))
    matched = match_file(artifact, dataset.spec.class_names)
    shape, spec = image_shape_of(model), dataset.spec
    samples = Samples(
        batches=matched.batches(
            dataset.batches(split, image_size=shape, batch_size=BATCH_SIZE, limit=settings.limit)
        ),
        dataset=spec.name,
        dataset_fingerprint=spec.fingerprint,
        split=split,
    )
    converted = converted_model(model, artifact.settings, has_quantizers=artifact.calibration is None)
    found = verify_file(
        model,
        path,
        samples,
        layers=NamedLayers(model=converted, tensor_names=artifact.tensor_names),
        outputs=loaded.outputs,
        progress=lambda done: progress(Doing(doing, f"{done:,} of {total:,} images", done, total)),
    )
    return dataclasses.replace(found, classes_matched=matched.words)


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A Keras model, and its outputs on the images that it has seen."""

    model: keras.Model
    outputs: KerasOutputs


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

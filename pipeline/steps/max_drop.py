"""The cheapest way to an int8 file that is accurate enough."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from export.graph.probabilities import head_of_model
from pipeline.class_names import check_same_classes, match_classes, match_known
from pipeline.compression.attempts import Attempts, Subject, put_in_place, time_files
from pipeline.compression.ladder import Climb, climb, rungs
from pipeline.data.dataset import Dataset
from pipeline.data.spec import image_shape_of
from pipeline.errors import PipelineError, UsageError
from pipeline.lineage import KerasSource, find_source, load_model_of
from pipeline.progress import Doing, Note, Progress, silent
from pipeline.steps.compress import compress, compress_config
from pipeline.steps.dataset import load_calibration, load_dataset
from pipeline.steps.pixels import checked_pixels
from pipeline.steps.replaced import KnownFile, Replaced, free_path, known_files, replaced
from pipeline.steps.settings import MaxDropSettings
from pipeline.store.store import open_store


@dataclass(frozen=True, kw_only=True)
class Int8File:
    """The file that was written, and all attempts."""

    path: Path
    climb: Climb
    dataset: str
    """The name of the data set that the accuracy was measured on."""
    kept: KnownFile | None = None
    """The file of the usual name, which was verified, measured or in a kit, and stays."""
    replaced: Replaced | None = None
    """The same, if this one was to take its place."""


def int8_within(
    source: KerasSource, settings: MaxDropSettings, *, runs: Path, progress: Progress = silent
) -> Int8File:
    """Writes the first int8 file that loses at most `max_drop` points, else the best; stores it in `runs`.

    `climb.holds` says which of the two. A run that is trained for it is added to `runs` too.
    """
    subject = _subject(source, settings, progress)

    def train() -> KerasSource:
        assert settings.training is not None
        config = compress_config(source, settings.training, runs=runs)
        record = compress(source, config, runs=runs, progress=progress)
        return find_source(str(runs / record.run), data=config.data, folder=runs)

    trains = settings.training is not None
    with tempfile.TemporaryDirectory(prefix="pipeline-int8-") as scratch:
        attempts = Attempts(subject=subject, scratch=Path(scratch), train=train if trains else None)
        try:
            found = climb(
                rungs(_num_calibration(subject.calibration), trains=trains),
                attempts,
                time_files,
                skips=attempts.skips,
                max_drop=settings.max_drop,
                run=source.export_folder.parent.name,
                tell=lambda text: progress(Note(text)),
            )
        except KeyboardInterrupt as stop:
            lost = "No file was taken yet, and those that were tried are gone. The same command tries again."
            raise KeyboardInterrupt(str(stop) or lost) from stop
        usual = found.taken.source.export_folder / found.taken.artifact.path
        known = known_files([usual], runs=runs).get(usual)
        known = known if known and known.sha256 != found.taken.artifact.sha256 else None
        path = usual if settings.force else free_path(usual, found.taken.artifact.sha256, runs=runs)
        artifact = put_in_place(found.taken, path)
    with open_store(runs) as store:
        store.add_artifact(artifact, path.parent)
        store.add_verification(dataclasses.replace(found.taken.verification, path=str(path)))
    return Int8File(
        path=path,
        climb=found,
        dataset=subject.dataset.spec.name,
        kept=None if settings.force else known,
        replaced=replaced(known, artifact, runs=runs) if known and settings.force else None,
    )


def _num_calibration(images: Dataset) -> int:
    return images.num_examples(images.filled_split("train"))


def _subject(source: KerasSource, settings: MaxDropSettings, progress: Progress) -> Subject:
    if source.data is None:
        raise UsageError(
            f"{source.model_path} comes without images to judge files on. Give them: --data NAME or FOLDER."
        )
    dataset = load_dataset(source.data, progress)
    progress(Doing(f"reading {source.model_path}"))
    model = load_model_of(source)
    names = source.class_names or tuple(str(number) for number in range(head_of_model(model).num_classes))
    of_data, name = dataset.spec.class_names, source.model_path.name
    match = match_classes if source.class_names is None else match_known
    matched = match(names, of_data, name=name)
    if settings.training is not None:
        check_same_classes(names, of_data, name=name)
    if not dataset.num_examples("validation"):
        raise PipelineError(
            f"{dataset.spec.name} has no validation split to judge files on. Expected some images in it."
        )
    if note := checked_pixels(source, model, dataset, names, progress=progress):
        progress(Note(note))
    return Subject(
        source=source,
        model=model,
        dataset=dataset,
        calibration=load_calibration(source.calibration, progress) if source.calibration else dataset,
        image_size=image_shape_of(model),
        matched=matched,
        seed=settings.seed,
    )

"""Makes an exported file again from its sidecar, with the same bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.artifact import ExportArtifact, read_sidecar_file
from export.errors import BadModelFileError
from export.files import sha256_of
from pipeline.android_kit.kit import check_folder
from pipeline.errors import PipelineError, UsageError
from pipeline.lineage import find_source
from pipeline.progress import Progress, silent
from pipeline.runs import MODEL, finished_runs
from pipeline.shell import quoted
from pipeline.steps.export import IN_ITS_FOLDER, Exported, Place, write
from pipeline.steps.prepared_export import Ready, prepare
from pipeline.steps.replaced import check_same_origin, known_files

if TYPE_CHECKING:
    from export.artifact import Calibration
    from pipeline.lineage import KerasSource


@dataclass(frozen=True, kw_only=True)
class MadeAgain:
    """A sidecar, and where to find its inputs and write the file."""

    sidecar: Path
    model: str | None = None
    """The run or model, if it is neither at its recorded path nor among the runs."""
    data: str | None = None
    """The data set, if it is not at its recorded path."""
    calibration: str | None = None
    """The other images that it was calibrated with, if they are not at their recorded path."""
    place: Place = IN_ITS_FOLDER
    """Where the file is written."""


def export_like(again: MadeAgain, *, runs: Path, progress: Progress = silent) -> Exported:
    """Makes the file of a sidecar again: same model, settings, class names and calibration images.

    PipelineError if the model is not found, or the calibration images are not those of the sidecar. If the
    bytes differ, as with another version of TensorFlow, `refused` says so; the file is written anyway.
    """
    recorded = _recorded(again.sidecar)
    source = _source(recorded, again, runs)
    labels = recorded.class_names if recorded.dataset_class_names else None
    place, folder = again.place, again.place.folder or source.export_folder
    if place.kit is not None:
        check_folder(place.kit)
    if not place.force:
        for known in known_files([folder / recorded.path], runs=runs, kit=place.kit).values():
            check_same_origin(known, source, recorded.settings)
    ready = prepare(source, [recorded.settings], labels=labels, progress=progress)
    ready = dataclasses.replace(ready, equalization=recorded.equalization, file_name=recorded.path)
    _check_images(ready, recorded, again.sidecar)
    exported = write(ready, place, runs=runs, progress=progress)
    different = [_different(each, recorded) for each in exported.artifacts if each.sha256 != recorded.sha256]
    return dataclasses.replace(exported, refused=(*exported.refused, *different))


def _recorded(sidecar: Path) -> ExportArtifact:
    try:
        recorded = read_sidecar_file(sidecar)
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no file {sidecar}. Expected the .json beside an exported file."
        ) from error
    for name, what in ((recorded.model_name, "a model"), (recorded.path, "a file")):
        if Path(name).name != name:
            raise BadModelFileError(f"{sidecar}: '{name}' is no name of {what}. Export it anew.")
    return recorded


def _source(recorded: ExportArtifact, again: MadeAgain, runs: Path) -> KerasSource:
    """The model that the file was made from, found by its checksum."""
    if again.model is not None:
        places = [find_source(again.model, data=again.data, folder=runs).model_path]
    else:
        places = list(_places(recorded, again.sidecar, runs))
    sha256 = recorded.parent_sha256
    place = next((each for each in places if each.exists() and sha256_of(each) == sha256), None)
    if place is None:
        among = "" if again.model else f", nor among the runs in {runs}"
        raise PipelineError(
            f"the model that {again.sidecar.name} was made of (sha256 {sha256[:12]}) is not at {places[0]}"
            f"{among}. Give its path: pipeline export MODEL --like {quoted(again.sidecar)}"
        )
    source = find_source(str(place), data=again.data or recorded.data, folder=runs)
    return dataclasses.replace(
        source,
        model_name=recorded.model_name,
        knobs=recorded.knobs,
        calibration=again.calibration or (recorded.calibration.data if recorded.calibration else None),
        class_names=recorded.dataset_class_names or recorded.class_names,
    )


def _places(recorded: ExportArtifact, sidecar: Path, runs: Path) -> Iterator[Path]:
    """Possible places of the model, most likely first."""
    if recorded.parent_path is not None:
        yield Path(recorded.parent_path)
    yield sidecar.absolute().parent.parent / MODEL
    yield from (run / MODEL for run in finished_runs(runs))


def _check_images(ready: Ready, recorded: ExportArtifact, sidecar: Path) -> None:
    """Raises PipelineError unless the images are the recorded ones, pixel by pixel."""
    found = next((each.record for each in ready.images.values()), None)
    if _checksum(found) != _checksum(recorded.calibration):
        raise PipelineError(
            f"the calibration images are not those of {sidecar.name}: their pixels' sha256 is "
            f"{_checksum(found)[:12]}, there {_checksum(recorded.calibration)[:12]}. The images of "
            f"{ready.source.calibration or ready.model.data} have changed since, or are others. Nothing was "
            "written: give those that it was calibrated with (--data or --calibration, as then), or "
            "export anew without --like."
        )


def _checksum(calibration: Calibration | None) -> str:
    return calibration.sha256 if calibration else "none"


def _different(made: ExportArtifact, recorded: ExportArtifact) -> str:
    why = ", ".join(_changed(recorded.versions, made.versions)) or "the versions are the same"
    return (
        f"{made.path} is not the same bytes as before (sha256 {made.sha256[:12]}, before "
        f"{recorded.sha256[:12]}): {why}. Expected the file of its sidecar; verify this one before it ships."
    )


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for package in {**before, **now}:
        if before.get(package) != now.get(package):
            yield f"{package} {before.get(package, 'not installed')} then, {now.get(package, 'none')} now"

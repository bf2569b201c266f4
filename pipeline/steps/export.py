"""Exports a trained model to .tflite files with their sidecars, into a folder and the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.artifact import ExportArtifact
from export.errors import ExportError, OtherBytesError
from export.exporter import export_model
from export.files import sha256_of
from export.precisions import Precision
from export.settings import ExportSettings
from pipeline.android_kit.kit import check_folder, write_kit
from pipeline.lineage import KerasSource
from pipeline.progress import Doing, Progress, silent
from pipeline.steps.export_notes import done_for_int8, meaning, normalized, told_once, too_few
from pipeline.steps.pixels import checked_pixels
from pipeline.steps.prepared_export import Ready, choice_of, prepare, with_skipped_layers
from pipeline.steps.replaced import (
    KnownFile,
    Replaced,
    check_same_inputs,
    check_same_origin,
    known_files,
    other_bytes,
    replaced,
)
from pipeline.store.store import open_store


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The files that were written, and the reasons for those that were not."""

    artifacts: tuple[ExportArtifact, ...]
    refused: tuple[str, ...]
    """Why a file could not be made, one sentence each."""
    notes: tuple[str, ...] = ()
    """What the user should know of the files."""
    replaced: tuple[Replaced, ...] = ()
    """Files that were verified, measured or in a kit, and whose place one of these took."""
    unchanged: tuple[str, ...] = ()
    """Names of files that were there already, with the same bytes."""
    kit: str | None = None
    """The name of the file that the Android kit was made of."""
    folder: Path
    source: KerasSource

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths of the files that were written."""
        return tuple(self.folder / artifact.path for artifact in self.artifacts)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where exported files go, and what they may replace there."""

    folder: Path | None = None
    """Default: the source's own."""
    kit: Path | None = None
    """Folder of an Android kit to write, of the integer file, else of the smallest."""
    force: bool = False
    """Replace files that were verified, measured or put into a kit by others."""


IN_ITS_FOLDER = Place()


def export(
    source: KerasSource,
    settings: Sequence[ExportSettings],
    *,
    runs: Path,
    place: Place = IN_ITS_FOLDER,
    labels: Path | Sequence[str] | None = None,
    progress: Progress = silent,
) -> Exported:
    """Exports the source with each of the settings into the place, and into the store in `runs`.

    The other files are written even if one fails. `labels` are the class names that an app shows, or a file
    of them; default: the source's own. Raises UsageError before anything slow if other settings or another
    model would replace a file that was verified, measured or put into a kit.
    """
    if place.kit is not None:
        check_folder(place.kit)
    if not place.force:
        for each in settings:
            for known in _known(source, [each], place, runs).values():
                check_same_origin(known, source, with_skipped_layers(source, each))
    ready = prepare(source, settings, labels=labels, progress=progress)
    note = checked_pixels(
        ready.source, ready.model.model, ready.dataset, ready.model.class_names, progress=progress
    )
    ready = dataclasses.replace(ready, notes=(*ready.notes, *filter(None, (note,))))
    return write(ready, place, runs=runs, progress=progress)


def write(ready: Ready, place: Place, *, runs: Path, progress: Progress = silent) -> Exported:
    """Writes the files and the kit into the place, and their records into the store in `runs`.

    A file that other bytes may not replace is kept, and `refused` says so.
    """
    folder = place.folder or ready.source.export_folder
    paths = {each: folder / (ready.file_name or file_name(ready.source, each)) for each in ready.settings}
    earlier = {path: sha256_of(path) for path in paths.values() if path.is_file()}
    known = known_files(paths.values(), runs=runs, kit=place.kit)
    kept = {} if place.force else known
    for each, path in paths.items():
        if path in kept:
            check_same_inputs(kept[path], ready.model.class_names, _calibrated_with(ready, each))
    artifacts, refused = _write(ready, paths, kept, progress)
    _store(artifacts, folder, runs)
    unchanged = [each.path for each in artifacts if earlier.get(folder / each.path) == each.sha256]
    notes = dict.fromkeys(
        [
            *ready.notes,
            *(too_few(each[0], found.record) for each, found in ready.images.items() if found.record),
            *(done_for_int8(each) for each in artifacts),
            *(meaning(each) for each in artifacts),
            *(normalized(each) for each in artifacts),
        ]
    )
    return Exported(
        artifacts=tuple(artifacts),
        refused=told_once(refused),
        notes=tuple(filter(None, notes)),
        replaced=tuple(
            replaced(known[folder / each.path], each, runs=runs)
            for each in artifacts
            if folder / each.path in known and each.path not in unchanged
        ),
        unchanged=tuple(unchanged),
        kit=_write_kit(place.kit, artifacts, folder, runs) if place.kit and artifacts else None,
        folder=folder,
        source=ready.source,
    )


def file_name(source: KerasSource, settings: ExportSettings) -> str:
    """The name of a file: model, precision, and the type of its input where it is not the usual one."""
    usual = settings.precision.spec.io_dtypes[0]
    typed = "" if settings.io_dtype == usual else f"_{settings.io_dtype}"
    return f"{source.model_name}_{settings.precision}{typed}.tflite"


def _known(
    source: KerasSource, settings: Sequence[ExportSettings], place: Place, runs: Path
) -> dict[Path, KnownFile]:
    folder = place.folder or source.export_folder
    return known_files((folder / file_name(source, each) for each in settings), runs=runs, kit=place.kit)


def _calibrated_with(ready: Ready, settings: ExportSettings) -> str | None:
    found = ready.images.get(choice_of(settings))
    return found.record.sha256 if found and found.record else None


_Refused = tuple[Precision, str]


def _write(
    ready: Ready,
    paths: Mapping[ExportSettings, Path],
    kept: Mapping[Path, KnownFile],
    progress: Progress,
) -> tuple[list[ExportArtifact], list[_Refused]]:

    artifacts, refused = [], []
    source = ready.model
    for each in ready.settings:
        doing = f"converting {source.model_name} to {each.precision}"
        progress(Doing(doing))

        def count(done: int, total: int, doing: str = doing) -> None:
            progress(Doing(doing, f"calibrating, image {done} of {total}", done, total))

        def choosing(done: int, total: int, doing: str = doing) -> None:
            progress(
                Doing(doing, f"choosing what int8 loses least with, image {done} of {total}", done, total)
            )

        path = paths[each]
        stays = kept.get(path)
        try:
            artifact = export_model(
                source,
                path,
                each,
                images=ready.images.get(choice_of(each)),
                equalization=ready.equalization,
                only_sha256=stays.sha256 if stays else None,
                progress=count,
                choosing=choosing,
            )
        except OtherBytesError as error:
            assert stays is not None
            refused.append((each.precision, other_bytes(stays, str(error))))
        except ExportError as error:
            refused.append((each.precision, str(error)))
        else:
            artifacts.append(artifact)
    return artifacts, refused


def _store(artifacts: Sequence[ExportArtifact], folder: Path, runs: Path) -> None:
    with open_store(runs) as store:
        for artifact in artifacts:
            store.add_artifact(artifact, folder)


def _write_kit(kit: Path, artifacts: Sequence[ExportArtifact], folder: Path, runs: Path) -> str:
    """Writes the Android kit of the integer file, else of the smallest; returns that file's name."""
    integer = [artifact for artifact in artifacts if artifact.precision.spec.is_integer]
    artifact = min(integer or artifacts, key=lambda each: each.size_bytes)
    write_kit(kit, folder / artifact.path, artifact)
    with open_store(runs) as store:
        store.add_kit(artifact.sha256, kit)
    return artifact.path

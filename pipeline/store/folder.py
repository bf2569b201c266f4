"""What the runs folder holds that the store lacks: a lost store grows back from train.json and sidecars."""

from __future__ import annotations

from pathlib import Path

from export.artifact import read_sidecar
from export.errors import ExportError
from export.files import sha256_of
from pipeline.errors import PipelineError
from pipeline.records.training import read_record
from pipeline.runs import RECORD, exported_files, finished_runs
from pipeline.store.store import Store


def add_missing(store: Store, runs_folder: Path) -> list[str]:
    """Adds the folder's runs and exported files that the store lacks; returns what could not be read.

    Verifications and measurements stand in the store alone and do not come back.
    """
    known_runs, known_files = store.runs(), store.artifacts()
    warnings = []
    for run in finished_runs(runs_folder):
        try:
            record = read_record(run / RECORD)
            if known_runs.get(record.run) != record.model_sha256:
                store.add_run(record)
        except PipelineError as error:
            warnings.append(str(error))
        for file in exported_files(run):
            try:
                problem = _add_file(store, file, known_files)
            except ExportError as error:
                problem = str(error)
            warnings.extend([problem] if problem else [])
    return warnings


def _add_file(store: Store, file: Path, known: dict[tuple[str, str], Path]) -> str | None:
    """Adds an exported file unless it is known at its place; what is wrong with it, if anything."""
    artifact = read_sidecar(file)
    place = known.get((artifact.sha256, artifact.parent_sha256))
    if place is not None and place.exists():
        return None
    if sha256_of(file) != artifact.sha256:
        return f"{file} is not the file that its sidecar describes and was left out. Export it again."
    store.add_artifact(artifact, file.parent)
    return None

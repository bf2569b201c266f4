"""Carries out one trial: trains, exports and verifies what is not there yet. Imports TensorFlow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras

from export.settings import settings_for
from export.verification import Verification
from pipeline.lineage import find_source
from pipeline.progress import Progress, silent
from pipeline.runs import EXPORT
from pipeline.steps.export import export
from pipeline.steps.train import Reached, train_marked
from pipeline.steps.verify import verify
from pipeline.trials.book import keep, read_entry
from pipeline.trials.hparams import write_hparams
from pipeline.trials.trial import Trial, TrialEntry, TrialFile, is_complete, trial_from_json


def carry_out_json(task: Any, runs: Path, progress: Progress) -> dict[str, Any]:  # noqa: ANN401
    """As carry_out, from and to JSON: what workers of every engine call, for one trial after another.

    What Keras keeps of earlier models is forgotten, so that a trial ends as in a process of its own.
    """
    keras.utils.clear_session()
    return dataclasses.asdict(carry_out(trial_from_json(task), runs=runs, progress=progress))


def carry_out(trial: Trial, *, runs: Path, progress: Progress = silent) -> TrialEntry:
    """Does what is left to do of the trial, but for measuring; what is done is kept after each stage."""
    key = trial.key
    entry = read_entry(key, runs)
    if entry is not None and is_complete(trial, entry, runs):
        return entry
    if entry is None or not entry.is_trained:
        reached = train_marked(
            trial.family,
            trial.data,
            trial.settings,
            mark=key,
            until=trial.until,
            runs=runs,
            progress=progress,
        )
        entry = _trained(key, reached, entry)
        if reached.record is not None:
            write_hparams(runs / entry.run, reached.record)
        keep(entry, runs)
    if trial.until is not None or not entry.is_trained:
        return entry
    entry = _exported(trial, entry, runs, progress)
    keep(entry, runs)
    if trial.verify:
        entry = _verified(trial, entry, runs, progress)
        keep(entry, runs)
    return entry


def _trained(key: str, reached: Reached, earlier: TrialEntry | None) -> TrialEntry:
    record = reached.record
    return TrialEntry(
        key=key,
        run=reached.run.name,
        epochs=reached.epochs,
        history=reached.history.results,
        test_top1=record.test_top1 if record else None,
        best_epoch=record.best_epoch if record else None,
        parameters=record.parameters if record else None,
        macs=record.macs if record else None,
        files=earlier.files if earlier else (),
        refused=earlier.refused if earlier else {},
        dataset_fingerprint=reached.dataset.fingerprint,
    )


def _exported(trial: Trial, entry: TrialEntry, runs: Path, progress: Progress) -> TrialEntry:
    here = {file.precision: file for file in entry.files if (runs / file.path).is_file()}
    wanted = [each for each in trial.precisions if each not in here]
    if not wanted:
        return entry
    source = find_source(entry.run, data=None, folder=runs)
    made, refused = dict(here), dict(entry.refused)
    for precision in wanted:  # one by one, so that each has its own reason
        exported = export(source, settings_for([precision]), runs=runs, progress=progress)
        for artifact in exported.artifacts:
            made[precision] = TrialFile(
                precision=precision,
                path=f"{entry.run}/{EXPORT}/{artifact.path}",
                sha256=artifact.sha256,
                size_bytes=artifact.size_bytes,
            )
            refused.pop(str(precision), None)
        if exported.refused:
            refused[str(precision)] = "; ".join(exported.refused)
    return dataclasses.replace(entry, files=tuple(made.values()), refused=refused)


def _verified(trial: Trial, entry: TrialEntry, runs: Path, progress: Progress) -> TrialEntry:
    wanted = [each for each in entry.files if each.precision in trial.precisions and each.top1 is None]
    if not wanted:
        return entry
    found = verify([runs / each.path for each in wanted], runs=runs, progress=progress)
    by_sha256 = {each.artifact_sha256: each for each in found}
    files = tuple(_with(each, by_sha256.get(each.sha256)) for each in entry.files)
    return dataclasses.replace(entry, files=files)


def _with(file: TrialFile, verified: Verification | None) -> TrialFile:
    if verified is None:
        return file
    return dataclasses.replace(file, top1=verified.tflite_top1, drop_points=verified.drop_points)

"""Trials from training to verification: in other processes, in rungs, and again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from export.files import sha256_of
from export.precisions import Precision
from pipeline.errors import UsageError
from pipeline.steps.settings import TeacherSettings, TrainSettings
from pipeline.trials.book import keep, read_entry
from pipeline.trials.engine import run
from pipeline.trials.progress import Standing
from pipeline.trials.settings import EngineSettings
from pipeline.trials.trial import Trial, TrialEntry, TrialResult, trial_as_json, trial_from_json

ONE = EngineSettings(at_once=1)
KNOBS = {"depth": 7, "growth_rate": 4, "image_size": 16}


def trials_on(data: Path, *, seeds: Sequence[int] = (0, 1), epochs: int = 2) -> list[Trial]:
    return [
        Trial(
            name=f"seed {seed}",
            family="densenet",
            data=str(data),
            settings=TrainSettings(knobs=KNOBS, epochs=epochs, batch_size=16, seed=seed),
            precisions=(Precision.FLOAT32,),
        )
        for seed in seeds
    ]


@dataclass(frozen=True)
class Finished:
    runs: Path
    trials: list[Trial]
    results: list[TrialResult]
    reported: list[Standing]


@pytest.fixture(scope="module")
def finished(tiny_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two trials that one process carried out, and one that cannot be trained."""
    runs = tmp_path_factory.mktemp("engine") / "runs"
    wild = TrainSettings(knobs=KNOBS, epochs=1, learning_rate=1e30, clip_norm=0.0, warmup_epochs=0.0)
    bad = Trial(name="wild", family="densenet", data=str(tiny_npz), settings=wild)
    trials = [*trials_on(tiny_npz)[:1], bad, *trials_on(tiny_npz)[1:]]
    reported: list[Standing] = []
    results = run(trials, ONE, runs=runs, report=reported.append)
    return Finished(runs=runs, trials=trials, results=results, reported=reported)


def weights_of(runs: Path, result: TrialResult) -> dict[str, np.ndarray]:
    (path,) = (runs / str(result.run)).glob("last-*.npz")
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_results_come_in_the_order_of_the_trials_with_accuracy_and_files(finished: Finished):
    assert [each.name for each in finished.results] == ["seed 0", "wild", "seed 1"]
    assert [each.status for each in finished.results] == ["done", "failed", "done"]
    for each in (finished.results[0], finished.results[2]):
        (file,) = each.files
        assert sha256_of(finished.runs / file.path) == file.sha256
        assert file.top1 == pytest.approx(each.test_top1)
        assert each.epochs_run == 2


def test_trial_that_fails_is_named_with_its_reason(finished: Finished):
    assert "diverged" in finished.results[1].reason
    assert finished.reported[-1].failed == 1
    assert finished.reported[-1].done == finished.reported[-1].total == 3


def test_same_call_again_does_nothing_and_returns_the_same(finished: Finished):
    before = {path: path.stat().st_mtime_ns for path in finished.runs.rglob("*") if path.is_file()}
    kept = [trial for trial in finished.trials if trial.name != "wild"]
    reported: list[Standing] = []
    again = run(kept, runs=finished.runs, report=reported.append)
    assert again == [each for each in finished.results if each.name != "wild"]
    assert reported == []
    assert before == {path: path.stat().st_mtime_ns for path in finished.runs.rglob("*") if path.is_file()}


def test_rungs_in_other_processes_end_with_the_weights_of_a_training_without_a_pause(
    finished: Finished, tiny_npz: Path, tmp_path: Path
):
    trial = trials_on(tiny_npz)[1]  # there the second of its process, here alone in two
    rung = dataclasses.replace(trial, until=1)
    (paused,) = run([rung], ONE, runs=tmp_path)
    assert (paused.status, paused.epochs_run, paused.test_top1) == ("paused", 1, None)
    (done,) = run([trial], ONE, runs=tmp_path)
    assert done.run == paused.run
    assert_equal(weights_of(finished.runs, finished.results[2]), weights_of(tmp_path, done))
    assert done.files[0].sha256 == finished.results[2].files[0].sha256
    assert run([rung], ONE, runs=tmp_path) == [paused]  # what it was then; trained once


def test_trial_is_the_same_after_json(tiny_npz: Path):
    trial = dataclasses.replace(
        trials_on(tiny_npz)[0],
        settings=TrainSettings(
            knobs={**KNOBS, "scale": (1.0, 2.0, 3.0)},
            teacher=TeacherSettings(teacher="net.keras", labels=Path("names.txt"), scale=(1.0, 2.0, 3.0)),
        ),
    )
    again = trial_from_json(json.loads(json.dumps(trial_as_json(trial))))
    assert again == trial
    assert again.key == trial.key


def test_key_is_that_of_the_training_alone(tiny_npz: Path):
    trial = trials_on(tiny_npz)[0]
    assert dataclasses.replace(trial, name="x", until=1, precisions=(), measure=True).key == trial.key
    assert trials_on(tiny_npz)[1].key != trial.key
    assert dataclasses.replace(trial, dataset_fingerprint="1" * 64).key != trial.key


def test_paths_are_absolute_and_other_settings_of_it_are_the_same_training(
    tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
):
    trial = trials_on(tiny_npz)[0]
    monkeypatch.chdir(tiny_npz.parent)
    relative = dataclasses.replace(trial, data=tiny_npz.name)
    assert relative.data == str(tiny_npz)
    assert relative.key == trial.key


def test_removed_run_is_trained_again(tmp_path: Path):
    keep(TrialEntry(key="0" * 12, run="gone", epochs=1, test_top1=50.0), tmp_path)
    assert read_entry("0" * 12, tmp_path) is None
    (tmp_path / "gone").mkdir()
    assert read_entry("0" * 12, tmp_path) is not None


def test_two_trials_of_one_name_or_one_training_are_refused(tiny_npz: Path, tmp_path: Path):
    one, two = trials_on(tiny_npz)
    with pytest.raises(UsageError, match="2 trials have one name"):
        run([one, dataclasses.replace(two, name=one.name)], runs=tmp_path)
    with pytest.raises(UsageError, match="one training"):
        run([one, dataclasses.replace(one, name="other")], runs=tmp_path)

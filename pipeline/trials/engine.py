"""Runs trials: what is there already is taken, the rest is trained, exported, verified, then measured.

    from pipeline.trials.engine import run
    from pipeline.trials.settings import EngineSettings
    from pipeline.trials.trial import Trial

    trials = [
        Trial(
            name=f"alpha {alpha}",
            family="mobilenet",
            data="photos/",
            settings=TrainSettings(knobs={"alpha": alpha}, epochs=27),
            until=3,
        )
        for alpha in (0.25, 0.5, 1.0)
    ]
    results = run(trials, runs=Path("runs"))

A rung of successive halving is the same trial with a larger `until`, and the last one with None: the run goes
on where it paused, with the schedule made for all its epochs, and ends with the weights of a training that
never paused. Asked again for an earlier pause, the result is what it was then. A killed call is called
again: nothing is trained or measured twice. Results come in the order of the trials, whatever ended first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from export.files import write_bytes
from pipeline.errors import UsageError
from pipeline.progress import Doing
from pipeline.trials import local, on_ray
from pipeline.trials.book import TRIALS, entry_of
from pipeline.trials.machine import machine_for
from pipeline.trials.measuring import measure_files
from pipeline.trials.progress import Report, Tally, unreported
from pipeline.trials.settings import EngineSettings
from pipeline.trials.tasks import Heard, Outcome, Started
from pipeline.trials.trial import (
    DONE,
    FAILED,
    Trial,
    TrialResult,
    is_complete,
    result_of,
    trial_as_json,
)
from spelling import counted

WORK = "pipeline.trials.work:carry_out_json"


def run(
    trials: Sequence[Trial],
    settings: EngineSettings | None = None,
    *,
    runs: Path,
    weights: Sequence[float] | None = None,
    report: Report = unreported,
) -> list[TrialResult]:
    """The result of each trial, in their order.

    `weights` say what the trials take beside one another, for the time left. A trial that fails for good has
    a result with its reason, and the others go on. Latency is measured at the end, when nothing is trained,
    all files in turns. KeyboardInterrupt leaves everything so that the same call goes on.
    """
    settings = settings or EngineSettings()
    _check_different(trials)
    runs.mkdir(parents=True, exist_ok=True)
    tally = Tally(trials, weights or [1.0] * len(trials), report)
    results: dict[int, TrialResult] = {}
    for index, trial in enumerate(trials):
        entry = entry_of(trial, runs)
        if entry is not None and is_complete(trial, entry, runs):
            results[index] = result_of(trial, entry)
            tally.found(index, results[index])
    asked = [index for index in range(len(trials)) if index not in results]
    for heard in _heard([trials[index] for index in asked], settings, runs):
        index = asked[heard.index]
        if isinstance(heard, Outcome):
            results[index] = _result(trials[index], heard, runs)
            tally.ended(index, results[index])
        elif isinstance(heard, Started):
            tally.started(index, heard.where)
        elif isinstance(heard.event, Doing):
            tally.said(index, heard.event)
    if any(trial.measure for trial in trials):
        measure_files(trials, settings.bench, runs=runs, report=tally.measuring)
    return [_with_latency(results[index], runs) for index in range(len(trials))]


def is_done(trial: Trial, runs: Path) -> bool:
    """Whether nothing of the trial is left to do but measuring latency."""
    entry = entry_of(trial, runs)
    return entry is not None and is_complete(trial, entry, runs)


def _heard(trials: Sequence[Trial], settings: EngineSettings, runs: Path) -> Iterator[Heard]:
    if not trials:
        return iter(())
    tasks = [trial_as_json(trial) for trial in trials]
    if settings.ray is not None:
        cluster = on_ray.Cluster(address=settings.ray, cpus=settings.threads, gpus=settings.gpus)
        return on_ray.run_tasks(tasks, WORK, folder=runs.absolute(), cluster=cluster)
    machine = machine_for(at_once=settings.at_once, threads=settings.threads)
    return local.run_tasks(tasks, WORK, folder=runs, machine=machine)


def _check_different(trials: Sequence[Trial]) -> None:
    for what, values in (
        ("name", [trial.name for trial in trials]),
        ("training", [trial.key for trial in trials]),
    ):
        value, count = Counter(values).most_common(1)[0] if values else ("", 1)
        if count > 1:
            names = [trial.name for trial, each in zip(trials, values, strict=True) if each == value]
            raise UsageError(
                f"{counted(count, 'trial')} have one {what} ({', '.join(names[:3])}). Give each {what} once."
            )


def _result(trial: Trial, outcome: Outcome, runs: Path) -> TrialResult:
    """A trial's result by what is kept of it; of a failure, with its reason."""
    entry = entry_of(trial, runs)
    if not outcome.failure:
        assert entry is not None, "the work keeps what it did"
        return result_of(trial, entry)
    reason = outcome.failure
    if outcome.details:
        log = runs / TRIALS / f"{trial.key}.log"
        write_bytes(log, outcome.details.encode())
        reason = f"{reason} What it said: {log}"
    return TrialResult(trial=trial, status=FAILED, run=entry.run if entry else None, reason=reason)


def _with_latency(result: TrialResult, runs: Path) -> TrialResult:
    if not result.trial.measure or result.status != DONE:
        return result
    entry = entry_of(result.trial, runs)
    return result_of(result.trial, entry) if entry is not None else result

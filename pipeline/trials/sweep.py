"""A sweep: a list of trials with a name, kept below the runs folder, so that it can be gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.files import write_json
from export.records import json_of
from pipeline.errors import PipelineError, UsageError, unknown_name
from pipeline.trials.trial import Trial, TrialResult, result_as_json, trial_as_json, trial_from_json

SWEEPS = "sweeps"
PLAN = "sweep.json"
RESULTS = "results.json"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A list of trials with a name."""

    name: str
    trials: tuple[Trial, ...]


def sweep_of(trials: Sequence[Trial]) -> Sweep:
    """A sweep whose name follows from its trials: the same trials are the same sweep."""
    content = "".join(f"{each.key} {each.name} {each.precisions} {each.measure}" for each in trials)
    families = "-".join(dict.fromkeys(each.family for each in trials))
    return Sweep(name=f"{families}-{hashlib.sha256(content.encode()).hexdigest()[:8]}", trials=tuple(trials))


def keep_sweep(sweep: Sweep, runs: Path) -> None:
    """Writes the plan, before anything is trained."""
    write_json(runs / SWEEPS / sweep.name / PLAN, [trial_as_json(each) for each in sweep.trials])


def keep_results(sweep: Sweep, results: Sequence[TrialResult], runs: Path) -> Path:
    """Writes the results beside the plan, and returns the file."""
    path = runs / SWEEPS / sweep.name / RESULTS
    write_json(path, [result_as_json(each) for each in results])
    return path


def find_sweep(name: str, runs: Path) -> Sweep:
    """The sweep of that name; without one, the sweep that was started last."""
    plans = sorted((runs / SWEEPS).glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime_ns)
    if not plans:
        raise UsageError(
            f"there is no sweep in {runs}/. Start one: "
            "pipeline sweep mobilenet --alpha 0.25,0.5 --data photos/"
        )
    named = {path.parent.name: path for path in plans}
    if name and name not in named:
        raise unknown_name("sweep", name, named)
    path = named[name] if name else plans[-1]
    try:
        return Sweep(name=path.parent.name, trials=tuple(map(trial_from_json, json_of(path))))
    except (ValueError, TypeError) as error:
        raise PipelineError(
            f"{path} is damaged ({error}); it should hold the sweep's trials. Start the sweep again with its "
            "options: what is trained is kept."
        ) from error

"""Chooses the net to ship: measured before anything is trained, trained in rungs, judged on the target.

from pipeline.choose.choose import choose
from pipeline.choose.settings import Budget, ChooseSettings
from pipeline.choose.targets import Targets

settings = ChooseSettings(budget=Budget(max_ms=5, max_mb=2))
choice = choose("photos/", settings, targets=Targets(bench=settings.bench), runs=Path("runs"))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.files import write_bytes, write_json
from pipeline.bench.host import MeasuredFile
from pipeline.choose.choice import RESULT, Choice, choice_record
from pipeline.choose.clock import Clock
from pipeline.choose.drop import median_of
from pipeline.choose.finish import finished, measured_finals
from pipeline.choose.page import page_text
from pipeline.choose.race import Race
from pipeline.choose.settings import ChooseSettings
from pipeline.choose.state import PAGE, Rung, State, folder_of, read_state, write_state
from pipeline.choose.survey import entrants, survey
from pipeline.choose.targets import Targets
from pipeline.choose.verdict import Final, Known, Verdict, judge, prices
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.json_values import finite
from pipeline.progress import Progress, silent
from pipeline.run_lock import only_process_of
from pipeline.steps.dataset import load_dataset
from pipeline.store.store import open_store


def choose(
    data: str,
    settings: ChooseSettings,
    *,
    targets: Targets,
    runs: Path,
    progress: Progress = silent,
) -> Choice:
    """Chooses for a data set (name or folder), and writes the page and its JSON.

    A killed call goes on where it was: the state is in one JSON, and trainings and measurements are kept.
    Raises PipelineError where nothing fits the budget.
    """
    data = from_any_folder(data)
    dataset = _checked(load_dataset(data, progress))
    spec = dataset.spec
    folder = folder_of(
        settings, dataset=spec.name, fingerprint=spec.fingerprint, targets=targets.names, runs=runs
    )
    folder.mkdir(parents=True, exist_ok=True)
    with only_process_of(folder):
        state = read_state(folder) or State(
            data=data, dataset_fingerprint=spec.fingerprint, settings={"budget": settings.budget.options}
        )
        clock = Clock(hours=settings.hours, spent_before=state.spent_secs, known_rates=state.rates)
        entered = entrants(settings, dataset, data=data, runs=runs, progress=progress)
        found = survey(entered, settings, dataset, targets=targets, data=data, runs=runs, progress=progress)
        race = Race(
            found=found,
            settings=settings,
            data=data,
            dataset=spec,
            clock=clock,
            runs=runs,
            progress=progress,
        )
        return _raced(race, state, targets, folder)


def _raced(race: Race, state: State, targets: Targets, folder: Path) -> Choice:
    """Trains, finishes and judges, with the state written after each part."""
    clock = race.clock

    def keep(state: State) -> State:
        now = dataclasses.replace(
            state, spent_secs=clock.spent_secs, rates=dict(clock.rates), lost=dict(targets.lost)
        )
        write_state(now, folder)
        return now

    try:
        for rungs in race.rungs(state.rungs):
            state = keep(dataclasses.replace(state, rungs=rungs))
        finals, left_out = finished(race, _best_first(race, state.rungs))
        measured, kept = measured_finals(
            finals, targets, state.measured, runs=race.runs, progress=race.progress
        )
        state = keep(dataclasses.replace(state, measured=kept))
    except BaseException:
        keep(state)
        raise
    left_out = {name: why for rung in state.rungs for name, why in rung.left_out.items()} | left_out
    choice = Choice(
        folder=folder,
        data=race.data,
        dataset=race.dataset.name,
        num_test=race.dataset.num_test,
        settings=race.settings,
        found=race.found,
        rungs=state.rungs,
        finals=tuple(finals),
        verdicts=_verdicts(race, state.rungs, finals, measured, targets),
        measured=measured,
        left_out=left_out,
        lost=dict(targets.lost),
        spent_secs=state.spent_secs,
    )
    write_json(folder / RESULT, finite(choice_record(choice)))
    write_bytes(folder / PAGE, page_text(choice).encode())
    return choice


def _checked(dataset: Dataset) -> Dataset:
    dataset.check_trainable()
    dataset.check_one_label("choosing a net")
    return dataset


def _best_first(race: Race, rungs: Sequence[Rung]) -> tuple[str, ...]:
    """The finalists, the most accurate so far first: the first is trained whatever the hours."""
    names = race.going_on(rungs)
    tops = rungs[-1].trained if rungs else {}
    return tuple(sorted(names, key=lambda name: -tops.get(name, 0.0)))


def _verdicts(
    race: Race,
    rungs: Sequence[Rung],
    finals: Sequence[Final],
    measured: Mapping[str, Mapping[str, MeasuredFile]],
    targets: Targets,
) -> tuple[Verdict, ...]:
    found = []
    with open_store(race.runs) as store:
        spreads = store.session_spreads()
    for target in targets.names:
        untrained = {
            each.name: each.measured[target] for each in race.found.costed if target in each.measured
        }
        budget = race.settings.budget
        verdict = judge(finals, measured.get(target, {}), untrained, budget, target, spreads=spreads)
        known = _known(race, rungs, finals, verdict)
        found.append(dataclasses.replace(verdict, more=prices(verdict, known)))
    return tuple(found)


def _known(race: Race, rungs: Sequence[Rung], finals: Sequence[Final], verdict: Verdict) -> tuple[Known, ...]:
    """What the last lines predict of candidates that were not trained, against the advised net."""
    advised = next((each for each in finals if each.name == verdict.advised), None)
    rung = next((each for each in reversed(rungs) if each.predicted), None)
    if advised is None or rung is None or advised.net not in rung.trained:
        return ()
    base, found = rung.trained[advised.net], []
    for each in race.found.costed:
        predicted = rung.predicted.get(each.candidate.net.name)
        median_ms = median_of(each, verdict.target)
        if predicted is None or median_ms is None or each.size_bytes is None:
            continue
        found.append(
            Known(
                name=each.name,
                size_bytes=each.size_bytes,
                median_ms=median_ms,
                points=predicted.top1 - base,
                low=predicted.low - base,
                high=predicted.high - base,
            )
        )
    return tuple(found)

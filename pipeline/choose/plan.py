"""What a choice would do, and how long each part is expected to take here. Trains and stores nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.choose.candidates import Candidate
from pipeline.choose.drop import too_large
from pipeline.choose.race import epochs_of
from pipeline.choose.rungs import rung_epochs
from pipeline.choose.settings import ChooseSettings
from pipeline.choose.shapes import Exporter, stored_shapes
from pipeline.choose.speed import export_secs, training_rates
from pipeline.choose.survey import Entrants, entrants
from pipeline.choose.targets import Targets
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.progress import Progress, silent
from pipeline.steps.dataset import load_dataset
from pipeline.trials.machine import machine_for
from spelling import counted

STARTUP_SECS = 0.5
"""Of a file's first turn: its process starts and loads the runtime."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the plan."""

    what: str
    count: int
    """Of files or nets, at most."""
    seconds: float
    """Expected here."""
    how: str
    """What the time was reckoned from."""


def plan(
    data: str, settings: ChooseSettings, *, targets: Targets, runs: Path, progress: Progress = silent
) -> tuple[Part, ...]:
    """The parts, with upper bounds: before the measurement nobody knows what is over budget."""
    data = from_any_folder(data)
    dataset = load_dataset(data, progress)
    dataset.check_trainable()
    dataset.check_one_label("choosing a net")
    entered = entrants(settings, dataset, data=data, runs=runs, progress=progress)
    exporter = Exporter(dataset=dataset, data=data, runs=runs, progress=progress)
    fitting, left = _to_measure(entered, settings, dataset, targets, runs)
    macs = {name: each.macs for name, each in entered.costs.items()}
    one_export = export_secs(left or fitting, macs, exporter)
    one_file = one_export + _bench_secs(settings)
    parts = [
        Part(
            what="export untrained and measure",
            count=len(left),
            seconds=len(left) * one_file,
            how=f"an export took {one_export:.1f} s; {len(fitting) - len(left)} of {len(fitting)} are stored",
        )
    ]
    return (*parts, *_trainings(fitting, settings, dataset, macs, one_file, progress))


def _to_measure(
    entered: Entrants, settings: ChooseSettings, dataset: Dataset, targets: Targets, runs: Path
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates that may fit the budget, and those of them that the store does not have."""
    fitting = [
        each
        for each in entered.candidates
        if not too_large(each, entered.costs[each.net.name].num_weights, settings.budget)
    ]
    known = stored_shapes(
        fitting,
        entered.costs,
        targets.settings(),
        num_classes=len(dataset.spec.class_names),
        runs=runs,
    )
    return fitting, [each for each in fitting if not set(known.get(each.name, ())) >= set(targets.names)]


def _trainings(
    fitting: list[Candidate],
    settings: ChooseSettings,
    dataset: Dataset,
    macs: Mapping[str, int],
    one_file: float,
    progress: Progress,
) -> list[Part]:
    """The rungs and the finish, as if every candidate raced on."""
    nets = list({each.net.name: each.net for each in fitting if not each.net.is_own}.values())
    if not nets:
        return []
    rates = training_rates(nets, macs, num_classes=len(dataset.spec.class_names), progress=progress)
    at_once = machine_for(at_once=None, threads=1).at_once
    images = dataset.spec.num_train + dataset.spec.num_validation / 3  # validation runs forward alone
    one_epoch = sum(rates[net.family] * macs[net.name] for net in nets) / len(nets) * images
    ends = rung_epochs(
        epochs_of(settings), num_nets=len(nets), finalists=settings.finalists, shrink=settings.shrink
    )
    parts, left, before = [], len(nets), 0
    how = f"a few steps of each family; {at_once} at once"
    for end in ends:
        seconds = left * (end - before) * one_epoch / max(at_once, 1)
        parts.append(Part(what=f"train to epoch {end}", count=left, seconds=seconds, how=how))
        before, left = end, min(left, max(settings.finalists, math.ceil(left / settings.shrink)))
    files = min(len(nets), settings.finalists) * len(settings.precisions)
    how = f"{counted(files, 'file')} as above"
    return [
        *parts,
        Part(what="export, verify, measure in turns", count=files, seconds=files * one_file, how=how),
    ]


def _bench_secs(settings: ChooseSettings) -> float:
    """The seconds of all turns of a file."""
    bench = settings.bench
    return bench.min_secs + bench.warmup_min_secs + STARTUP_SECS

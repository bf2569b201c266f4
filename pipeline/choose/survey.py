"""Parts one to three of a choice: the candidates, what they cost on the target, and which of them race on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import CheckpointError
from pipeline.choose.candidates import Candidate, Net, candidates, grid_of
from pipeline.choose.drop import Costed, Fate, fates, median_of, nearest_to_budget
from pipeline.choose.settings import BYTES_PER_MB, ChooseSettings
from pipeline.choose.shapes import NetCost, measure_shapes, net_costs
from pipeline.choose.targets import Targets
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.progress import Doing, Note, Progress
from pipeline.training.start import find_start
from spelling import counted, some


@dataclass(frozen=True, kw_only=True)
class Entrants:
    """The candidates before anything is measured."""

    candidates: tuple[Candidate, ...]
    costs: Mapping[str, NetCost]
    """Of each net, by its name."""
    without_weights: Mapping[str, str]
    """Net -> why it cannot start from the weights."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known before any training."""

    costed: tuple[Costed, ...]
    not_measured: Mapping[str, str]
    """Candidate -> why it has no figure."""
    without_weights: Mapping[str, str]
    fates: Mapping[str, Mapping[str, Fate]]
    """Target -> candidate -> whether it races on there."""

    @property
    def nets(self) -> tuple[Net, ...]:
        """The nets of which a file races on somewhere."""
        names = {name for members in self.in_race.values() for name in members}
        found = {each.candidate.net.name: each.candidate.net for each in self.costed}
        return tuple(net for name, net in found.items() if name in names)

    @property
    def macs(self) -> dict[str, int]:
        """Net -> its multiply-accumulates."""
        return {each.candidate.net.name: each.macs for each in self.costed}

    @property
    def in_race(self) -> dict[str, tuple[str, ...]]:
        """Target -> the nets of which a file races on there."""
        return {
            target: tuple(
                dict.fromkeys(each.candidate.net.name for each in self.costed if found[each.name].is_in)
            )
            for target, found in self.fates.items()
        }

    def racing(self, net: str) -> tuple[Candidate, ...]:
        """The candidates of a net that race on somewhere."""
        return tuple(
            each.candidate
            for each in self.costed
            if each.candidate.net.name == net and any(found[each.name].is_in for found in self.fates.values())
        )


def entrants(
    settings: ChooseSettings, dataset: Dataset, *, data: str, runs: Path, progress: Progress
) -> Entrants:
    """The candidates for a data set. PipelineError if no net can start from the given weights."""
    progress(Doing("finding the candidates"))
    nets = grid_of(settings, image_size=dataset.spec.image_size)
    nets, without = _with_weights(nets, settings, runs, progress)
    if len(nets) == 1:
        progress(
            Note(
                f"the grid has one net, {nets[0].name}: only its precision is chosen. For more: --families, "
                "or more values of --alpha, --image-size"
            )
        )
    costs = net_costs(nets, num_classes=len(dataset.spec.class_names), data=data, runs=runs)
    return Entrants(candidates=candidates(nets, settings.precisions), costs=costs, without_weights=without)


def survey(
    entered: Entrants,
    settings: ChooseSettings,
    dataset: Dataset,
    *,
    targets: Targets,
    data: str,
    runs: Path,
    progress: Progress,
) -> Survey:
    """Measures the candidates on the targets, and drops those over budget and beaten.

    PipelineError with the nearest candidate if nothing fits the budget on any target.
    """
    shapes = measure_shapes(
        entered.candidates,
        entered.costs,
        dataset,
        targets,
        data=data,
        budget=settings.budget,
        runs=runs,
        progress=progress,
    )
    decided = {target: fates(shapes.costed, settings.budget, target) for target in targets.names}
    found = Survey(
        costed=shapes.costed,
        not_measured=shapes.not_measured,
        without_weights=entered.without_weights,
        fates=decided,
    )
    if not found.nets:
        raise _nothing_fits(found, settings, targets)
    for name, why in shapes.not_measured.items():
        if not why.startswith("its "):
            progress(Note(f"pipeline: {name} has no figure: {why}"))
    for target, members in decided.items():
        num = sum(each.is_in for each in members.values())
        progress(Note(f"{target}: {num} of {counted(len(members), 'candidate')} race on"))
    return found


def _with_weights(
    nets: Sequence[Net], settings: ChooseSettings, runs: Path, progress: Progress
) -> tuple[tuple[Net, ...], dict[str, str]]:
    """The nets that can start from the weights, with their knobs; net -> why, of the others."""
    if settings.weights is None:
        return tuple(nets), {}
    kept: list[Net] = []
    without: dict[str, str] = {}
    for net in nets:
        if net.is_own:
            kept.append(net)
            continue
        progress(Doing(f"trying the weights on {net.name}"))
        try:
            start = find_start(settings.weights, net.family, dict(net.knobs), runs=runs)
        except (CheckpointError, PipelineError) as error:
            without[net.name] = str(error)
            continue
        kept.append(dataclasses.replace(net, built=start.knobs))
    if without and not any(not net.is_own for net in kept):
        name, why = next(iter(without.items()))
        raise PipelineError(f"--weights {settings.weights} suits no net of the grid. {name}: {why}")
    if without:
        progress(
            Note(f"{counted(len(without), 'net')} left out, having no such weights: {some(without, most=4)}")
        )
    return tuple(kept), without


def _nothing_fits(found: Survey, settings: ChooseSettings, targets: Targets) -> PipelineError:
    """The one line where no candidate fits, with the nearest."""
    for target in targets.names:
        nearest = nearest_to_budget(found.costed, settings.budget, target)
        if nearest is None:
            continue
        each, _ = nearest
        assert each.size_bytes is not None
        return PipelineError(
            f"no candidate fits {settings.budget.options} on {target}. The nearest is {each.name} with "
            f"{median_of(each, target):.3g} ms and {each.size_bytes / BYTES_PER_MB:.3g} MB. Allow more, or "
            "smaller nets: --image-size, --alpha."
        )
    if targets.lost:
        name, why = next(iter(targets.lost.items()))
        return PipelineError(f"nothing could be measured: {name} was lost ({why}). Connect it, then retry.")
    why = next(iter(found.not_measured.values()), "there is no candidate")
    return PipelineError(
        f"no candidate has a valid latency: {why}. Free the machine, or allow more with --max-wait, then "
        "retry."
    )

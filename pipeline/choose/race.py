"""Part four of a choice: the nets are trained in rungs, and those that cannot win are dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export.precisions import Precision
from pipeline.choose.candidates import Net
from pipeline.choose.clock import FOR_RUNGS, Clock
from pipeline.choose.fit import Fit, Point, Prediction, fit
from pipeline.choose.rungs import anchors, cannot_win, go_on, rung_epochs
from pipeline.choose.settings import ChooseSettings
from pipeline.choose.state import LineFigures, Rung
from pipeline.choose.survey import Survey
from pipeline.data.spec import DatasetSpec
from pipeline.errors import PipelineError
from pipeline.progress import Doing, Note, Progress
from pipeline.records.training import TrainConfig
from pipeline.report.figures import seconds_text
from pipeline.steps.settings import TrainSettings
from pipeline.steps.train import WITH_WEIGHTS
from pipeline.trials.engine import run as run_trials
from pipeline.trials.machine import machine_for
from pipeline.trials.progress import Standing
from pipeline.trials.settings import EngineSettings
from pipeline.trials.trial import FAILED, Trial, TrialResult
from spelling import counted, some

CHUNK = 4
"""With a limit of hours, so many trainings are started before the time left is looked at again."""


def epochs_of(settings: ChooseSettings) -> int:
    """The epochs of a whole training."""
    usual = int(WITH_WEIGHTS["epochs"]) if settings.weights else TrainConfig.epochs
    return settings.epochs or usual


@dataclass(frozen=True, kw_only=True)
class Race:
    """How nets are trained for a choice."""

    found: Survey
    settings: ChooseSettings
    data: str
    dataset: DatasetSpec
    clock: Clock
    runs: Path
    progress: Progress
    engine: EngineSettings = field(default_factory=EngineSettings)

    def trial(self, net: Net, *, until: int | None, precisions: tuple[Precision, ...] = ()) -> Trial:
        """The training of a net up to an epoch, or to its end with the files of these precisions."""
        settings = TrainSettings(
            knobs=dict(net.knobs),
            epochs=epochs_of(self.settings),
            weights=self.settings.weights,
            seed=self.settings.seed,
        )
        return Trial(
            name=net.name,
            family=net.family,
            settings=settings,
            data=self.data,
            dataset_fingerprint=self.dataset.fingerprint,
            until=until,
            precisions=precisions,
        )

    def train(
        self, trials: Sequence[Trial], *, share: float, until: int
    ) -> tuple[list[TrialResult], dict[str, str]]:
        """The results, and net -> why it has none. Only what is expected to end in time is started."""
        macs = self.found.macs
        left_out: dict[str, str] = {}
        results: list[TrialResult] = []
        chunk = CHUNK if self.clock.hours is not None else max(len(trials), 1)
        for first in range(0, len(trials), chunk):
            some_trials = self._in_time(trials[first : first + chunk], until, share, is_first=not first)
            late = [each.name for each in trials[first : first + chunk] if each not in some_trials]
            left_out |= dict.fromkeys(late, "left out for --hours")
            weights = [float(macs[each.name]) for each in some_trials]
            for result in run_trials(
                some_trials, self.engine, runs=self.runs, report=self._report, weights=weights
            ):
                if result.status == FAILED or result.validation_top1 is None:
                    left_out[result.name] = result.reason or "its training gave no accuracy"
                    continue
                results.append(result)
                epochs = max(result.epochs_run, 1)
                self.clock.learn(
                    result.trial.family, macs=macs[result.name], epochs=epochs, seconds=result.seconds
                )
        return results, left_out

    def _in_time(self, trials: Sequence[Trial], until: int, share: float, *, is_first: bool) -> list[Trial]:
        """The trials that are expected to end in time, one beside the other; the very first one always."""
        if self.clock.hours is None:
            return list(trials)
        at_once, expected = machine_for().at_once, 0.0
        fitting: list[Trial] = []
        for trial in trials:
            secs = (self.expected(trial, until) or 0.0) / at_once
            if (is_first and not fitting) or self.clock.has_room(expected + secs, share=share):
                expected += secs
                fitting.append(trial)
        return fitting

    def _report(self, standing: Standing) -> None:
        """Says how far the trainings are."""
        running = some(f"{each.name} {each.detail or each.what}" for each in standing.running)
        left = "" if standing.seconds_left is None else f"{seconds_text(standing.seconds_left)} left"
        detail = ", ".join(filter(None, (running, left)))
        self.progress(Doing("training", detail, standing.done, standing.total))

    def expected(self, trial: Trial, until: int) -> float | None:
        """The seconds that a training up to this epoch is expected to take."""
        return self.clock.expected_secs(trial.family, macs=self.found.macs[trial.name], epochs=until)

    def rungs(self, done: Sequence[Rung]) -> Iterable[tuple[Rung, ...]]:
        """Yields all rungs so far after each that is trained; `done` are those of an earlier call.

        The last rung, which trains to the end, is not among them: `finalists` tells its nets.
        """
        rungs = list(done)
        ends = self.ends
        for place, end in enumerate(ends[:-1]):
            if place < len(done):
                continue
            names = self.going_on(rungs)
            nets = [net for net in self.found.nets if net.name in names and not net.is_own]
            rungs.append(self._first(nets, end) if place == 0 else self._next(nets, end))
            yield tuple(rungs)

    @property
    def ends(self) -> tuple[int, ...]:
        """The epochs that each rung trains to."""
        nets = [net for net in self.found.nets if not net.is_own]
        return rung_epochs(
            epochs_of(self.settings),
            num_nets=len(nets),
            finalists=self.settings.finalists,
            shrink=self.settings.shrink,
        )

    def going_on(self, rungs: Sequence[Rung]) -> tuple[str, ...]:
        """The names of the nets that the next rung trains."""
        if not rungs:
            return tuple(net.name for net in self.found.nets if not net.is_own)
        last = rungs[-1]
        return tuple(name for name in last.trained if name not in last.dropped)

    def _first(self, nets: Sequence[Net], end: int) -> Rung:
        """The first rung: a few nets of each family, then those of the others that may win."""
        first = anchors(nets, self.found.macs)
        results, left_out = self.train(
            [self.trial(net, until=end) for net in first], share=FOR_RUNGS, until=end
        )
        others = [net for net in nets if net not in first]
        lines = self._fit(results)
        before = predictions(lines, others, self.found.macs)
        dropped = cannot_win(before, _tops(results), self.found.in_race)
        if dropped:
            self.progress(Note(f"{counted(len(dropped), 'net')} cannot win, by prediction: {some(dropped)}"))
        rest = [net for net in others if net.name not in dropped]
        more, more_left_out = self.train(
            [self.trial(net, until=end) for net in rest], share=FOR_RUNGS, until=end
        )
        return self._done(
            [*results, *more], end, before=before, dropped=dropped, left_out=left_out | more_left_out
        )

    def _next(self, nets: Sequence[Net], end: int) -> Rung:
        results, left_out = self.train(
            [self.trial(net, until=end) for net in nets], share=FOR_RUNGS, until=end
        )
        return self._done(results, end, before={}, dropped={}, left_out=left_out)

    def _done(
        self,
        results: Sequence[TrialResult],
        end: int,
        *,
        before: Mapping[str, Prediction],
        dropped: Mapping[str, str],
        left_out: Mapping[str, str],
    ) -> Rung:
        tops = _tops(results)
        if not tops:
            why = next(iter(left_out.values()), "no net was trained")
            raise PipelineError(f"no net could be trained: {why}")
        kept = go_on(tops, self.found.in_race, finalists=self.settings.finalists, shrink=self.settings.shrink)
        lines = self._fit(results)
        every = {each.candidate.net.name: each.candidate.net for each in self.found.costed}
        others = [net for name, net in every.items() if name not in tops and not net.is_own]
        best = max(tops.values())
        self.progress(
            Note(f"rung of {counted(end, 'epoch')}: {counted(len(tops), 'net')} trained, {len(kept)} go on")
        )
        return Rung(
            epochs=end,
            trained=tops,
            predicted_before=dict(before),
            predicted=predictions(lines, others, self.found.macs),
            lines={
                family: LineFigures(
                    intercept=line.intercept,
                    slope=line.slope,
                    num_nets=line.num_nets,
                    r_squared=line.r_squared,
                )
                for family, line in lines.lines.items()
            },
            dropped=dict(dropped)
            | {
                name: f"{top1:.1f}% after {counted(end, 'epoch')}, the best had {best:.1f}%"
                for name, top1 in tops.items()
                if name not in kept
            },
            left_out=dict(left_out),
            seconds=sum(each.seconds for each in results),
        )

    def _fit(self, results: Sequence[TrialResult]) -> Fit:
        points: dict[str, list[Point]] = {}
        for each in results:
            point = Point(macs=self.found.macs[each.name], top1=each.validation_top1 or 0.0)
            points.setdefault(each.trial.family, []).append(point)
        return fit(points, num_images=self.dataset.num_validation)


def predictions(lines: Fit, nets: Iterable[Net], macs: Mapping[str, int]) -> dict[str, Prediction]:
    """Net -> what its family's line predicts, where it has one."""
    found = {net.name: lines.predict(net.family, macs[net.name]) for net in nets}
    return {name: each for name, each in found.items() if each is not None}


def _tops(results: Iterable[TrialResult]) -> dict[str, float]:
    return {each.name: each.validation_top1 for each in results if each.validation_top1 is not None}

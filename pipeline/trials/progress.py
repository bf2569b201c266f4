"""Where a call of the engine stands: counts, what runs, the best so far, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.progress import Doing
from pipeline.trials.trial import FAILED, Trial, TrialResult

TRAINING = "training"
"""What a trial does while its epochs run."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that is being carried out."""

    name: str
    what: str = ""
    """What it does, such as 'training'."""
    detail: str = ""
    """Such as 'epoch 3/10, 912 images/s, loss 0.812, validation 71.20%'."""
    share: float = 0.0
    """How much of that is done, 0 to 1."""
    where: str = ""
    """The node, where there are several."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a call of the engine stands."""

    total: int
    done: int
    """Failed ones among them."""
    failed: int
    running: tuple[Running, ...] = ()
    best: TrialResult | None = None
    """The done trial with the highest validation accuracy."""
    seconds_left: float | None = None
    """Until the last trial ends, at the present speed; None before anything is known."""
    newest: TrialResult | None = None
    """The trial that has just ended; None in a report of progress."""
    measuring: str = ""
    """What is measured, once no training runs."""


Report = Callable[[Standing], None]


def unreported(standing: Standing) -> None:
    """Ignores the standing."""


class Tally:
    """Counts results and reports a Standing at each change."""

    def __init__(self, trials: Sequence[Trial], weights: Sequence[float], report: Report) -> None:
        self._trials, self._weights, self._report = trials, weights, report
        self._running: dict[int, Running] = {}
        self._spans: dict[int, tuple[float, float]] = {}
        """Of running trials: the share of training at which this call found them, and where they are."""
        self._done = self._failed = 0
        self._best: TrialResult | None = None
        self._begun = time.monotonic()
        self._worked = 0.0
        """The weights of what this call has done."""
        self._left = sum(weights)

    def found(self, index: int, result: TrialResult) -> None:
        """Counts a result that was there before this call."""
        self._left -= self._weights[index]
        self._count(result)

    def started(self, index: int, where: str) -> None:
        """A trial begins, perhaps again."""
        self._running[index] = Running(name=self._trials[index].name, what="starting", where=where)
        self._say()

    def said(self, index: int, event: Doing) -> None:
        """A trial reports its progress."""
        share = event.done / event.total if event.total else 0.0
        before = self._running.get(index, Running(name=self._trials[index].name))
        self._running[index] = Running(
            name=before.name, what=event.what, detail=event.detail, share=share, where=before.where
        )
        if event.what == TRAINING:
            here = min(1.0, share * _longer_than_rung(self._trials[index]))
            first, _ = self._spans.get(index, (here, here))
            self._spans[index] = (first, here)
        self._say()

    def ended(self, index: int, result: TrialResult) -> None:
        """A trial of this call has ended."""
        self._running.pop(index, None)
        first, _ = self._spans.pop(index, (0.0, 1.0))
        self._left -= self._weights[index]
        self._worked += self._weights[index] * (1.0 - first)
        self._count(result)
        self._say(newest=result)

    def measuring(self, what: str) -> None:
        """Latency is measured."""
        self._say(measuring=what)

    def _count(self, result: TrialResult) -> None:
        self._done += 1
        self._failed += result.status == FAILED
        if result.validation_top1 is not None and (
            self._best is None or result.validation_top1 > (self._best.validation_top1 or 0.0)
        ):
            self._best = result

    def _say(self, newest: TrialResult | None = None, measuring: str = "") -> None:
        self._report(
            Standing(
                total=len(self._trials),
                done=self._done,
                failed=self._failed,
                running=tuple(self._running[index] for index in sorted(self._running)),
                best=self._best,
                seconds_left=self._seconds_left(),
                newest=newest,
                measuring=measuring,
            )
        )

    def _seconds_left(self) -> float | None:
        done = sum(self._weights[index] * here for index, (_, here) in self._spans.items())
        worked = self._worked + sum(
            self._weights[index] * (here - first) for index, (first, here) in self._spans.items()
        )
        if worked <= 0:
            return None
        speed = worked / (time.monotonic() - self._begun)
        return max(0.0, self._left - done) / speed


def _longer_than_rung(trial: Trial) -> float:
    """How many times as long as the trial its whole schedule is."""
    epochs = trial.settings.epochs
    return epochs / trial.until if epochs and trial.until and trial.until < epochs else 1.0

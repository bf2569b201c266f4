"""Learning rate schedules as pure functions. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import unknown_name


def cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """From 1 to 0, Caffe's "poly" of power 1 (SqueezeNet)."""
    return 1.0 - progress


def steps(progress: float) -> float:
    """1, a tenth from 50%, a hundredth from 75% (DenseNet, section 4.2)."""
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


SCHEDULES = {"cosine": cosine, "linear": linear, "steps": steps}


@dataclass(frozen=True, kw_only=True)
class LearningRate:
    """The learning rate of every step of a training."""

    highest: float
    epochs: int
    steps_per_epoch: int
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    """The rate rises linearly over these steps, but over at most a quarter of the training."""

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)

    def at(self, step: int) -> float:
        """The rate of a step, counted from 0; above 0 for every step."""
        progress = step / (self.epochs * self.steps_per_epoch)
        rate = self.highest * SCHEDULES[self.schedule](progress)
        warmup_steps = min(self.warmup_epochs, self.epochs / 4) * self.steps_per_epoch
        return rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else rate

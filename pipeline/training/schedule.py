"""The learning rate over a training, as a pure function. Standard library only."""

from __future__ import annotations

import math

from pipeline.errors import unknown_name
from pipeline.records.training import TrainConfig


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


def learning_rate_at(config: TrainConfig, epoch: float) -> float:
    """The learning rate after `epoch` epochs (a fraction within one), warm-up included."""
    if config.schedule not in SCHEDULES:
        raise unknown_name("schedule", config.schedule, SCHEDULES)
    rate = config.learning_rate * SCHEDULES[config.schedule](min(1.0, epoch / config.epochs))
    # a training of a few epochs is not spent on warming up
    warmup = min(config.warmup_epochs, config.epochs / 4)
    return rate * min(1.0, epoch / warmup) if warmup > 0 else rate

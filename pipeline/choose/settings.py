"""The settings of `pipeline choose`. Standard library only: the command line takes its defaults from here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.precisions import Precision
from pipeline.bench.settings import BenchSettings
from pipeline.errors import UsageError

HOST = "host"
CHOICES = "choices"
"""Folder of all choices, below the runs folder, with the rounds of untrained files on phones."""
BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a file may cost, and what it must reach; None is no limit."""

    max_ms: float | None = None
    """Milliseconds, median, on the target."""
    max_mb: float | None = None
    """Megabytes (1,000,000 bytes) of the file."""
    min_top1: float | None = None
    """Percent of the test images."""

    @property
    def options(self) -> str:
        """As it is given on the command line; empty without a limit."""
        given = {"--max-ms": self.max_ms, "--max-mb": self.max_mb, "--min-top1": self.min_top1}
        return " ".join(f"{name} {value:g}" for name, value in given.items() if value is not None)


@dataclass(frozen=True, kw_only=True)
class ChooseSettings:
    """What is chosen from, within which budget, and how much training it may cost."""

    budget: Budget = field(default_factory=Budget)
    families: tuple[str, ...] = ()
    """Names of the registry; empty for all."""
    knobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values, as text, that take the place of the grid's, by the knob's name."""
    precisions: tuple[Precision, ...] = (Precision.FLOAT16, Precision.INT8)
    also: tuple[Path, ...] = ()
    """Trained models of the user's own."""
    weights: str | None = None
    """What trainings start from: imagenet, the name of a published file, or a path."""
    epochs: int | None = None
    """Of a whole training; None: the training's default."""
    hours: float | None = None
    """No training starts that is expected to end after so many hours of this command; None: no limit."""
    shrink: int = 3
    """A rung keeps one net of so many, for so many times the epochs."""
    finalists: int = 3
    """Nets that are trained to the end."""
    max_drop: float = 1.0
    """Points that an int8 file may lose before the ladder of `compress --max-drop` is climbed."""
    seed: int = 0
    bench: BenchSettings = field(default_factory=BenchSettings)

    def __post_init__(self) -> None:
        """Refuses impossible settings."""
        limits = {"--max-ms": self.budget.max_ms, "--max-mb": self.budget.max_mb, "--hours": self.hours}
        for name, value in limits.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name} is {value:g}. Give a number above 0.")
        least = self.budget.min_top1
        if least is not None and not 0 <= least <= 100:
            raise UsageError(f"--min-top1 is {least:g}. Give percent, from 0 to 100.")
        if not self.precisions:
            raise UsageError("there is no precision to choose from. Give one, such as int8.")
        if self.shrink < 2 or self.finalists < 1:
            raise UsageError(
                f"--shrink is {self.shrink} and --finalists {self.finalists}. Give at least 2 and 1."
            )


def settings_record(settings: ChooseSettings) -> dict[str, Any]:
    """The settings that decide what is trained, as JSON; without the hours, which may grow."""
    return {
        "families": list(settings.families),
        "knobs": {name: list(values) for name, values in sorted(settings.knobs.items())},
        "precisions": [str(each) for each in settings.precisions],
        "also": [str(path.absolute()) for path in settings.also],
        "weights": settings.weights,
        "epochs": settings.epochs,
        "shrink": settings.shrink,
        "finalists": settings.finalists,
        "seed": settings.seed,
        "max_drop": settings.max_drop,
        "budget": [settings.budget.max_ms, settings.budget.max_mb, settings.budget.min_top1],
    }

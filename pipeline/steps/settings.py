"""What the steps are asked for. Standard library only: the command line takes its defaults from here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, unknown_name
from pipeline.records.compression import CompressConfig


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What a training is asked for; None is the family's recipe, or else TrainConfig's default."""

    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Of the model; the number of classes, and the image size unless given, come from the data set."""
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    schedule: str | None = None
    warmup_epochs: float | None = None
    weight_decay: float | None = None
    decay_depthwise: bool | None = None
    decay_norm_and_bias: bool | None = None
    clip_norm: float | None = None
    label_smoothing: float | None = None
    augment: bool | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """On which images exported files are compared with their Keras models."""

    data: str | None = None
    """A data set's name or a folder; that of the training where none is given."""
    split: str = "test"
    limit: int | None = None
    """The first so many images alone."""
    model: Path | None = None
    """The Keras model, where it is not beside the file."""


@dataclass(frozen=True, kw_only=True)
class PhoneVerifySettings:
    """On which images files answer on phones, and for how long."""

    delegates: tuple[str, ...] = ("cpu",)
    data: str | None = None
    """A data set's name or a folder; that of the training where none is given."""
    split: str = "test"
    num_samples: int = 1000
    """At most; each is a process of the tool."""
    budget_secs: float = 60.0
    """As many samples as fit into it, for each file and delegate."""
    seed: int = 0
    """Which samples."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.budget_secs):
            raise UsageError(f"--budget-secs is {self.budget_secs}. Give a number of seconds, such as 60.")


@dataclass(frozen=True, kw_only=True)
class MaxDropSettings:
    """What an int8 file may lose, and what may be tried for it."""

    max_drop: float
    """Percentage points of top-1 on the validation split."""
    seed: int = 0
    """Which calibration images."""
    training: CompressConfig | None = None
    """The last resort, quantization-aware training; None forbids it."""


FORMATS = ("table", "html", "csv", "json", "md", "png", "svg")
PICTURES = ("html", "png", "svg")
"""Formats that go into a file: report.<format> in the runs folder, unless another is named."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What a report is written as."""

    format: str = "html"
    out: Path | None = None
    """The file; report.<format> in the runs folder where none is given."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise unknown_name("format", self.format, FORMATS)

"""The settings of the steps. Standard library only: the command line takes its defaults from here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, unknown_name
from pipeline.records.compression import CompressConfig
from pipeline.store.selection import Selection


@dataclass(frozen=True, kw_only=True)
class ForeignSettings:
    """What a file from elsewhere cannot say itself."""

    labels: Path | None = None
    """A file from elsewhere: the names of its outputs, one a line."""
    scale: tuple[float, ...] | None = None
    """A file from elsewhere is fed pixel * scale + offset; one number, or one for each channel."""
    offset: tuple[float, ...] | None = None
    channels: str | None = None
    """'rgb' or 'bgr'; scale and offset are in this order."""

    @property
    def pixels(self) -> dict[str, Any]:
        """scale, offset and channels if any of them is given; else empty."""
        given = {"scale": self.scale, "offset": self.offset, "channels": self.channels}
        return given if any(each is not None for each in given.values()) else {}


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(ForeignSettings):
    """The net that a training learns from beside the labels; None means TeacherConfig's default."""

    teacher: str
    """A run, a model of one's own, a published file's name or its path."""
    temperature: float | None = None
    weight: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The settings of a training; None means the family's recipe, else TrainConfig's default."""

    knobs: Mapping[str, Any] = field(default_factory=dict)
    """The model's knobs; the number of classes, and a missing image size, come from the data set."""
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
    class_weights: str | None = None
    mixed_precision: bool | None = None
    patience: int | None = None
    weights: str | None = None
    """imagenet, the name of a published file, the path of one, or a run."""
    head_epochs: int | None = None
    freeze: str | None = None
    teacher: TeacherSettings | None = None


@dataclass(frozen=True, kw_only=True)
class PredictSettings(ForeignSettings):
    """How many classes of each image are shown, and with which delegates of a phone."""

    top: int = 5
    delegates: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True, kw_only=True)
class VerifySettings(ForeignSettings):
    """The images on which exported files are compared with their Keras models."""

    data: str | None = None
    """A data set's name or a folder; that of the training where none is given."""
    split: str = "test"
    limit: int | None = None
    """Number of images, from the first; None for all."""
    model: Path | None = None
    """The Keras model, if it is not beside the file."""


@dataclass(frozen=True, kw_only=True)
class PhoneVerifySettings:
    """The images that files run on on phones, and the time limit."""

    delegates: tuple[str, ...] = ("cpu",)
    data: str | None = None
    """A data set's name or a folder; that of the training where none is given."""
    split: str = "test"
    num_samples: int = 1000
    """Maximum; each is a process of the tool."""
    budget_secs: float = 60.0
    """Time for the samples of each file and delegate."""
    seed: int = 0
    """Seed for the choice of samples."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.budget_secs):
            raise UsageError(f"--budget-secs is {self.budget_secs}. Give a number of seconds, such as 60.")


@dataclass(frozen=True, kw_only=True)
class MaxDropSettings:
    """The accuracy that an int8 file may lose, and whether training is allowed."""

    max_drop: float
    """Percentage points of top-1 on the validation split."""
    seed: int = 0
    """Seed for the choice of calibration images."""
    training: CompressConfig | None = None
    """The last resort, quantization-aware training; None forbids it."""
    force: bool = False
    """Replace a file that was verified, measured or put into a kit; else the new one gets a number."""


FORMATS = ("table", "html", "csv", "json", "md", "png", "svg", "pdf")
PICTURES = ("html", "png", "svg", "pdf")
"""Formats that are written to a file, by default report.<format> in the runs folder."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """The format and file of a report."""

    format: str = "html"
    out: Path | None = None
    """The file; default: report.<format> in the runs folder."""
    selection: Selection = field(default_factory=Selection)
    """Which rows."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise unknown_name("format", self.format, FORMATS)

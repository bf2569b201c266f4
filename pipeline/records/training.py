"""The settings of a training and its record. Standard library only."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from export.records import json_of, read_record_as
from pipeline.errors import PipelineError, UsageError
from pipeline.records.compression import CompressionRecord

BALANCED = "balanced"
"""Class weights that let each class count the same."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A larger net whose class scores are learned beside the true labels (Hinton et al. 2015)."""

    path: str
    """A model's file, a SavedModel's folder, or a published file of weights."""
    sha256: str
    name: str
    """What it is, in words."""
    family: str | None = None
    """Of a file of weights alone; None if the path holds a whole model."""
    knobs: dict[str, Any] = field(default_factory=dict)
    """Of a file of weights: its net's. Of a model from elsewhere: scale, offset and channels, if given."""
    outputs: tuple[int, ...]
    """Label of the data set -> number of the teacher's class."""
    temperature: float = 4.0
    """Both nets' scores are divided by it before the softmax."""
    weight: float = 0.9
    """Share of the teacher in the loss; the rest is the cross-entropy with the true labels."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"the teacher's temperature is {self.temperature}. Give a number above 0.")
        if not 0 < self.weight <= 1:
            raise UsageError(f"the teacher's weight is {self.weight}. Give a number above 0, up to 1.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training. Each family's defaults are its recipe."""

    family: str | None
    """None for a model from elsewhere."""
    knobs: dict[str, Any]
    """All knobs of the model, resolved by `models.registry.resolve`."""
    data: str = "digits"
    """A data set's name, or the path of an .npz file or of a folder of class/image files."""
    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "sgd"
    """sgd (momentum, Nesterov), rmsprop or adam."""
    learning_rate: float = 0.1
    momentum: float = 0.9
    schedule: str = "cosine"
    """cosine, linear (SqueezeNet's "poly" of power 1) or steps (a tenth at 50% and 75%, DenseNet)."""
    warmup_epochs: float = 1.0
    """The learning rate rises linearly from 0 over these epochs."""
    weight_decay: float = 0.0
    """L2 coefficient as the papers write it: the loss gains weight_decay / 2 * sum(w**2)."""
    decay_depthwise: bool = False
    """Decay depthwise kernels too; the MobileNet paper advises little or none."""
    decay_norm_and_bias: bool = False
    """Decay BatchNorm's gamma and beta, and biases."""
    clip_norm: float = 0.0
    """Maximum global norm of the gradients; 0 turns clipping off."""
    label_smoothing: float = 0.0
    augment: bool = True
    """Whether to apply the data set's augmentation."""
    seed: int = 0
    class_weights: str = "equal"
    """balanced: an image counts inversely to the training images of its class; else equal."""
    mixed_precision: bool = False
    """Compute in bfloat16; the weights, the class scores and the saved model are float32."""
    patience: int = 0
    """The training stops after as many epochs without a better one; 0 never stops it."""
    weights: str | None = None
    """The path of the weights that the body starts from; None for random ones."""
    weights_sha256: str | None = None
    weights_name: str | None = None
    """What they are, in words."""
    head_epochs: int = 0
    """Epochs in which the head alone is trained, on features computed once."""
    freeze: str = "none"
    """The last layer that keeps its weights; all: every layer but the head; none."""
    teacher: TeacherConfig | None = None
    """A net to learn from beside the labels; None for the labels alone."""


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """The content of train.json: a model's origin and its accuracy."""

    run: str
    """The run's folder name."""
    model_name: str
    """Its name in tables, such as mobilenet_alpha0.5_160."""
    model_sha256: str
    """Of model.keras."""
    config: TrainConfig
    dataset: str
    dataset_fingerprint: str
    class_names: tuple[str, ...]
    num_train: int
    num_validation: int
    num_test: int
    parameters: int
    macs: int
    train_top1: float
    """Percent, in the last epoch, on augmented images."""
    validation_top1: float
    """Percent, of the best epoch, whose weights model.keras holds."""
    test_top1: float
    """Percent, model.keras on the test split."""
    best_epoch: int
    """Counted from 1."""
    epochs_run: int
    seconds: float
    """Training time, resumed parts included."""
    versions: dict[str, str]
    started_utc: str
    finished_utc: str
    notes: tuple[str, ...] = field(default=())
    parent: str | None = None
    """The run or model file that this one was compressed from; None if it was trained."""
    compression: CompressionRecord | None = None


def record_as_json(record: TrainRecord) -> dict[str, Any]:
    """The record as a JSON object."""
    return asdict(record)


def read_record(path: Path) -> TrainRecord:
    """The TrainRecord in a train.json. FileNotFoundError if there is none."""
    try:
        return read_record_as(TrainRecord, json_of(path))
    except (ValueError, TypeError) as error:
        raise PipelineError(
            f"{path} cannot be read as a run's record ({error}). Train again, or remove that run."
        ) from error

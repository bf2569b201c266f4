"""A run's settings and results for TensorBoard's HParams, beside its other logs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from pipeline.records.training import TrainRecord

LOGS = "tensorboard"
PLACES = ("knobs", "weights", "weights_sha256", "weights_name")
"""Fields of the settings that are not written as they are."""


def write_hparams(run: Path, record: TrainRecord) -> None:
    """Writes the run's settings and its accuracy: tensorboard --logdir runs shows them in a table."""
    with tf.summary.create_file_writer(str(run / LOGS)).as_default(step=record.epochs_run):
        api.hparams(settings_of(record), trial_id=record.run)
        for name in ("validation_top1", "test_top1"):
            tf.summary.scalar(f"reached/{name}", getattr(record, name))
        for name in ("parameters", "macs"):
            tf.summary.scalar(f"cost/{name}", float(getattr(record, name)))


def settings_of(record: TrainRecord) -> dict[str, Any]:
    """The knobs and settings as HParams takes them: numbers, texts, yes and no."""
    config = dataclasses.asdict(record.config)
    plain = {name: value for name, value in config.items() if name not in PLACES}
    found = {**plain, **record.config.knobs, "weights": record.config.weights_name or "random"}
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in found.items()
        if value is not None
    }

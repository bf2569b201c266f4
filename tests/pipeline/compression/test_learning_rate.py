"""A training and a compression count their steps alike."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from models.registry import resolve
from pipeline.data.dataset import Dataset
from pipeline.records.training import TrainConfig
from pipeline.training.trainer import start_run, train


def rates(run: Path) -> list[float]:
    """The learning rate at the end of each epoch."""
    rows = csv.DictReader((run / "history.csv").read_text().splitlines())
    return [float(row["learning_rate"]) for row in rows]


def test_training_and_compressing_end_each_epoch_at_the_same_rate_above_zero(
    compressed: Any, model_of: Any, tiny: Dataset, tmp_path: Path
):
    knobs = {"depth": 7, "growth_rate": 4, "image_size": 16, "num_classes": 3}
    config = TrainConfig(
        family="densenet",
        knobs=resolve("densenet", knobs),
        epochs=2,
        batch_size=32,
        learning_rate=0.01,
        schedule="cosine",
        warmup_epochs=0.0,
    )
    run = start_run(config, tiny.spec, folder=tmp_path)
    train(config, tiny, run)
    other = compressed(model_of("own"), cluster=16, epochs=2, learning_rate=0.01).run

    assert rates(run) == rates(other)
    assert 0 < rates(run)[-1] < rates(run)[0] < 0.01

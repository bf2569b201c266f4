"""A data set and a net so small that a training takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.registry import resolve
from pipeline.data.dataset import Dataset
from pipeline.data.registry import load
from pipeline.records.training import TrainConfig


@pytest.fixture(scope="session")
def tiny(tiny_npz: Path) -> Dataset:
    return load(str(tiny_npz))


@pytest.fixture(scope="session")
def tiny_config(tiny_npz: Path) -> TrainConfig:
    """The smallest DenseNet: it has convolutions, BatchNorm, concatenation, and traces in a second."""
    knobs = {"depth": 7, "growth_rate": 4, "image_size": 16, "num_classes": 3, "dropout": 0.2}
    return TrainConfig(
        family="densenet",
        knobs=resolve("densenet", knobs),
        data=str(tiny_npz),
        epochs=3,
        batch_size=32,
        learning_rate=0.1,
        weight_decay=1e-4,
    )

"""A data set and a net so small that a training takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.registry import resolve
from pipeline.data.dataset import Dataset
from pipeline.data.registry import load
from pipeline.training.config import TrainConfig


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 16x16 noise, each brighter in another channel: a net can learn them in two epochs."""
    random = np.random.default_rng(0)

    def split(num: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(num) % 3
        images = random.integers(0, 128, (num, 16, 16, 3))
        images[np.arange(num), :, :, labels] += 100
        return images.astype(np.uint8), labels.astype(np.uint8)

    (x_train, y_train), (x_test, y_test) = split(120), split(30)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


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

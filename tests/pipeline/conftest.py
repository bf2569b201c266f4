"""A data set so small that a training on it takes seconds, and a folder for the runs of one module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


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


@pytest.fixture(scope="module")
def runs_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which all tests of a module run, with the module's runs in its `runs`."""
    folder = tmp_path_factory.mktemp("module")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        yield folder

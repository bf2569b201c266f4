"""What several tests of the models share: costs that are computed once, and files that may be absent."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.cost import Cost
from models.registry import resolve

WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"


@pytest.fixture(scope="session")
def cost_of() -> Callable[..., Cost]:
    """The cost of a family with these knobs, computed once a session."""
    import keras

    from models.build import build_without_weights
    from models.cost import cost

    @functools.cache
    def compute(family: str, knobs: tuple[tuple[str, object], ...]) -> Cost:
        result = cost(build_without_weights(family, **dict(knobs)))
        keras.utils.clear_session(free_memory=False)
        return result

    return lambda family, **knobs: compute(family, tuple(resolve(family, knobs).items()))


@pytest.fixture(scope="session")
def weights() -> Path:
    """The folder of published checkpoints."""
    if not WEIGHTS.is_dir():
        pytest.skip(f"the published checkpoints are not at {WEIGHTS}")
    return WEIGHTS


@pytest.fixture(scope="session")
def cifar10_test() -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's test set: (10000, 32, 32, 3) pixels 0-255 and (10000,) labels."""
    path = os.environ.get("PIPELINE_CIFAR10")
    if not path:
        pytest.skip("PIPELINE_CIFAR10 does not name a cifar10.npz")
    with np.load(path) as data:
        return data["x_test"], data["y_test"].ravel()

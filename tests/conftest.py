"""How the suite runs: with one thread a pytest-xdist worker, and with the same random numbers each time."""

from __future__ import annotations

import gc
import os
import sys

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before TensorFlow or NumPy is imported
    os.environ |= {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }

gc.set_threshold(200_000, 50, 100)  # TensorFlow's graphs are millions of objects: a tenth of the time


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seeds Keras, TensorFlow, NumPy and random, so that a net without a seed is the same in every run."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)

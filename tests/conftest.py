"""How the suite runs.

With one thread a pytest-xdist worker, the same random numbers each time, a time limit for each test, and the
signals of a terminal, also when started with & or nohup.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

import pytest

LIMIT_SECS, SLOW_LIMIT_SECS = 300, 3600
"""Time limit of a test with its fixtures, and of one marked slow."""

if "PYTEST_XDIST_WORKER" in os.environ:  # before TensorFlow or NumPy is imported
    os.environ |= {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }

gc.set_threshold(200_000, 50, 100)  # TensorFlow's graphs are millions of objects: a tenth of the time


def heed_signals() -> None:
    """Undoes what & in a script and nohup do: child processes would ignore SIGINT, SIGQUIT and SIGHUP too.

    This process goes on ignoring SIGQUIT and SIGHUP: a handler, unlike SIG_IGN, is not inherited.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else lambda *_: None)


with contextlib.suppress(ValueError):  # not in the main thread, which receives them
    heed_signals()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives each test its time limit."""
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if item.get_closest_marker("timeout") is None:
                is_slow = item.get_closest_marker("slow") is not None
                item.add_marker(pytest.mark.timeout(SLOW_LIMIT_SECS if is_slow else LIMIT_SECS))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seeds Keras, TensorFlow, NumPy and random, so that a net without a seed is the same in every run."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)

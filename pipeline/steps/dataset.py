"""Loads a data set by its name or folder; reports the progress of a long scan."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.data.registry import load, load_pixels
from pipeline.progress import Doing, Progress

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset

PATIENCE_SECS = 2.0
"""A shorter scan is not reported."""


def load_dataset(name_or_path: str, progress: Progress) -> Dataset:
    """The data set, from pipeline.data.registry.load."""
    return load(name_or_path, progress=_patient(progress))


def load_calibration(name_or_path: str, progress: Progress) -> Dataset:
    """The images to calibrate with, from pipeline.data.registry.load_pixels."""
    return load_pixels(name_or_path, progress=_patient(progress))


def _patient(progress: Progress) -> Callable[[str, int, int], None]:
    """Reports a scan that takes long."""
    begun = time.monotonic()
    reported: set[str] = set()

    def scanned(what: str, done: int, total: int) -> None:
        if what not in reported:
            if time.monotonic() - begun < PATIENCE_SECS:
                return
            reported.add(what)
            progress(Doing(what))
        progress(Doing(what, f"{done:,} of {total:,}", done, total))

    return scanned

"""A data set by its name or folder; a scan that takes long is reported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.registry import load
from pipeline.errors import PipelineError
from pipeline.progress import Doing, Progress

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset

PATIENCE_SECS = 2.0
"""A shorter scan is not reported."""


def load_dataset(name_or_path: str, progress: Progress) -> Dataset:
    """The data set, as pipeline.data.registry.load gives it."""
    begun = time.monotonic()
    reported: set[str] = set()

    def scanned(what: str, done: int, total: int) -> None:
        if what not in reported:
            if time.monotonic() - begun < PATIENCE_SECS:
                return
            reported.add(what)
            progress(Doing(what))
        progress(Doing(what, f"{done:,} of {total:,}", done, total))

    return load(name_or_path, progress=scanned)


def check_classes(path: Path, of_file: Sequence[str], of_data: Sequence[str]) -> None:
    """Refuses a data set of other classes: its labels would mean something else."""
    if tuple(of_file) == tuple(of_data):
        return
    unnamed = tuple(of_file) == tuple(str(number) for number in range(len(of_data)))
    if unnamed:  # exported without a data set: only the count is known
        return
    raise PipelineError(
        f"{path.name} tells apart {_few(of_file)}, the data set has {_few(of_data)}. "
        "Give the data set that the model was trained on: --data NAME or FOLDER."
    )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown

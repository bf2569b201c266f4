"""Finds a named data set in the user's folders, or downloads it through Keras."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.home import expanded

FOLDER_VARIABLE = "PIPELINE_DATA"
"""The environment variable with the folder to search first."""


def folders() -> list[Path]:
    """The folders to search, in order: $PIPELINE_DATA, then ./data."""
    named = os.environ.get(FOLDER_VARIABLE)
    return [*([expanded(named)] if named else []), Path("data")]


def find(*names: str) -> Path | None:
    """The first file or folder with one of these names, or None."""
    for folder in folders():
        for name in names:
            if (folder / name).exists():
                return folder / name
    return None


def from_keras(name: str, *, instead: str) -> dict[str, tuple[Any, Any]]:
    """The train and test parts from keras.datasets.<name>, downloaded unless cached.

    Raises PipelineError, ending in the advice `instead`, if the download fails.
    """
    module = importlib.import_module(f"keras.datasets.{name}")
    try:
        # Keras prints its progress on stdout, which is for results only
        with contextlib.redirect_stdout(sys.stderr):
            train, test = module.load_data()
    except Exception as error:  # keras.utils.get_file raises bare Exception where there is no network
        raise PipelineError(
            f"{name} is not here (looked in {', '.join(map(str, folders()))}) and cannot be downloaded "
            f"({error}). {instead}"
        ) from error
    return {"train": train, "test": test}

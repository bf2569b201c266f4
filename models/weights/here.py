"""Where published weights lie on this machine: in the caches of Keras and the Hugging Face hub. No keras."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from models.family import Checkpoint


def local_file(checkpoint: Checkpoint) -> Path | None:
    """The file in the cache of the library that publishes it; None if it is not on this machine."""
    if checkpoint.hub:
        found = try_to_load_from_cache(checkpoint.hub, checkpoint.file)
        return Path(found) if isinstance(found, str) else None
    path = keras_cache() / checkpoint.file
    return path if path.is_file() else None


def by_hand(checkpoint: Checkpoint) -> str:
    """What to fetch, and where to put it, where this machine has no network."""
    if checkpoint.hub:
        address = f"{constants.ENDPOINT}/{checkpoint.hub}/resolve/main/{checkpoint.file}"
        return f"Fetch {address} with a browser, and give its path: --weights FILE"
    return f"Fetch {checkpoint.url} with a browser, and put it at {keras_cache() / checkpoint.file}"


def keras_home() -> Path:
    """Keras's own folder, where keras.utils.get_file keeps what it fetches."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def keras_cache() -> Path:
    """Where Keras keeps files of weights."""
    return keras_home() / "models"

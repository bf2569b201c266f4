"""Fetches published weights into the caches of Keras and of the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import keras
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from models.errors import CheckpointError
from models.family import Checkpoint
from models.weights.here import by_hand, keras_home, local_file


def fetched(name: str, checkpoint: Checkpoint) -> Path:
    """A published file, downloaded if it is not here. Keras prints progress to stdout.

    Raises CheckpointError, which says how to fetch it by hand, without network or for other content.
    """
    if (path := local_file(checkpoint)) is not None:
        return path
    if not (checkpoint.url or checkpoint.hub):
        raise CheckpointError(
            f"{name} is published in no format that is safe to read. Make the file once: "
            f"{checkpoint.obtain}. Then give its path: --weights FILE"
        )
    try:
        return _from_hub(checkpoint) if checkpoint.hub else _from_keras(checkpoint)
    except CheckpointError:
        raise
    except Exception as error:  # Keras's is bare, and the hub's client lets its transport's through
        raise CheckpointError(f"cannot fetch {name} ({_cause(error)}). {by_hand(checkpoint)}") from error


def _from_hub(checkpoint: Checkpoint) -> Path:
    try:
        return Path(hf_hub_download(checkpoint.hub, checkpoint.file))
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise CheckpointError(
                f"{checkpoint.hub} is not on this machine, and HF_HUB_OFFLINE is set. Unset it, or: "
                f"{by_hand(checkpoint)}"
            ) from error
        raise CheckpointError(
            f"cannot reach {urlsplit(constants.ENDPOINT).netloc} for {checkpoint.hub} "
            f"({_cause(error.__cause__ or error)}). {by_hand(checkpoint)}"
        ) from error
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"the hub refused {checkpoint.hub} ({_cause(error)}). {by_hand(checkpoint)}"
        ) from error


def _from_keras(checkpoint: Checkpoint) -> Path:
    """Downloads beside the cache and moves the whole file in: a killed get_file leaves half a file."""
    target = keras_home() / "models" / checkpoint.file
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=_made(target.parent)) as partial:
        folder = Path(partial)
        downloaded = Path(
            keras.utils.get_file(
                checkpoint.file,
                checkpoint.url,
                cache_dir=str(folder.parent),
                cache_subdir=folder.name,
                file_hash=checkpoint.md5 or None,
            )
        )
        with downloaded.open("rb") as file:
            start = file.read(4)
        if start != b"\x89HDF":
            raise CheckpointError(
                f"{checkpoint.url} answered with something else than an HDF5 file. {by_hand(checkpoint)}"
            )
        downloaded.replace(target)
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cause(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

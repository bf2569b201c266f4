"""A verification's predictions as the store holds them: one compressed .npz a verification.

The names of the images are apart, since the files of one data set share them.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from export.check.predictions import Predictions, Side

Pixels = npt.NDArray[np.uint8]
HOST = ""


@dataclass(frozen=True, kw_only=True)
class KeptPredictions:
    """What a file says of each image of a data set, and what it was compared with."""

    artifact_sha256: str
    dataset: str
    dataset_fingerprint: str
    split: str
    where: str = HOST
    """The phone's name and its delegate, compared with the same file on the host; empty: the host, with
    Keras."""
    class_names: tuple[str, ...]
    """Of the outputs."""
    images: tuple[str, ...]
    """Of each image the path of its file, or its place in an array; empty where they are not known."""
    found: Predictions
    pictures: Mapping[int, Pixels] = field(default_factory=dict)
    """Of images of an array, by their number: those that a page shows."""

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return len(self.found.truth)

    @property
    def is_of_labels(self) -> bool:
        """Whether an image may have several labels, each with its own yes or no."""
        return self.found.held is not None


def packed(kept: KeptPredictions) -> bytes:
    """The arrays as compressed .npz."""
    found = kept.found
    smallest = np.min_scalar_type(-max(len(kept.class_names), 1))
    arrays: dict[str, npt.NDArray[Any]] = {
        "class_names": np.array(kept.class_names, dtype=np.str_),
        "truth": found.truth.astype(smallest),
        **_side_arrays("file", found.file, smallest),
    }
    if found.keras is not None:
        arrays |= _side_arrays("keras", found.keras, smallest)
    if found.held is not None:
        arrays["held"] = found.held
    if kept.pictures:
        arrays["pictured"] = np.array(list(kept.pictures))
        arrays["pictures"] = np.stack(list(kept.pictures.values()))
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def unpacked(content: bytes) -> tuple[Predictions, tuple[str, ...], dict[int, Pixels]]:
    """The predictions, the outputs' names and pictures in such an .npz. ValueError for another content."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = Predictions(
                truth=arrays["truth"].astype(np.int64),
                file=_side(arrays, "file"),
                keras=_side(arrays, "keras") if "keras_label" in arrays else None,
                held=arrays.get("held"),
            )
            pictured = arrays["pictured"].tolist() if "pictured" in arrays else []
            pictures = dict(zip(pictured, arrays["pictures"] if pictured else [], strict=True))
            return found, tuple(map(str, arrays["class_names"])), pictures
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"no predictions: {error}") from error


def packed_images(images: tuple[str, ...]) -> tuple[str, bytes]:
    """The SHA-256 of the names, and their compressed JSON."""
    text = json.dumps(images, separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest(), zlib.compress(text)


def unpacked_images(content: bytes) -> tuple[str, ...]:
    """The names in such a JSON."""
    return tuple(json.loads(zlib.decompress(content)))


def _side_arrays(name: str, side: Side, smallest: np.dtype[Any]) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {
        f"{name}_label": side.label.astype(smallest),
        f"{name}_probability": side.probability.astype(np.float32),
    }
    return arrays if side.said is None else {**arrays, f"{name}_said": side.said}


def _side(arrays: Any, name: str) -> Side:  # noqa: ANN401 - numpy's NpzFile
    return Side(
        label=arrays[f"{name}_label"].astype(np.int64),
        probability=arrays[f"{name}_probability"].astype(np.float32),
        said=arrays.get(f"{name}_said"),
    )

"""CIFAR-10: 60,000 colour photographs of 10 classes, 32x32, from a .npz or the published Python batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.shared_knobs import CIFAR10_CLASSES as CLASS_NAMES
from pipeline.data import arrays, local, splits
from pipeline.data.assembly import Described
from pipeline.data.dataset import Dataset
from pipeline.data.spec import Progress, ReadSettings
from pipeline.errors import PipelineError
from spelling import counted

SIDE = 32
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
INSTEAD = (
    "Put cifar10.npz (x_train, y_train, x_test, y_test) or the unpacked cifar-10-batches-py into ./data or "
    "the folder that PIPELINE_DATA names, give its path with --data, or go on with --data digits, "
    "which needs no download."
)


def described(source: str) -> Described:
    """Its description. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images."""
    return Described(
        name="cifar10",
        source=source,
        class_names=CLASS_NAMES,
        image_size=SIDE,
        licence="none stated (Krizhevsky 2009)",
    )


def load(*, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set, from cifar10.npz or cifar-10-batches-py in $PIPELINE_DATA or ./data, or from Keras."""
    path = local.find("cifar10.npz", "cifar-10-batches-py")
    if path and path.is_dir():
        return load_batches(path, settings=settings, progress=progress)
    if path:
        return _dataset(str(path), arrays.read_npz(path), settings)
    source = "keras.datasets.cifar10"
    return _dataset(source, arrays.checked(source, local.from_keras("cifar10", instead=INSTEAD)), settings)


def load_batches(folder: Path, *, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set, from the folder in cifar-10-python.tar.gz (www.cs.toronto.edu/~kriz/cifar.html)."""
    parts = {}
    for part, names in (("train", TRAIN_BATCHES), ("test", (TEST_BATCH,))):
        batches = []
        for number, name in enumerate(names):
            if progress:
                progress(f"reading {part} batches", number, len(names))
            batches.append(_read_batch(folder / name))
        parts[part] = tuple(np.concatenate(arrays_of) for arrays_of in zip(*batches, strict=True))
    return _dataset(str(folder), arrays.checked(str(folder), parts), settings)


def _dataset(source: str, parts: arrays.Parts, settings: ReadSettings) -> Dataset:
    if arrays.num_classes(parts) > len(CLASS_NAMES):
        raise PipelineError(
            f"{source} has {counted(arrays.num_classes(parts), 'class', 'classes')}; CIFAR-10 has 10. "
            "Give another data set's "
            "file by its path."
        )
    return arrays.dataset(described(source), parts, shares=splits.VALIDATION_OF_TRAIN, settings=settings)


def _read_batch(path: Path) -> tuple[Any, Any]:
    """Images (n, 32, 32, 3) and labels (n,) of a batch file; a row is 1024 red, green, then blue levels."""
    try:
        with path.open("rb") as file:
            batch = SafeUnpickler(file).load()
        rows, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
        if rows.dtype != np.uint8 or rows.shape != (len(labels), 3 * SIDE * SIDE):
            raise ValueError(f"its data are {rows.dtype} {rows.shape} for {counted(len(labels), 'label')}")
    except FileNotFoundError as error:
        raise PipelineError(
            f"{path} is missing; a whole cifar-10-batches-py folder has {', '.join(TRAIN_BATCHES)} and "
            f"{TEST_BATCH}. Unpack cifar-10-python.tar.gz again."
        ) from error
    # what unpickling raises on truncated or altered files
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise PipelineError(
            f"{path} cannot be read as a CIFAR-10 batch ({error}). Unpack cifar-10-python.tar.gz again."
        ) from error
    return rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


_MAKE_ARRAY = np.empty(0).__reduce__()[0]
"""The function that numpy's pickled arrays call; its module was renamed in numpy 2."""


class SafeUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays, bytes, numbers, lists and dictionaries, and refuses to call anything else."""

    ALLOWED: dict[tuple[str, str], Any] = {  # noqa: RUF012 - never written to
        ("numpy.core.multiarray", "_reconstruct"): _MAKE_ARRAY,
        ("numpy._core.multiarray", "_reconstruct"): _MAKE_ARRAY,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - whatever pickle may call
        """The function or class with this name, if arrays need it."""
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs") from None

"""Loads published weights into our models; every weight must be filled and every array used.

Keras's `.weights.h5` has `layers/<kind>_<n>/vars/<i>`: the n-th layer of a kind fills our n-th of that kind;
a last 1x1 convolution without a counterpart fills the dense layer `logits`. Each family describes its own
`.npz` layouts, with kernels (out, in, h, w) as in Caffe and PyTorch. Entries under `test_data_set/` (sample
inputs and outputs) and `num_batches_tracked` (a count of training steps) are not read.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from models.family import Checkpoint, Filling, function_of
from models.registry import FAMILIES
from spelling import counted, some

Arrays = dict[str, npt.NDArray[Any]]

CHECKPOINTS: dict[str, Checkpoint] = {
    name: checkpoint for family in FAMILIES.values() for name, checkpoint in family.checkpoints.items()
}
"""The published files of all families."""


def load_checkpoint(model: keras.Model, path: Path | str) -> None:
    """Fills every weight of the model from a file in a known layout; pixel scaling is not in the file.

    Raises CheckpointError, with the model unchanged, for a damaged file, a layer without an array, an array
    without a layer, or a wrong shape.
    """
    path = Path(path)
    arrays = _read(path)
    filling = _filling(path, model, arrays)
    _check_complete(path, model, arrays, filling)
    values = [_value(path, layer, index, filling, arrays) for layer, index in _places(model)]
    for (layer, index), value in zip(_places(model), values, strict=True):
        layer.weights[index].assign(value)


def _places(model: keras.Model) -> list[tuple[keras.layers.Layer, int]]:
    return [(layer, index) for layer in model.layers for index in range(len(layer.weights))]


def _read(path: Path) -> Arrays:
    """Every array of the file that may be a weight, by name."""
    if not path.is_file():
        raise CheckpointError(f"there is no file of weights at {path}. Check the path.")
    try:
        arrays = _read_h5(path) if path.suffix == ".h5" else _read_npz(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights ({error}). Expected a whole .weights.h5 or .npz file; "
            "download it again."
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise CheckpointError(
                f"{name} in {path} holds values that are not finite numbers ({array.dtype}). "
                "The file is damaged, or is not a file of weights."
            )
    return arrays


def _read_h5(path: Path) -> Arrays:
    arrays: Arrays = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item)

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return arrays


def _read_npz(path: Path) -> Arrays:
    with path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array, not an archive of arrays")
        return {
            name: file[name]
            for name in file.files
            if not name.startswith("test_data_set/") and not name.endswith(".num_batches_tracked")
        }


def _filling(path: Path, model: keras.Model, arrays: Arrays) -> Filling:
    """The array for each weight, by Keras's layout or the first family layout with these names."""
    if path.suffix == ".h5":
        return _fill_from_keras(model, arrays)
    layouts = [layout for family in FAMILIES.values() for layout in family.layouts]
    for layout in layouts:
        filling: Filling | None = function_of(layout.filling)(model, tuple(arrays))
        if filling is not None:
            return filling
    raise CheckpointError(
        f"{path} has none of the known layouts; its arrays have names such as "
        f"{some(arrays, quoted=True) if arrays else '(none at all)'}. Known: Keras .weights.h5, "
        f"{', '.join(layout.about for layout in layouts)}."
    )


KERAS_NAME = re.compile(
    r"layers/(?P<kind>conv2d|depthwise_conv2d|batch_normalization|dense)(_(?P<layer>\d+))?"
    r"/vars/(?P<index>\d+)"
)
KERAS_KINDS = {
    "conv2d": "Conv2D",
    "depthwise_conv2d": "DepthwiseConv2D",
    "batch_normalization": "BatchNormalization",
    "dense": "Dense",
}


def _fill_from_keras(model: keras.Model, arrays: Arrays) -> Filling:
    by_class: dict[str, list[str]] = defaultdict(list)
    for layer in model.layers:
        by_class[type(layer).__name__].append(layer.name)
    has_dense = any(name.startswith("layers/dense/") for name in arrays)
    convolutions = by_class["Conv2D"] + ([] if has_dense else by_class["Dense"])
    partners = by_class | {"Conv2D": convolutions}
    filling: Filling = {}
    for name in arrays:
        match = KERAS_NAME.fullmatch(name)
        if match is None:
            continue
        layers = partners[KERAS_KINDS[match["kind"]]]
        number = int(match["layer"] or 0)
        if number < len(layers):
            filling[layers[number], int(match["index"])] = name
    return filling


def _check_complete(path: Path, model: keras.Model, arrays: Arrays, filling: Filling) -> None:
    places = [(layer.name, index) for layer, index in _places(model)]
    empty = list(dict.fromkeys(layer for layer, index in places if (layer, index) not in filling))
    if empty:
        raise CheckpointError(
            f"{path} leaves {counted(len(empty), 'layer')} of {model.name} without weights: "
            f"{some(empty, quoted=True)}. It was made for another model: build that one."
        )
    used = {filling[place] for place in places}
    unused = [name for name in arrays if name not in used]
    if unused:
        raise CheckpointError(
            f"{path} holds {counted(len(unused), 'array')} that no layer of {model.name} takes: "
            f"{some(unused, quoted=True)}. It was made for another model: build that one."
        )


def _value(
    path: Path, layer: keras.layers.Layer, index: int, filling: Filling, arrays: Arrays
) -> npt.NDArray[np.float32]:
    """The array for a weight, transposed from the file's layout to Keras's."""
    name = filling[layer.name, index]
    array = arrays[name]
    if path.suffix != ".h5" and array.ndim > 1:
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if isinstance(layer, keras.layers.Dense) and array.ndim == 4 and array.shape[:2] == (1, 1):
        array = array[0, 0]
    expected = tuple(layer.weights[index].shape)
    if array.shape != expected:
        raise CheckpointError(
            f"{path} holds {name} with shape {array.shape}, and layer '{layer.name}' expects {expected}. "
            "Build the model with the width and the number of classes that the file was made for."
        )
    return array.astype(np.float32)

"""Published weights into our models: by name and shape, every weight filled, every array used, or refused.

Three layouts are known:
- Keras `.weights.h5`: `layers/<kind>_<n>/vars/<i>`, the n-th layer of a kind into our n-th of that kind;
  a last 1x1 convolution that has no partner becomes the dense layer `logits`.
- SqueezeNet `.npz`: `weights/<any>_conv<n>_weight` and `_bias`, the n-th convolution into our n-th, kernels
  (out, in, h, w). Entries under `test_data_set/` are sample inputs and outputs, not weights.
- DenseNet-BC `.npz`: PyTorch names, kernels (out, in, h, w). `num_batches_tracked` counts training steps,
  for which Keras has no place; it is the one array left aside.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError

Arrays = dict[str, npt.NDArray[Any]]
Place = tuple[str, int]
"""A layer's name and the index of a weight in layer.weights."""
Filling = dict[Place, str]
"""The array of the file, by name, that goes to each place."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published file of weights and the knobs to build the model with, the pixels' scaling among them."""

    file: str
    family: str
    knobs: Mapping[str, Any]
    source: str
    licence: str
    result: str
    """What it is known to reach."""


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of pixels scaled to 0-1, R, G, B."""
CIFAR10_MEAN = (125.3, 123.0, 113.9)
CIFAR10_STD = (63.0, 62.1, 66.7)
"""Of 0-255 pixels, R, G, B."""

CHECKPOINTS = {
    "mobilenet_1.0_224": Checkpoint(
        file="mobilenet_v1_1.0_224.weights.h5",
        family="mobilenet",
        knobs={"scale": 1 / 127.5, "offset": -1.0},
        source="Keras, from TensorFlow slim's checkpoint of 2017-06-14",
        licence="Apache-2.0 and MIT",
        result="top-1 70.7% on ImageNet (slim)",
    ),
    "squeezenet_1.1": Checkpoint(
        file="squeezenet_v1.1_imagenet.npz",
        family="squeezenet",
        knobs={
            "version": "1.1",
            "scale": tuple(1 / (255 * std) for std in IMAGENET_STD),
            "offset": tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
        },
        source="ONNX model zoo, SqueezeNet 1.1",
        licence="Apache-2.0",
        result="its three golden outputs: class scores, of inputs taken with scale 1 and offset 0",
    ),
    "densenet_bc_100_12_cifar10": Checkpoint(
        file="densenet_bc_100_12_cifar10.npz",
        family="densenet",
        knobs={
            "depth": 100,
            "growth_rate": 12,
            "bottleneck": True,
            "compression": 0.5,
            "num_classes": 10,
            "scale": tuple(1 / std for std in CIFAR10_STD),
            "offset": tuple(-mean / std for mean, std in zip(CIFAR10_MEAN, CIFAR10_STD, strict=True)),
        },
        source="deeplearning-wisc/dice",
        licence="MIT",
        result="top-1 94.03% on the CIFAR-10 test set",
    ),
}


def load_checkpoint(model: keras.Model, path: Path | str) -> None:
    """Fills every weight of the model from a file of a known layout, which does not hold the pixels' scaling.

    CheckpointError, and the model unchanged, where the file is damaged, leaves a layer unfilled, holds an
    array that no layer takes, or an array of the wrong shape.
    """
    path = Path(path)
    arrays = _read(path)
    filling = _layout(path, arrays)(model, arrays)
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


def _layout(path: Path, arrays: Arrays) -> Callable[[keras.Model, Arrays], Filling]:
    """The function that tells which array goes where."""
    if path.suffix == ".h5":
        return _fill_from_keras
    if any(SQUEEZENET_NAME.fullmatch(name) for name in arrays):
        return _fill_from_squeezenet
    if any(name.startswith("block1.layer.") for name in arrays):
        return _fill_from_densenet
    raise CheckpointError(
        f"{path} has none of the known layouts; its arrays have names such as "
        f"{_some(arrays) if arrays else '(none at all)'}. Known: Keras .weights.h5, SqueezeNet .npz with "
        "weights/..., DenseNet-BC .npz with PyTorch's names."
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


SQUEEZENET_NAME = re.compile(r"weights/\w*conv(?P<layer>\d+)_(?P<part>weight|bias)")


def _fill_from_squeezenet(model: keras.Model, arrays: Arrays) -> Filling:
    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    filling: Filling = {}
    for name in arrays:
        match = SQUEEZENET_NAME.fullmatch(name)
        if match and int(match["layer"]) < len(convolutions):
            filling[convolutions[int(match["layer"])], ("weight", "bias").index(match["part"])] = name
    return filling


TORCH_PARTS = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}


def _fill_from_densenet(_: keras.Model, arrays: Arrays) -> Filling:
    filling: Filling = {}
    for name in arrays:
        torch_layer, _, part = name.rpartition(".")
        layer = _densenet_layer(torch_layer)
        if layer is not None and part in TORCH_PARTS:
            filling[layer, TORCH_PARTS[part]] = name
    return filling


def _densenet_layer(torch_layer: str) -> str | None:
    """Our name for a layer of the PyTorch DenseNet-BC, such as block1.layer.0.bn1, or None."""
    ends = {"conv1": "conv1", "bn1": "final_bn", "fc": "logits"}
    if torch_layer in ends:
        return ends[torch_layer]
    if match := re.fullmatch(r"block(\d+)\.layer\.(\d+)\.(bn1|conv1|bn2|conv2)", torch_layer):
        name = f"block{match[1]}_layer{int(match[2]) + 1}"
        return name + {"bn1": "_bottleneck_bn", "conv1": "_bottleneck", "bn2": "_bn", "conv2": ""}[match[3]]
    if match := re.fullmatch(r"trans(\d+)\.(bn1|conv1)", torch_layer):
        return f"transition{match[1]}" + {"bn1": "_bn", "conv1": ""}[match[2]]
    return None


def _check_complete(path: Path, model: keras.Model, arrays: Arrays, filling: Filling) -> None:
    places = [(layer.name, index) for layer, index in _places(model)]
    empty = list(dict.fromkeys(layer for layer, index in places if (layer, index) not in filling))
    if empty:
        raise CheckpointError(
            f"{path} leaves {_counted(len(empty), 'layer')} of {model.name} without weights: "
            f"{_some(empty)}. It was made for another model; build the one that it was made for."
        )
    used = {filling[place] for place in places}
    unused = [name for name in arrays if name not in used]
    if unused:
        raise CheckpointError(
            f"{path} holds {_counted(len(unused), 'array')} that no layer of {model.name} takes: "
            f"{_some(unused)}. It was made for another model; build the one that it was made for."
        )


def _value(
    path: Path, layer: keras.layers.Layer, index: int, filling: Filling, arrays: Arrays
) -> npt.NDArray[np.float32]:
    """The array for a weight, turned from the file's layout into Keras's."""
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


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _some(names: Mapping[str, object] | list[str], limit: int = 3) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(f"'{name}'" for name in listed[:limit]) + more

"""Reads files of weights as arrays by name: safetensors, HDF5 and .npz, told by their content. Runs nothing.

A pickle (.pth, .pt, .bin, .ckpt) can run any code when it is read, and is refused.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt
import safetensors

from models.errors import CheckpointError

Arrays = dict[str, npt.NDArray[Any]]

MAX_BYTES = 2**31
"""What the arrays of one file may need in memory. DenseNet-201's need 80 MB."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How archives of arrays are compressed; other methods take gigabytes themselves."""
_NOT_WEIGHTS = ("test_data_set/",)
"""Beginnings of names that are sample inputs and outputs."""
_COUNTER = "num_batches_tracked"
"""PyTorch's count of training steps, which is no weight."""
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    safetensors.SafetensorError,
)
"""What damaged files raise: the header of an array is parsed as Python, and may claim any size."""
_SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}


def read_arrays(path: Path) -> Arrays:
    """Every array of the file that may be a weight, by name.

    Raises CheckpointError for a missing, damaged, pickled or unknown file, and values that are not finite.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; expected a file of weights: .safetensors, .h5 or .npz.")
    if not path.is_file():
        raise CheckpointError(f"there is no file of weights at {path}. Check the path.")
    try:
        with path.open("rb") as file:
            arrays = _reader(path, file)(file)
    except CheckpointError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    _check_finite(path, arrays)
    return arrays


def is_keras_layout(arrays: Mapping[str, object]) -> bool:
    """Whether the names are those of Keras 3's .weights.h5: layers/<kind>_<n>/vars/<i>."""
    return any("/vars/" in name for name in arrays)


def _reader(path: Path, file: BinaryIO) -> Callable[[BinaryIO], Arrays]:
    start = file.read(16)
    file.seek(0)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5
    if start.startswith(b"\x80") or path.suffix in (".pth", ".pt", ".bin", ".ckpt", ".pkl"):
        raise _pickle(path)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        file.seek(0)
        if any(name.endswith(("data.pkl", ".pkl")) for name in names):
            raise _pickle(path)
        if "config.json" in names:
            raise CheckpointError(
                f"{path} is a whole Keras model. Give its run's name, or a file of weights alone "
                "(.weights.h5, .safetensors or .npz)."
            )
        return _read_npz
    if start.startswith(b"\x93NUMPY"):
        raise ValueError("a single array, not an archive of arrays")
    if len(start) > 8 and start[8:9] == b"{":
        return _read_safetensors
    raise ValueError("it is no HDF5, .npz or safetensors file")


def _read_h5(file: BinaryIO) -> Arrays:
    arrays: Arrays = {}
    with h5py.File(file, "r") as content:
        found: dict[str, h5py.Dataset] = {}

        def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = item

        content.visititems(keep)
        _check_bytes(sum(item.size * item.dtype.itemsize for item in found.values()))
        for name, item in found.items():
            arrays[name] = np.asarray(item)
    return arrays


def _read_npz(file: BinaryIO) -> Arrays:
    with zipfile.ZipFile(file) as archive:
        _check_bytes(sum(info.file_size for info in archive.infolist()))
        if any(info.compress_type not in _METHODS for info in archive.infolist()):
            raise ValueError("it is neither stored nor deflated")
    file.seek(0)
    content = np.load(file, allow_pickle=False)
    arrays = {name: content[name] for name in content.files if _is_weight(name)}
    return {name: each for name, each in arrays.items() if isinstance(each, np.ndarray)}


def _read_safetensors(file: BinaryIO) -> Arrays:
    content = file.read(MAX_BYTES + 1)
    _check_bytes(len(content))
    arrays: Arrays = {}
    for name, about in safetensors.deserialize(content):
        if not _is_weight(name):
            continue
        kind = about["dtype"]
        if kind == "BF16":
            # bfloat16 is the upper half of a float32
            values = (np.frombuffer(about["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(about["data"], _SAFETENSORS_TYPES.get(kind, "u1"))
        arrays[name] = values.reshape(about["shape"])
    return arrays


def _is_weight(name: str) -> bool:
    return not name.startswith(_NOT_WEIGHTS) and name.rpartition(".")[2] != _COUNTER


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"its arrays need {size:,} bytes, and at most {MAX_BYTES:,} are read")


def _check_finite(path: Path, arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise CheckpointError(
                f"{name} in {path} holds values that are not finite numbers ({array.dtype}). "
                "The file is damaged, or is not a file of weights."
            )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    why = " ".join(str(error).split())
    return CheckpointError(
        f"{path} cannot be read as weights ({why}). Expected a whole .safetensors, .weights.h5 or .npz "
        "file; download it again."
    )


def _pickle(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is a pickle, as PyTorch saves it: reading it can run any code, so it is not read. Use the "
        "same weights as .safetensors: `pipeline weights` lists files that are known, and in PyTorch "
        "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') makes one."
    )

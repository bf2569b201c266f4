"""The named data sets, and loading a data set by name or path.

Standard library only: numpy, Pillow, scikit-learn and TensorFlow are imported when a data set is loaded.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.address import ARCHIVE_ENDINGS, NAMES, TABLE_ENDINGS, DataChoice, address_of, read_address
from pipeline.data.spec import Progress, ReadSettings
from pipeline.errors import UsageError, unknown_name
from pipeline.home import expanded
from spelling import nearest_names

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """A named data set."""

    help: str
    loader: str
    """'module:function'; called with (settings=..., progress=...)."""


DATASETS: dict[str, KnownDataset] = {
    "digits": KnownDataset(
        help="1,797 handwritten digits, 32x32, embedded in scikit-learn: no download.",
        loader="pipeline.data.digits:load",
    ),
    "fashion_mnist": KnownDataset(
        help="70,000 grey pictures of clothing, 28x28; local fashion_mnist.npz or Keras's download.",
        loader="pipeline.data.fashion_mnist:load",
    ),
    "cifar10": KnownDataset(
        help="60,000 colour photographs, 32x32; local cifar10.npz, cifar-10-batches-py or download.",
        loader="pipeline.data.cifar10:load",
    ),
}


IMAGE_FOLDER = "pipeline.data.image_folder:load"
TABLE = "pipeline.data.image_folder:load_table"
ARCHIVE = "pipeline.data.image_folder:load_archive"
NPZ_FILE = "pipeline.data.npz_file:load"
TAKEN = {
    NPZ_FILE: ("split",),
    IMAGE_FOLDER: ("split", "test", "group-by", "classes"),
    ARCHIVE: ("split", "test", "group-by", "classes"),
    TABLE: ("split", "test", "group-by", "file", "label", "separator", "images"),
}
"""Loader -> what its address may say behind the question mark."""
EXPECTED = (
    "A folder of class/image files, or a .zip or .tar of one, a table of files and labels "
    f"({', '.join(TABLE_ENDINGS)}), a .npz file or one of {', '.join(DATASETS)} was expected."
)


def load(
    name_or_path: str, *, settings: ReadSettings | None = None, progress: Progress | None = None
) -> Dataset:
    """A data set by its name, or from a folder of class/images, a table, a .npz file or cifar-10-batches-py.

    Behind a question mark it may say how these are read and divided (`address.py`). A known name takes
    precedence over a folder of that name: write ./digits for the folder. Raises UsageError for an unknown
    name or path, PipelineError for one that cannot be used.
    """
    where, choice = read_address(name_or_path)
    settings = dataclasses.replace(settings or ReadSettings(), choice=choice)
    check_there(name_or_path)
    known = DATASETS.get(where)
    path = expanded(where)
    loader = known.loader if known else _path_loader(path)
    _check_taken(where, choice, TAKEN.get(loader, ()))
    if known:
        return _function(loader)(settings=settings, progress=progress)
    return _function(loader)(path, settings=settings, progress=progress)


def check_there(name_or_path: str) -> None:
    """Raises UsageError for an unknown name or path; reads nothing."""
    where, _ = read_address(name_or_path)
    path = expanded(where)
    if where not in DATASETS and not path.exists():
        raise _not_there(where, path)


def load_pixels(name_or_path: str, *, progress: Progress | None = None) -> Dataset:
    """The same for calibration, which any folder of images will do for, with or without classes."""
    return load(name_or_path, settings=ReadSettings(only_pixels=True), progress=progress)


def from_any_folder(name_or_path: str) -> str:
    """The same name, or the address with absolute paths, which do not depend on the current folder."""
    where, choice = read_address(name_or_path)
    if where in DATASETS:
        return name_or_path
    test = None if choice.test is None else str(expanded(choice.test).absolute())
    return address_of(str(expanded(where).absolute()), dataclasses.replace(choice, test=test))


def _check_taken(where: str, choice: DataChoice, taken: Sequence[str]) -> None:
    """Raises UsageError for a part of the address that says nothing of this kind of data set."""
    given = [name for name, field in NAMES.items() if getattr(choice, field) is not None]
    idle = [name for name in given if name not in taken]
    if idle and {*idle} <= {"split", "test", "group-by"}:
        names = " and ".join(f"--{name}" for name in idle)
        raise UsageError(
            f"{names} divide a folder or a table of files, and {where} has splits already, or no paths. "
            "Leave them out."
        )
    if idle:
        raise UsageError(
            f"{idle[0]}= behind the question mark says nothing of {where}. Expected there: "
            f"{', '.join(taken) or 'nothing'}."
        )


def _path_loader(path: Path) -> str:
    if path.is_file():
        if path.suffix.lower() == ".npz":
            return NPZ_FILE
        if path.suffix.lower() in TABLE_ENDINGS:
            return TABLE
        if path.name.lower().endswith(ARCHIVE_ENDINGS):
            return ARCHIVE
        raise UsageError(f"{path} is not a data set. {EXPECTED}")
    if (path / "batches.meta").is_file() or (path / "data_batch_1").is_file():
        return "pipeline.data.cifar10:load_batches"
    return IMAGE_FOLDER


def _function(name: str) -> Callable[..., Dataset]:
    module, _, function = name.partition(":")
    found: Callable[..., Dataset] = getattr(importlib.import_module(module), function)
    return found


def _not_there(given: str, path: Path) -> UsageError:
    if len(path.parts) == 1 and not path.suffix and not given.startswith("."):
        known = unknown_name("data set", given, [*DATASETS, *_neighbours(Path(), given)])
        return UsageError(f"{known} Or give a folder of class/image files or a .npz file by its path.")
    parent = path.parent
    while not parent.is_dir():
        path, parent = parent, parent.parent
    near = _neighbours(parent, path.name)
    hint = f" Did you mean '{parent / near[0]}'?" if near else ""
    return UsageError(f"there is no data set at {given}.{hint} {EXPECTED}")


def _neighbours(folder: Path, name: str) -> list[str]:
    """The folder's entries that could be data sets and have names close to `name`, closest first."""
    endings = (".npz", *TABLE_ENDINGS, *ARCHIVE_ENDINGS)
    try:
        entries = [
            entry.name
            for entry in folder.iterdir()
            if not entry.name.startswith(".") and (entry.is_dir() or entry.name.endswith(endings))
        ]
    except OSError:
        return []
    return nearest_names(name, entries, num=3, cutoff=0.6)

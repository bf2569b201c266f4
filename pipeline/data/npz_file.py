"""Loads a data set from any .npz file; known file names have class names and a licence."""

from __future__ import annotations

from pathlib import Path

from pipeline.data import arrays, cifar10, fashion_mnist, splits
from pipeline.data.assembly import Described
from pipeline.data.dataset import Dataset
from pipeline.data.spec import Progress, ReadSettings
from pipeline.errors import UsageError

KNOWN = {"cifar10": cifar10.described, "fashion_mnist": fashion_mnist.described}
"""File name -> class names and licence."""


def load(path: Path, *, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set in a .npz file with x_train and y_train, and with or without validation and test parts.

    Without either, `settings.choice` may divide it. UsageError if it divides a file that has them.
    cifar10.npz and fashion_mnist.npz get their class names and licence; other classes are named by number.
    """
    del progress
    parts = arrays.read_npz(path)
    shares = settings.choice.shares
    if shares and len(parts) > 1:
        raise UsageError(
            f"{path} has the splits {', '.join(parts)}, so --split has nothing to divide. Leave it out, or "
            "give a file with x and y alone."
        )
    shape = parts["train"][0].shape[1:]
    described = Described(
        name=path.stem,
        source=str(path),
        class_names=tuple(str(label) for label in range(arrays.num_classes(parts))),
        image_size=shape[0] if shape[0] == shape[1] else None,
    )
    if path.stem in KNOWN:
        known = KNOWN[path.stem](str(path))
        if known.image_size == shape[0] and len(known.class_names) == len(described.class_names):
            described = known
    return arrays.dataset(
        described, parts, shares=shares or splits.shares_of({*parts} - {"train"}), settings=settings
    )

"""A small net with a larger one as teacher, beside the same training without."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from finetune_runs import SHARES, Row, link_split, print_table, told, trained

from export.check.paired import paired_p

Right = npt.NDArray[np.bool_]


def student(options: argparse.Namespace, scratch: Path) -> None:
    """MobileNet 0.25 on few photos, from random weights, and the fine-tuned MobileNet 1.0 as teacher."""
    rows: list[Row] = []
    right: dict[str, list[Right]] = {}
    for seed in options.seeds:
        place = scratch / str(seed)
        link_split(options.photos, place / "photos", seed)
        common = ("--seed", str(seed), "--data", str(place / "photos"))
        start = ("--weights", str(options.weights), "--image-size", str(options.image_size))
        row, teacher = trained(place, "the teacher", "mobilenet", *start, *common)
        rows += told([row], f"split {seed}")
        small = ("mobilenet", "--alpha", "0.25", "--image-size", str(options.student_size), *common)
        small = (*small, "--epochs", str(options.epochs))
        data, splits = str(place / "photos"), tuple(SHARES)
        for what, more in _kinds(options, teacher).items():
            row, run = trained(place, what, *small, *more)
            rows += told([row], f"split {seed}")
            right.setdefault(what, []).append(_right(run, data, splits))
    print_table(rows)
    _print_paired(right)


def cifar10(options: argparse.Namespace, scratch: Path) -> None:
    """MobileNet 0.5 on the first images of CIFAR-10, and DenseNet-BC as teacher."""
    data = scratch / "cifar10.npz"
    with np.load(options.cifar10) as content:
        arrays = dict(content)
    shown = {name: values[: options.images] for name, values in arrays.items() if name.endswith("_train")}
    np.savez(data, **{**arrays, **shown})
    rows: list[Row] = []
    right: dict[str, list[Right]] = {}
    for seed in options.seeds:
        small = ("mobilenet", "--alpha", "0.5", "--data", str(data), "--epochs", str(options.epochs))
        for what, more in _kinds(options, options.teacher).items():
            splits = ("validation",) if options.validation else ("test",)
            row, run = trained(scratch, what, *small, "--seed", str(seed), *more, splits=splits)
            rows += told([row], f"seed {seed}")
            right.setdefault(what, []).append(_right(run, str(data), splits))
    print_table(rows)
    _print_paired(right)


def _kinds(options: argparse.Namespace, teacher: Path) -> dict[str, tuple[str, ...]]:
    """Without a teacher, and with it at each temperature and weight."""
    kinds: dict[str, tuple[str, ...]] = {"without": ()}
    for each in options.settings:
        temperature, weight = each.split(",") if each else ("", "")
        more = ("--teacher-temperature", temperature, "--teacher-weight", weight) if each else ()
        what = f"with the teacher, T {temperature}, weight {weight}" if each else "with the teacher"
        kinds[what] = ("--teacher", str(teacher), *more)
    return kinds


def _right(run: Path, data: str, splits: tuple[str, ...]) -> Right:
    """Whether a run's model is right on each image of the splits."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from pipeline.data.registry import load

    model, dataset = keras.saving.load_model(run / "model.keras"), load(data)
    found = []
    for split in splits:
        for images, labels in dataset.batches(split, image_size=model.input_shape[1], batch_size=100):
            found.append(model.predict_on_batch(images).argmax(axis=1) == labels.numpy())
    return np.concatenate(found)


def _print_paired(right: dict[str, list[Right]]) -> None:
    """Each kind against the first on the same images, all seeds together."""
    (first, without), *others = ((what, np.concatenate(each)) for what, each in right.items())
    for what, each in others:
        print(
            f"\n{what} against {first}: {100 * (each.mean() - without.mean()):+.2f} points; "
            f"{(each & ~without).sum()} images right with it alone, {(without & ~each).sum()} without it "
            f"alone, of {len(each)}; McNemar's exact p = {paired_p(each, without):.3g}",
            flush=True,
        )
    sys.stdout.flush()

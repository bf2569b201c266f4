"""Sizes and speed of our files beside TensorFlow's stock converter, as Markdown tables.

    python benchmarks/shrink.py files                  bytes and medians of int8 MobileNets and DenseNet-121
    python benchmarks/shrink.py densenet-bc            the published DenseNet-BC 100-12, int8, on CIFAR-10
    python benchmarks/shrink.py compressed RUN...      runs of `pipeline compress`: bytes, downloads, top-1

In `files` the stock file is the same net of keras.applications, converted as in TensorFlow's guide to full
integer quantization. Both have Keras's initial weights or, with --trained-like, biases and BatchNorms that
differ between channels as in a trained net, so that fewer equal values can be stored once. One thread,
LiteRT, all files in turns; the ratio is ours to stock's, from the paired rounds, with its verdict. CIFAR-10
is read from the .npz in PIPELINE_CIFAR10. The recipes of the runs are in docs/compression.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from zoo import as_shipped, scaled, stock_conversion, verdict, with_random_weights

from export.artifact import read_sidecar
from export.check.runner import Runner
from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings, settings_for
from export.tflite.inspect import inspect
from export.tflite.pack import pack
from models.build import build
from models.registry import label
from models.weights.catalogue import CHECKPOINTS
from models.weights.fill import load_weights
from pipeline.bench.child import runtime_version
from pipeline.bench.host import MeasuredFile, machine_name
from pipeline.bench.settings import BenchSettings
from pipeline.lineage import find_source
from pipeline.runs import runs_folder
from pipeline.steps.bench import measure
from pipeline.steps.export import Place, export
from pipeline.steps.settings import VerifySettings
from pipeline.steps.verify import verify

MOBILENETS = ((0.25, 128), (0.5, 160), (0.75, 192))
NUM_CLASSES = 1001
NUM_CALIBRATION = 8
PUBLISHED = "densenet_bc_100_12_cifar10"
SHARED_WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One net, exported by us and by the stock converter."""

    name: str
    ours: Path
    stock: Path
    with_labels: int
    """Bytes of our file with the metadata and labels for apps."""


def main() -> None:
    """Prints the requested table."""
    arguments = _parser().parse_args()
    if arguments.table == "files":
        files(arguments)
    elif arguments.table == "densenet-bc":
        densenet_bc(arguments.weights, arguments.keep)
    else:
        compressed(arguments.runs)


def files(arguments: argparse.Namespace) -> None:
    """Bytes and medians of our files and of the stock converter's."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        pairs = []
        if arguments.only in (None, "mobilenet"):
            pairs += [_mobilenet(alpha, image_size, arguments, folder) for alpha, image_size in MOBILENETS]
        if arguments.only in (None, "densenet"):
            pairs += [_densenet(each, arguments, folder) for each in (Precision.INT8, Precision.FLOAT32)]
        paths = [path for pair in pairs for path in (pair.ours, pair.stock)]
        settings = BenchSettings(num_rounds=arguments.num_rounds, min_secs=arguments.min_secs)
        measured = dict(zip(paths, measure(paths, settings).measured, strict=True))
    print("| file | stock bytes | our bytes | with labels | stock ms | our ms | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for pair in pairs:
        _print_pair(pair, measured[pair.ours], measured[pair.stock])
    print(
        f"\n{machine_name()}; litert {runtime_version('litert')}, one thread, "
        f"{arguments.num_rounds} interleaved rounds. "
        "Stock: keras.applications and TFLiteConverter."
    )


def densenet_bc(weights: Path, keep: Path | None) -> None:
    """Top-1 of the published DenseNet-BC 100-12, calibrated, on the whole CIFAR-10 test split."""
    if not weights.exists():
        sys.exit(f"{weights} is not here: give the path of {CHECKPOINTS[PUBLISHED].file}")
    checkpoint = CHECKPOINTS[PUBLISHED]
    model = build(checkpoint.family, **checkpoint.knobs)
    load_weights(model, weights)
    print("| file | float top-1 | int8 top-1 | drop | same class | bytes |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        path = keep or Path(scratch, f"{PUBLISHED}.keras")
        model.save(path)
        source = find_source(str(path), data=_cifar10(), folder=runs_folder())
        for how, equalize in (("calibrated", False), ("calibrated, `--equalize`", True)):
            asked = ExportSettings(Precision.INT8, equalize=equalize)
            exported = export(source, [asked], runs=runs_folder(), place=Place(folder=Path(scratch)))
            if exported.refused:
                sys.exit(exported.refused[0])
            artifact = exported.artifacts[0]
            settings = VerifySettings(data=_cifar10(), model=path)
            (found,) = verify(exported.files, settings, runs=runs_folder())
            print(
                f"| published weights, {how} | {found.keras_top1:.2f}% | {found.tflite_top1:.2f}% "
                f"| {found.drop_points:+.2f} | {found.agreement:.2f}% | {artifact.size_bytes:,} |"
            )


def compressed(runs: list[str]) -> None:
    """Bytes and top-1 of each run's float32 and int8 files; exports and verifies missing ones."""
    print("| run | file | bytes | downloaded | top-1 of the file | sha256 |")
    print("| --- | --- | ---: | ---: | ---: | --- |")
    for run in runs:
        source = find_source(run, data=None, folder=runs_folder())
        export(source, settings_for([Precision.FLOAT32, Precision.INT8]), runs=runs_folder())
        paths = sorted(source.export_folder.glob("*.tflite"))
        for found in verify(paths, runs=runs_folder()):
            artifact = read_sidecar(Path(found.path))
            print(
                f"| {run} | {artifact.precision} | {artifact.size_bytes:,} | {artifact.downloaded_bytes:,} "
                f"| {found.tflite_top1:.2f}% | {artifact.sha256[:12]} |"
            )


def _mobilenet(alpha: float, image_size: int, arguments: argparse.Namespace, folder: Path) -> Pair:
    knobs = {"alpha": alpha, "image_size": image_size, "num_classes": NUM_CLASSES}
    shape = (image_size, image_size, 3)
    peer = keras.applications.MobileNet(alpha=alpha, input_shape=shape, weights=None, classes=NUM_CLASSES)
    return _pair("mobilenet", knobs, peer, Precision.INT8, arguments.trained_like, folder)


def _densenet(precision: Precision, arguments: argparse.Namespace, folder: Path) -> Pair:
    peer = keras.applications.DenseNet121(weights=None)
    return _pair("densenet", {}, peer, precision, arguments.trained_like, folder)


def _pair(
    family: str,
    knobs: dict[str, Any],
    peer: keras.Model,
    precision: Precision,
    trained_like: bool,
    folder: Path,
) -> Pair:
    """Converts our net and the peer's, checks that packing changed no output, and writes both."""
    name = f"{label(family, knobs)}_{precision}{'_trained-like' if trained_like else ''}"
    ours, stock = folder / f"{name}.tflite", folder / f"stock_{name}.tflite"
    random = np.random.default_rng(0)
    model = build(family, **knobs)
    if trained_like:
        model, peer = with_random_weights(model, random), with_random_weights(peer, random)
    pixels = random.integers(0, 256, (NUM_CALIBRATION, *model.input_shape[1:]), np.uint8)
    if not ours.exists():
        plain = convert(model, ExportSettings(precision), pixels=pixels)
        ours.write_bytes(pack(plain).content)
        unpacked = folder / f"unpacked_{name}.tflite"
        unpacked.write_bytes(plain)
        images = pixels[:4].astype(np.float32)
        if not np.array_equal(_outputs(ours, images), _outputs(unpacked, images)):
            sys.exit(f"{ours} gives other outputs packed than unpacked")
    if not stock.exists():
        stock.write_bytes(stock_conversion(peer, precision, scaled(pixels)))
    labelled = as_shipped(ours.read_bytes(), name=name, num_classes=model.output_shape[-1])
    return Pair(name=name, ours=ours, stock=stock, with_labels=len(labelled))


def _outputs(path: Path, images: np.ndarray) -> np.ndarray:
    return Runner(path, inspect(path)).outputs(images)


def _print_pair(pair: Pair, ours: MeasuredFile, stock: MeasuredFile) -> None:
    print(
        f"| {pair.name} | {stock.size_bytes:,} | {ours.size_bytes:,} | {pair.with_labels:,} "
        f"| {stock.measurement.median_ms:.3f} | {ours.measurement.median_ms:.3f} | {verdict(ours, stock)} |"
    )


def _cifar10() -> str:
    path = os.environ.get("PIPELINE_CIFAR10")
    if not path:
        sys.exit("set PIPELINE_CIFAR10 to the path of a cifar10.npz")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = parser.add_subparsers(dest="table", required=True)
    table = tables.add_parser("files", help="bytes and medians beside the stock converter's")
    table.add_argument("--num-rounds", type=int, default=10)
    table.add_argument("--min-secs", type=float, default=2.0)
    table.add_argument("--only", choices=["mobilenet", "densenet"])
    table.add_argument("--trained-like", action="store_true")
    table.add_argument("--out", type=Path, help="keep the files here, and use those that are")
    table = tables.add_parser("densenet-bc", help="the published DenseNet-BC on CIFAR-10")
    table.add_argument("weights", type=Path, nargs="?", default=SHARED_WEIGHTS / CHECKPOINTS[PUBLISHED].file)
    table.add_argument("--keep", type=Path, help="write the model here as .keras, to go on with")
    table = tables.add_parser("compressed", help="runs of pipeline compress")
    table.add_argument("runs", nargs="+")
    return parser


if __name__ == "__main__":
    main()

"""Dense and sparse storage of pruned MobileNets, as a Markdown table: median, size, kernels that ran.

The 1x1 kernels of a MobileNet with random weights are pruned by magnitude (speed depends on which weights are
zero, not on their values), the float32 file is written twice, with dense and with sparse weights, and all
files take turns in LiteRT, one thread. The ratio is sparse to dense, from the paired rounds; below 1 is
faster. With an image of 225 pixels the padding of all five strided layers is symmetric, which XNNPACK's
sparse kernels need; with 224 it is not. The int8 row compares the pruned int8 file with the unpruned one.

    python benchmarks/sparse.py [--alpha 0.5 1] [--sparsity 0.75 0.9] [--image-size 225] [--num-rounds 10]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from export.convert import convert
from export.errors import ExportError
from export.precisions import Precision
from export.settings import ExportSettings
from export.sparse.verdict import sparse_verdict
from export.sparse.weights import with_sparse_weights
from export.tflite.download_size import downloaded_bytes
from models.build import build
from pipeline.bench.child import runtime_version
from pipeline.bench.host import MeasuredFile, machine_name
from pipeline.bench.settings import BenchSettings
from pipeline.bench.statistics import compare
from pipeline.steps.bench import measure

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # behind the installed packages of the same names

from sparse_kernels import litert_runs_sparse

PATTERNS = ("unstructured", "1x4", "1x16", "2:4")
"""Single weights; blocks of 4 or 16 output channels; two of four adjacent input channels."""
SPARSITIES = (0.5, 0.75, 0.8, 0.9)
INT8_SPARSITY = 0.9
NUM_CALIBRATION = 8
SMALLEST_POWER = 1e-9
"""Lower bound of a row's sum of squares, for rows of zeros."""
BELOW_ANY = 0.3
"""Minimum share of zeros; below XNNPACK's threshold, to show which kernels it then runs."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pruned file and the one that it is compared with."""

    name: str
    base: Path
    file: Path
    runs_sparse: str
    """The kernels that LiteRT ran on this machine."""
    words: str
    """The text of sparse_verdict."""


def main() -> None:
    """Prints the table."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for alpha in arguments.alpha:
            for sparsity in arguments.sparsity:
                rows += float_rows(alpha, sparsity, arguments.pattern, arguments.image_size, folder)
            if arguments.int8:
                rows.append(int8_row(alpha, arguments.image_size, folder))
        files = list(dict.fromkeys(file for row in rows for file in (row.base, row.file)))
        result = measure(files, BenchSettings(num_rounds=arguments.num_rounds, min_secs=arguments.min_secs))
        print_table(rows, dict(zip(files, result.measured, strict=True)))


def float_rows(
    alpha: float, sparsity: float, patterns: list[str], image_size: int, folder: Path
) -> list[Row]:
    """One row per pattern; 2:4 only for a sparsity of one half."""
    rows = []
    for pattern in patterns:
        if pattern == "2:4" and sparsity != 0.5:
            continue
        name = f"{alpha:g} {pattern} {sparsity:.0%}"
        stem = folder / f"mobilenet_{name.replace(' ', '_').replace(':', '-').replace('%', '')}_{image_size}"
        dense, sparse = Path(f"{stem}_dense.tflite"), Path(f"{stem}_sparse.tflite")
        if not dense.exists():
            model = pruned(random_mobilenet(alpha, image_size), sparsity, pattern)
            dense.write_bytes(convert(model, ExportSettings(Precision.FLOAT32)))
        sparse.write_bytes(with_sparse_weights(dense.read_bytes(), min_sparsity=BELOW_ANY))
        rows.append(_row(name, dense, sparse))
    return rows


def int8_row(alpha: float, image_size: int, folder: Path) -> Row:
    """The pruned int8 file compared with the unpruned one; with_sparse_weights must refuse it."""
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_CALIBRATION, image_size, image_size, 3), np.uint8)
    files = []
    for sparsity in (0.0, INT8_SPARSITY):
        file = folder / f"mobilenet_{alpha:g}_int8_{sparsity:.0%}_{image_size}.tflite"
        if not file.exists():
            model = pruned(random_mobilenet(alpha, image_size), sparsity, "unstructured")
            file.write_bytes(convert(model, ExportSettings(Precision.INT8), pixels=pixels))
        files.append(file)
    try:
        with_sparse_weights(files[1].read_bytes())
    except ExportError:
        return _row(f"{alpha:g} int8 {INT8_SPARSITY:.0%} (against 0%)", *files)
    raise SystemExit("an int8 file was written with sparse weights; this row is no longer true")


def random_mobilenet(alpha: float, image_size: int) -> keras.Model:
    """A MobileNet with 1000 classes and random weights from a fixed seed."""
    random = np.random.default_rng(0)
    model = build("mobilenet", alpha=alpha, image_size=image_size)
    for layer in model.layers:
        values = layer.get_weights()
        layer.set_weights([random.normal(size=v.shape) if v.ndim > 1 else v for v in values])
    return model


def pruned(model: keras.Model, sparsity: float, pattern: str) -> keras.Model:
    """The model with the smallest of each 1x1 kernel's weights, or blocks of them, set to zero.

    Each output's weights are scaled to a sum of squares of 2 (He et al. 2015, for ReLU): otherwise the output
    after 27 layers is the same for all images, and does not show which kernels ran.
    """
    for layer in model.layers:
        values = layer.get_weights()
        if not values or values[0].ndim == 1:
            continue
        kernel = values[0]
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1):
            kernel = kernel * kept(kernel[0, 0], sparsity, pattern)
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        axes = (0, 1) if depthwise else tuple(range(kernel.ndim - 1))
        power = (kernel**2).sum(axis=axes, keepdims=True)
        layer.set_weights([kernel * np.sqrt(2 / np.maximum(power, SMALLEST_POWER)), *values[1:]])
    return model


def kept(matrix: Floats, sparsity: float, pattern: str) -> npt.NDArray[np.bool_]:
    """Mask (in, out) of the weights to keep."""
    magnitude = np.abs(matrix)
    if pattern == "2:4":
        groups = magnitude.reshape(-1, 4, matrix.shape[1])
        ranks = groups.argsort(axis=1).argsort(axis=1)
        return np.asarray(ranks >= 2).reshape(matrix.shape)
    width = 1 if pattern == "unstructured" else int(pattern.partition("x")[2])
    blocks = magnitude.reshape(matrix.shape[0], -1, width).mean(axis=2)
    num_pruned = round(sparsity * blocks.size)
    keep = np.ones(blocks.size, bool)
    keep[blocks.ravel().argsort()[:num_pruned]] = False
    return keep.reshape(blocks.shape).repeat(width, axis=1)


def print_table(rows: list[Row], measured: dict[Path, MeasuredFile]) -> None:
    """A Markdown table, the verdicts, then the conditions."""
    columns = "MobileNet, 1x1 zeros|dense ms|sparse ms|p5-p95 ms|ratio|kernels|dense MB|sparse MB|brotli MB"
    print(f"| {columns.replace('|', ' | ')} |")
    print("| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: |")
    for row in rows:
        base, ours = measured[row.base], measured[row.file]
        found = compare(ours.round_medians_ms, base.round_medians_ms)
        print(
            f"| {row.name} | {base.measurement.median_ms:.2f} | {ours.measurement.median_ms:.2f} "
            f"| {ours.measurement.p5_ms:.2f}-{ours.measurement.p95_ms:.2f} "
            f"| {found.ratio:.3f}{'' if found.larger_than_noise else ' (noise)'} | {row.runs_sparse} "
            f"| {_megabytes(base.size_bytes)} | {_megabytes(ours.size_bytes)} "
            f"| {_megabytes(downloaded_bytes(row.base.read_bytes()))}, "
            f"{_megabytes(downloaded_bytes(row.file.read_bytes()))} |"
        )
    print()
    for words in dict.fromkeys(f"{row.name}: {row.words}" for row in rows):
        print(f"- {words}")
    one = next(iter(measured.values())).measurement
    print(
        f"\n{machine_name()}; litert {runtime_version('litert')}, one thread, "
        f"{one.num_rounds} interleaved rounds, {one.measured_utc}. Random weights. "
        "brotli MB: dense, then sparse."
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f}"


def _row(name: str, base: Path, file: Path) -> Row:
    content = file.read_bytes()
    return Row(
        name=name,
        base=base,
        file=file,
        runs_sparse={True: "sparse", False: "dense", None: "unknown"}[litert_runs_sparse(content)],
        words=sparse_verdict(content).words,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alpha", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--sparsity", type=float, nargs="+", default=list(SPARSITIES))
    parser.add_argument("--pattern", nargs="+", choices=PATTERNS, default=["unstructured"])
    parser.add_argument("--image-size", type=int, default=225)
    parser.add_argument("--int8", action="store_true", help="add a row that shows what pruning does to int8")
    parser.add_argument("--num-rounds", type=int, default=10)
    parser.add_argument("--min-secs", type=float, default=2.0)
    parser.add_argument("--out", type=Path, help="keep the files here, and use those that are")
    return parser


if __name__ == "__main__":
    main()

"""Sizes and medians of the three families at 224 with 1000 classes, float32 and int8, as a Markdown table.

Every net is built with random weights (size and latency only depend on the shapes; but equal biases would be
stored once and make the files too small), exported, checked to be fully integer, and measured in LiteRT, one
thread, all files in turns in one run. Its peer is the same net from keras.applications, converted as in
TensorFlow's guide to full integer quantization. The ratio is ours to the peer's, from the paired rounds, with
its verdict.

    python benchmarks/zoo.py [--num-rounds 20] [--only mobilenet] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export import native_output
from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.app_metadata import with_labels_file, with_metadata_entry
from export.tflite.inspect import inspect
from export.tflite.pack import pack
from models.build import build
from models.cost import cost
from models.registry import FAMILIES, label
from pipeline.bench.child import runtime_version
from pipeline.bench.host import MeasuredFile, machine_name
from pipeline.bench.settings import BenchSettings
from pipeline.bench.statistics import compare
from pipeline.steps.bench import measure

ZOO: tuple[tuple[str, dict[str, Any], Callable[..., keras.Model] | None], ...] = (
    ("mobilenet", {"alpha": 0.25}, keras.applications.MobileNet),
    ("mobilenet", {"alpha": 0.5}, None),
    ("mobilenet", {"alpha": 0.75}, None),
    ("mobilenet", {}, keras.applications.MobileNet),
    ("squeezenet", {"version": "1.1"}, None),
    ("squeezenet", {"version": "1.0"}, None),
    ("densenet", {"variant": "121"}, keras.applications.DenseNet121),
)
PRECISIONS = (Precision.FLOAT32, Precision.INT8)
STOCK_KERNELS = {
    Precision.INT8: tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    Precision.INT16X8: tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
NUM_CALIBRATION = 8


@dataclass(frozen=True, kw_only=True)
class Row:
    """One net in one precision, with the peer's file if there is a peer."""

    name: str
    precision: Precision
    parameters: int
    mmacs: float
    file: Path
    fully_integer: bool
    peer: Path | None


def main() -> None:
    """Prints the table."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            row
            for family, knobs, peer in ZOO
            if arguments.only in (None, family)
            for row in make(family, knobs, peer, folder)
        ]
        files = [file for row in rows for file in (row.file, row.peer) if file is not None]
        result = measure(files, BenchSettings(num_rounds=arguments.num_rounds, min_secs=arguments.min_secs))
        measured = dict(zip(files, result.measured, strict=True))
        print_table(rows, measured)


def make(
    family: str, knobs: dict[str, Any], peer: Callable[..., keras.Model] | None, folder: Path
) -> list[Row]:
    """Exports one net in both precisions, and its peer."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (NUM_CALIBRATION, 224, 224, 3), np.uint8)
    model = with_random_weights(build(family, **knobs), random)
    total = cost(model)
    peer_model = with_random_weights(peer(weights=None, **knobs_of_peer(knobs)), random) if peer else None
    rows = []
    for precision in PRECISIONS:
        file = folder / f"{label(family, knobs)}_{precision}.tflite"
        if not file.exists():
            content = convert(model, ExportSettings(precision), pixels=pixels)
            file.write_bytes(as_shipped(content, name=file.stem, num_classes=model.output_shape[-1]))
        peer_file = None
        if peer_model is not None:
            peer_file = folder / f"stock_{file.name}"
            if not peer_file.exists():
                peer_file.write_bytes(stock_conversion(peer_model, precision, scaled(pixels)))
        rows.append(
            Row(
                name=label(family, knobs),
                precision=precision,
                parameters=total.parameters,
                mmacs=total.macs / 1e6,
                file=file,
                fully_integer=not inspect(file).float_operators,
                peer=peer_file,
            )
        )
    return rows


def as_shipped(content: bytes, *, name: str, num_classes: int) -> bytes:
    """The file as `pipeline export` writes it: packed, with the metadata and labels for apps."""
    labels = [str(number) for number in range(num_classes)]
    return with_labels_file(pack(with_metadata_entry(content, model_name=name)).content, labels)


def knobs_of_peer(knobs: dict[str, Any]) -> dict[str, Any]:
    """The peer's arguments in keras.applications: only alpha, since its DenseNets are separate functions."""
    return {name: value for name, value in knobs.items() if name == "alpha"}


def with_random_weights(model: keras.Model, random: np.random.Generator) -> keras.Model:
    """The model with random vectors of weights, similar to a trained net's."""
    for layer in model.layers:
        drawn = []
        for variable in layer.weights:
            value = variable.numpy()
            if value.ndim == 1:
                value = value + 0.1 * np.abs(random.standard_normal(value.shape))
            drawn.append(value)
        layer.set_weights(drawn)
    return model


def scaled(pixels: np.ndarray) -> np.ndarray:
    """The pixels in -1..1, as most of keras.applications takes them."""
    return pixels.astype(np.float32) / 127.5 - 1


def stock_conversion(model: keras.Model, precision: Precision, inputs: np.ndarray) -> bytes:
    """The file by TensorFlow's guides to post-training quantization, calibrated with these inputs."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if precision is not Precision.FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision is Precision.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if precision in STOCK_KERNELS:
        converter.representative_dataset = lambda: (
            [image[np.newaxis].astype(np.float32)] for image in inputs
        )
        converter.target_spec.supported_ops = [STOCK_KERNELS[precision]]
    if precision is Precision.INT8:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with native_output.captured():
        return bytes(converter.convert())


def print_table(rows: list[Row], measured: dict[Path, MeasuredFile]) -> None:
    """A Markdown table, then the conditions."""
    columns = "model|parameters|M MACs|precision|MB|fully integer|median ms|p5-p95 ms|stock ms|ratio"
    print(f"| {columns.replace('|', ' | ')} |")
    print("| --- | ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | --- |")
    for row in rows:
        ours = measured[row.file].measurement
        peer = measured[row.peer] if row.peer else None
        print(
            f"| {row.name} | {row.parameters:,} | {row.mmacs:,.1f} | {row.precision} "
            f"| {row.file.stat().st_size / 1e6:.2f} "
            f"| {('yes' if row.fully_integer else 'NO') if row.precision is Precision.INT8 else '-'} "
            f"| {ours.median_ms:.2f} | {ours.p5_ms:.2f}-{ours.p95_ms:.2f} "
            f"| {f'{peer.measurement.median_ms:.2f}' if peer else '-'} "
            f"| {verdict(measured[row.file], peer)} |"
        )
    one = next(iter(measured.values())).measurement
    print(
        f"\n{machine_name()}; litert {runtime_version('litert')}, one thread, "
        f"{one.num_rounds} interleaved rounds, {one.measured_utc}. "
        "Random weights; stock: keras.applications and TFLiteConverter."
    )


def verdict(ours: MeasuredFile, peer: MeasuredFile | None) -> str:
    """The ratio of the medians, and whether it is larger than the noise."""
    if peer is None:
        return "-"
    found = compare(ours.round_medians_ms, peer.round_medians_ms)
    return f"{found.ratio:.2f}{'' if found.larger_than_noise else ' (noise)'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-rounds", type=int, default=10)
    parser.add_argument("--min-secs", type=float, default=2.0)
    parser.add_argument("--only", choices=FAMILIES)
    parser.add_argument("--out", type=Path, help="keep the files here, and use those that are")
    return parser


if __name__ == "__main__":
    main()

"""What PyTorch's zeros on both sides of a strided convolution cost, and what a form without them would.

    python benchmarks/padding.py --precisions float32 int8

Each line is one convolution of 3x3 or 7x7 with stride 2 at an even size, where Keras's "same" pads at the
bottom and right alone: with a layer of zeros before it, as our files have it; with "same", which computes
something else and shows what the zeros cost; and as a kernel with one more row and column, of zeros, and
"same", which is exact and has no operator for the zeros. LiteRT, one thread, CPU time, in turns.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import keras
import numpy as np
from rewrites import take_turns

from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings
from pipeline.bench.child import runtime_version
from pipeline.bench.host import machine_name
from pipeline.bench.statistics import compare

layers = keras.layers
CASES = (
    ("the first of 3x3", 224, 3, 3),
    ("the first of 7x7", 224, 3, 7),
    ("depthwise", 112, 64, 3),
    ("depthwise", 56, 128, 3),
    ("depthwise", 28, 256, 3),
    ("depthwise", 14, 512, 3),
    ("3x3", 56, 64, 3),
    ("3x3", 14, 256, 3),
)
"""Kind, size of the image, channels, kernel: MobileNet's, DenseNet's first, and two of ResNet's kind."""
FORMS = ("zeros", "same", "larger")


def content(case: tuple[str, int, int, int], form: str, precision: Precision) -> bytes:
    """The file of a net with one such convolution, in a form."""
    kind, size, channels, kernel = case
    keras.utils.set_random_seed(0)
    image = x = keras.Input((size, size, 3))
    if channels != 3:
        x = layers.Conv2D(channels, 1, activation="relu6")(x)
    if form == "zeros":
        x = layers.ZeroPadding2D(kernel // 2)(x)
    taps = kernel + (form == "larger")
    settings = {"strides": 2, "padding": "valid" if form == "zeros" else "same", "activation": "relu6"}
    if kind == "depthwise":
        conv = layers.DepthwiseConv2D(taps, **settings)
    else:
        conv = layers.Conv2D(32 if channels == 3 else channels, taps, **settings)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1)(conv(x)))
    if form == "larger":
        weights, *bias = conv.get_weights()
        weights[-1], weights[:, -1] = 0, 0
        conv.set_weights([weights, *bias])
    pixels = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    return convert(keras.Model(image, x, name="net"), ExportSettings(precision, rewrites=()), pixels=pixels)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precisions", nargs="+", type=Precision, default=list(Precision))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--min-secs", type=float, default=1.0, help="of each file, over all rounds")
    arguments = parser.parse_args()
    print("| precision | convolution | zeros, ms | same by zeros | larger by zeros |")
    print("| --- | --- | ---: | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for precision in arguments.precisions:
            for case in CASES:
                files = [Path(folder) / f"{form}.tflite" for form in FORMS]
                for file, form in zip(files, FORMS, strict=True):
                    file.write_bytes(content(case, form, precision))
                zeros, *others = take_turns(files, arguments)
                cells = [_cell(each, zeros) for each in others]
                kind, size, channels, _ = case
                name = f"{kind}, {size}x{size}x{channels}"
                print(f"| {precision} | {name} | {median(zeros):.3f} | {' | '.join(cells)} |", flush=True)
    print(f"\n{machine_name()}; litert {runtime_version('litert')}; {arguments.rounds} rounds")


def _cell(found: list[float], zeros: list[float]) -> str:
    verdict = compare(found, zeros)
    return f"{verdict.ratio:.2f}{'' if verdict.larger_than_noise else ' (noise)'}"


if __name__ == "__main__":
    main()

"""int8 files with channels equalized and biases corrected, beside plain ones and the stock converter's.

Compares the int8 file's class scores with the float model's, on images that calibrated none: the root mean
square of the difference divided by that of the scores (each image's mean subtracted), and how often both
predict the same class. Published nets, and nets of keras.applications whose BatchNorms have random scales and
the statistics of the calibration images, so that scores differ. DenseNet-BC 100-12 runs on CIFAR-10.

    PIPELINE_CIFAR10=cifar10.npz python benchmarks/equalize.py FOLDER_OF_WEIGHTS FOLDER_OF_PHOTOS [NET ...]
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from export.artifact import Equalization
from export.check.runner import Runner
from export.choose_int8 import chosen
from export.convert import calibrate_int8, convert
from export.graph.probabilities import ends_in, without_probabilities
from export.graph.rescaling import add_rescaling
from export.plan import equalized
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes
from export.tflite.pack import pack
from models.build import build
from models.weights.catalogue import CHECKPOINTS
from models.weights.fill import load_weights

INT8 = ExportSettings(Precision.INT8)
NUM_CALIBRATION, NUM_TEST = 200, 200
NUM_STATISTICS = 32
SIZE = 96
"""Pixels of the nets without published weights."""
FILES = {
    "mobilenet_1.0_224": "mobilenet_v1_1.0_224.weights.h5",
    "squeezenet_1.1": "squeezenet_v1.1_imagenet.npz",
    "densenet_bc_100_12_cifar10": "densenet_bc_100_12_cifar10.npz",
}
"""Published weights, and their file in the folder that is given."""
APPLICATIONS = {  # name -> whether it takes -1..1
    "MobileNetV2": True,
    "MobileNetV3Small": False,
    "EfficientNetB0": False,
    "NASNetMobile": True,
}
BATCH = 25

Given = tuple[keras.Model, np.ndarray, np.ndarray]
"""The model up to the class scores, calibration images, test images."""


def main() -> None:
    """Prints a row for each net and each way to make its int8 file."""
    weights, photos, *wanted = sys.argv[1:]
    print("| net | int8 file | error / scores | same class as float | s | bytes |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, make in _nets(Path(weights), Path(photos)):
        if not wanted or any(each in name for each in wanted):
            model, calibration, test = make()
            for row in _rows(model, calibration, test):
                print(f"| {name} | {row}", flush=True)


def _nets(weights: Path, photos: Path) -> Iterator[tuple[str, Callable[[], Given]]]:
    """Each net's name, and what makes it."""
    for name, file in FILES.items():

        def published(name: str = name, file: str = file) -> Given:
            checkpoint = CHECKPOINTS[name]
            model = build(checkpoint.family, **checkpoint.knobs)
            load_weights(model, weights / file)
            return without_probabilities(model), *_images(model.input_shape[1], photos)

        yield name, published
    for name, centred in APPLICATIONS.items():

        def random(name: str = name, centred: bool = centred) -> Given:
            keras.utils.set_random_seed(0)
            net = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
            model = add_rescaling(net, 1 / 127.5, -1.0) if centred else net
            calibration, test = _images(SIZE, photos)
            _give_statistics(model, calibration)
            return without_probabilities(model) if ends_in(model) else model, calibration, test

        yield f"{name} {SIZE}, random", random


def _give_statistics(model: keras.Model, pixels: np.ndarray) -> None:
    """Random scales and shifts of all BatchNorms, and the statistics of the images."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            number = layer.moving_mean.shape[0]
            for variable, values in (
                (layer.gamma, random.uniform(0.5, 1.5, number)),
                (layer.beta, random.normal(0, 0.2, number)),
            ):
                if variable is not None:
                    variable.assign(values)
            layer.momentum = 0.0
    model(pixels[:NUM_STATISTICS].astype(np.float32), training=True)


def _rows(model: keras.Model, calibration: np.ndarray, test: np.ndarray) -> Iterator[str]:
    expected = np.asarray(model.predict(test.astype(np.float32), batch_size=BATCH, verbose=0))
    for way, make in _ways(model, calibration).items():
        start = time.perf_counter()
        content = make()
        seconds = time.perf_counter() - start
        size = len(content if way == "stock" else pack(content).content)
        found = _scores(content, test)
        error, scores = found - expected, expected - expected.mean(axis=1, keepdims=True)
        agreement = 100 * np.mean(found.argmax(axis=1) == expected.argmax(axis=1))
        share = _rms(error) / _rms(scores)
        yield f"{way} | {share:.3f} | {agreement:.1f}% | {seconds:.0f} | {size:,} |"


def _ways(model: keras.Model, pixels: np.ndarray) -> dict[str, Callable[[], bytes]]:
    def with_(*, equalize: bool, correct: bool) -> bytes:
        factors = equalized(model, pixels) if equalize else {}
        found = calibrate_int8(model, INT8, pixels, Equalization(factors=factors))
        return found.corrected(pixels) if correct else found.plain

    return {
        "stock": lambda: _stock(model, pixels),
        "`--no-equalize`": lambda: convert(model, INT8, pixels=pixels),
        "equalized": lambda: with_(equalize=True, correct=False),
        "biases corrected": lambda: with_(equalize=False, correct=True),
        "both (`--equalize`)": lambda: with_(equalize=True, correct=True),
        "default": lambda: chosen(model, INT8, pixels).content,
    }


def _stock(model: keras.Model, pixels: np.ndarray) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([image[np.newaxis].astype(np.float32)] for image in pixels)
    with contextlib.redirect_stdout(io.StringIO()):
        return bytes(converter.convert())


def _images(size: int, photos: Path) -> tuple[np.ndarray, np.ndarray]:
    """Calibration and test images (n, size, size, 3) uint8: CIFAR-10's for nets of its size, else photos."""
    if size == 32:
        with np.load(os.environ["PIPELINE_CIFAR10"]) as arrays:
            return arrays["x_train"][:NUM_CALIBRATION], arrays["x_test"][: 5 * NUM_TEST]
    files = sorted(photos.rglob("*.jpg"), key=lambda path: hashlib.md5(path.name.encode()).digest())
    images = [
        np.asarray(ImageOps.fit(Image.open(path).convert("RGB"), (size, size), Image.Resampling.BILINEAR))
        for path in files[: NUM_CALIBRATION + NUM_TEST]
    ]
    return np.stack(images[:NUM_CALIBRATION]), np.stack(images[NUM_CALIBRATION:])


def _scores(content: bytes, images: np.ndarray) -> np.ndarray:
    return Runner(content, inspect_bytes(content, name="file")).outputs(images.astype(np.float32))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


if __name__ == "__main__":
    main()

"""The published MobileNet 1.0_224 as int8, with and without equalization and bias correction, as a table.

How far the scores of the int8 file are from the float model's, on images that the calibration did not see:
the root mean square of the difference by that of the scores (each image's mean left out), and how often both
name the same class. ImageNet's images cannot be shipped, so these are CIFAR-10's, enlarged, and crops of
scikit-learn's two photographs: what counts is how the rows compare.

    PIPELINE_CIFAR10=cifar10.npz python benchmarks/equalize.py [WEIGHTS.h5]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from export.artifact import Precision
from export.convert import convert
from export.equalize import correct_bias, equalize
from export.inspect import inspect
from export.rewrite import without_softmax
from export.runner import Runner
from models.build import build
from models.checkpoints import CHECKPOINTS, load_checkpoint

CHECKPOINT = CHECKPOINTS["mobilenet_1.0_224"]
SHARED_WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"
SIZE = 224
NUM_CALIBRATION, NUM_TEST = 80, 200
NUM_CROPS = {"calibration": 40, "test": 100}
BATCH = 25


def main() -> None:
    """Prints a row for each way to make the int8 file."""
    weights = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED_WEIGHTS / CHECKPOINT.file
    if not weights.exists():
        sys.exit(f"{weights} is not here: give the path of {CHECKPOINT.file}")
    if "PIPELINE_CIFAR10" not in os.environ:
        sys.exit("set PIPELINE_CIFAR10 to the path of a cifar10.npz")
    model = build(CHECKPOINT.family, **CHECKPOINT.knobs)
    load_checkpoint(model, weights)
    with np.load(os.environ["PIPELINE_CIFAR10"]) as arrays:
        calibration = _images(arrays["x_train"][:NUM_CALIBRATION], "calibration")
        test = _images(arrays["x_test"][:NUM_TEST], "test")
    expected = _float_scores(model, test)
    print("| int8 file | error / scores | same class as float |\n| --- | ---: | ---: |")
    even = equalize(model, calibration).model
    variants = {
        "calibrated": model,
        "equalized": even,
        "biases corrected": correct_bias(model, calibration).model,
        "both (`--equalize`)": correct_bias(even, calibration).model,
    }
    for name, variant in variants.items():
        found = _int8_scores(variant, calibration, test)
        error, scores = found - expected, expected - expected.mean(axis=1, keepdims=True)
        agreement = 100 * np.mean(found.argmax(axis=1) == expected.argmax(axis=1))
        print(f"| {name} | {_rms(error) / _rms(scores):.3f} | {agreement:.1f}% |", flush=True)
    print(f"\n{len(calibration)} images calibrate, {len(test)} others are compared.")


def _images(small: np.ndarray, half: str) -> np.ndarray:
    """Enlarged images and crops of one half of the photographs: (n, 224, 224, 3) uint8."""
    large = [_resized(image) for image in small]
    random = np.random.default_rng(list(NUM_CROPS).index(half))
    photographs = load_sample_images().images
    for number in range(NUM_CROPS[half]):
        photograph = photographs[number % 2]
        middle = photograph.shape[1] // 2
        photograph = photograph[:, :middle] if half == "calibration" else photograph[:, middle:]
        side = random.integers(120, 300)
        top, left = (random.integers(0, length - side + 1) for length in photograph.shape[:2])
        large.append(_resized(photograph[top : top + side, left : left + side]))
    return np.stack(large)


def _resized(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _float_scores(model: keras.Model, images: np.ndarray) -> np.ndarray:
    scores = without_softmax(model)
    batches = np.split(images.astype(np.float32), range(BATCH, len(images), BATCH))
    return np.concatenate([np.asarray(scores(batch, training=False)) for batch in batches])


def _int8_scores(model: keras.Model, calibration: np.ndarray, images: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "int8.tflite")
        path.write_bytes(convert(model, Precision.INT8, pixels=calibration, logits=True))
        return Runner(path, inspect(path)).outputs(images.astype(np.float32))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


if __name__ == "__main__":
    main()

"""Published nets as int8, with and without equalization and bias correction, as a table.

Compares the int8 file's scores with the float model's, on images not used for calibration: the root mean
square of the difference divided by that of the scores (each image's mean subtracted), and how often both
predict the same class. DenseNet-BC 100-12 runs on CIFAR-10. ImageNet's images cannot be shipped, so MobileNet
1.0_224 and SqueezeNet 1.1 run on enlarged CIFAR-10 images and crops of scikit-learn's two photographs: only
rows of the same net are comparable.

    PIPELINE_CIFAR10=cifar10.npz python benchmarks/equalize.py [FOLDER OF WEIGHTS]
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

from export.check.runner import Runner
from export.convert import convert
from export.graph.rewrite import without_probabilities
from export.precisions import Precision
from export.quantization.correct_bias import correct_bias
from export.quantization.equalize import equalize
from export.settings import ExportSettings
from export.tflite.inspect import inspect
from models.build import build
from models.checkpoints import CHECKPOINTS, load_checkpoint

SHARED_WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"
NUM_CALIBRATION, NUM_TEST = 80, 200
NUM_CROPS = {"calibration": 40, "test": 100}
BATCH = 25


def main() -> None:
    """Prints a row for each net and each way to make its int8 file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED_WEIGHTS
    missing = [each.file for each in CHECKPOINTS.values() if not (folder / each.file).exists()]
    if missing:
        sys.exit(f"{folder} holds no {', '.join(missing)}: give the folder of the published weights")
    if "PIPELINE_CIFAR10" not in os.environ:
        sys.exit("set PIPELINE_CIFAR10 to the path of a cifar10.npz")
    print("| net | int8 file | error / scores | same class as float |\n| --- | --- | ---: | ---: |")
    for name, checkpoint in CHECKPOINTS.items():
        model = build(checkpoint.family, **checkpoint.knobs)
        load_checkpoint(model, folder / checkpoint.file)
        calibration, test = (_images(part, model.input_shape[1]) for part in ("calibration", "test"))
        expected = _float_scores(model, test)
        even = equalize(model, calibration).model
        variants = {
            "calibrated": model,
            "equalized": even,
            "biases corrected": correct_bias(model, calibration).model,
            "both (`--equalize`)": correct_bias(even, calibration).model,
        }
        for way, variant in variants.items():
            found = _int8_scores(variant, calibration, test)
            error, scores = found - expected, expected - expected.mean(axis=1, keepdims=True)
            agreement = 100 * np.mean(found.argmax(axis=1) == expected.argmax(axis=1))
            print(f"| {name} | {way} | {_rms(error) / _rms(scores):.3f} | {agreement:.1f}% |", flush=True)
        print(f"{name}: {len(calibration)} images calibrate, {len(test)} others compared", file=sys.stderr)


def _images(part: str, size: int) -> np.ndarray:
    """Images (n, size, size, 3) uint8 of one half: CIFAR-10's, with crops for nets of larger inputs."""
    with np.load(os.environ["PIPELINE_CIFAR10"]) as arrays:
        small = arrays["x_train"] if part == "calibration" else arrays["x_test"]
    if small.shape[1] == size:
        return small[: NUM_CALIBRATION + NUM_CROPS["calibration"]] if part == "calibration" else small[:2000]
    small = small[: NUM_CALIBRATION if part == "calibration" else NUM_TEST]
    return _enlarged(small, part, size)


def _enlarged(small: np.ndarray, half: str, size: int) -> np.ndarray:
    """Enlarged images and crops of one half of the photographs: (n, size, size, 3) uint8."""
    large = [_resized(image, size) for image in small]
    random = np.random.default_rng(list(NUM_CROPS).index(half))
    photographs = load_sample_images().images
    for number in range(NUM_CROPS[half]):
        photograph = photographs[number % 2]
        middle = photograph.shape[1] // 2
        photograph = photograph[:, :middle] if half == "calibration" else photograph[:, middle:]
        side = random.integers(120, 300)
        top, left = (random.integers(0, length - side + 1) for length in photograph.shape[:2])
        large.append(_resized(photograph[top : top + side, left : left + side], size))
    return np.stack(large)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def _float_scores(model: keras.Model, images: np.ndarray) -> np.ndarray:
    scores = without_probabilities(model)
    batches = np.split(images.astype(np.float32), range(BATCH, len(images), BATCH))
    return np.concatenate([np.asarray(scores(batch, training=False)) for batch in batches])


def _int8_scores(model: keras.Model, calibration: np.ndarray, images: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "int8.tflite")
        path.write_bytes(convert(model, ExportSettings(Precision.INT8, logits=True), pixels=calibration))
        return Runner(path, inspect(path)).outputs(images.astype(np.float32))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


if __name__ == "__main__":
    main()

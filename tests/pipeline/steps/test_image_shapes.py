"""Models of one channel, and of images that are not square, from export to the phone's row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from pipeline.cli import run

HEIGHT, WIDTH = 20, 12
SIDE = 40
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int16x8")
layers = keras.layers


@pytest.fixture(scope="module")
def photos(runs_of_module: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Colour noise of two classes, brighter on the left or on the right."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = random.integers(0, 100, (60, SIDE, SIDE, 3))
    images[labels == 0, :, : SIDE // 2] += 60
    images[labels == 1, :, SIDE // 2 :] += 60
    shared = {"y_train": labels[:40], "x_test": images[40:].astype(np.uint8), "y_test": labels[40:]}
    arrays = {"x_train": images[:40].astype(np.uint8), **shared}
    np.savez("photos.npz", **arrays)
    return arrays


@pytest.fixture(scope="module")
def model(photos: dict[str, Any]) -> keras.Model:
    """A grey net, 20 high and 12 wide, that finds the brighter half in most images."""
    keras.utils.set_random_seed(1)
    net = keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    kernel = np.zeros((9, 5, 4, 2))
    kernel[:, :2, :, 0] = kernel[:, 3:, :, 1] = 0.2
    net.layers[-1].set_weights([kernel.reshape(-1, 2), np.zeros(2)])
    net.layers[1].set_weights([np.full((3, 3, 1, 4), 1 / 9)])
    net.save("grey.keras")
    return net


@pytest.fixture(scope="module")
def files(model: keras.Model) -> Path:
    options = [f"--{each}" for each in PRECISIONS]
    assert run(["export", "grey.keras", "--data", "photos.npz", "--out", "out", *options]) == 0
    return Path("out")


def seen(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the net sees of square colour images, by Pillow alone: the central 40 x 24, resized, grey."""
    left = (SIDE - 24) // 2
    size, box = (WIDTH, HEIGHT), (left, 0, left + 24, SIDE)
    small = [Image.fromarray(each).resize(size, Image.Resampling.BILINEAR, box=box) for each in images]
    return np.stack([np.asarray(image.convert("L"))[..., None] for image in small])


def test_every_precision_is_verified_as_keras_answers_by_itself(model, files, photos, capsys):
    scores = np.asarray(model(seen(photos["x_test"]).astype(np.float32)))
    top1 = 100 * (scores.argmax(1) == photos["y_test"]).mean()
    assert top1 > 60, "the net must tell the halves apart"
    capsys.readouterr()
    assert run(["verify", *map(str, files.glob("*.tflite")), "--data", "photos.npz", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert len(records) == len(PRECISIONS)
    for record in records:
        assert record["keras_top1"] == pytest.approx(top1)
        assert record["agreement"] >= 90


def test_the_sidecar_says_grey_and_both_sides(files):
    sidecar = json.loads(next(files.glob("*_int8.json")).read_text())
    assert sidecar["input"]["shape"] == [1, HEIGHT, WIDTH, 1]
    assert sidecar["pixels"] == "raw 0-255 grey as int8: pixel - 128"


@pytest.mark.parametrize("axis", [(), (1,)])
def test_grey_arrays_calibrate_a_grey_file_with_or_without_an_axis_of_channels(photos, files, axis, capsys):
    grey = {
        name: seen(values).reshape(-1, HEIGHT, WIDTH, *axis) if name.startswith("x") else values
        for name, values in photos.items()
    }
    np.savez("grey.npz", **grey)
    assert run(["export", "grey.keras", "--data", "grey.npz", "--out", "arrays", "--int8"]) == 0
    assert "MediaPipe" not in capsys.readouterr().err, "it takes RGB alone, whatever the type"
    # the same pixels as those that Pillow makes of the colour images, so the very same file
    assert Path("arrays/grey_int8.tflite").read_bytes() == (files / "grey_int8.tflite").read_bytes()


def test_a_grey_model_is_compressed_and_exported_from_its_own_quantizers(model, photos, capsys):
    steps = ["--qat", "--epochs", "1", "--batch-size", "20"]
    assert run(["compress", "grey.keras", "--data", "photos.npz", *steps]) == 0
    assert run(["export", "--int8"]) == 0
    capsys.readouterr()
    assert run(["verify", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["num_samples"] == 20
    assert record["agreement"] >= 90


def test_the_kotlin_takes_both_sides_and_pillow_s_grey(files, photos, tmp_path):
    kit = tmp_path / "kit"
    given = ["--data", "photos.npz", "--out", str(tmp_path), "--android-kit", str(kit)]
    assert run(["export", "grey.keras", "--int8", *given]) == 0
    kotlin = (kit / "LiteRtClassifier.kt").read_text()
    assert f"const val WIDTH = {WIDTH}\n" in kotlin
    assert f"const val HEIGHT = {HEIGHT}\n" in kotlin
    assert f"const val INPUT_BYTES = {WIDTH * HEIGHT}\n" in kotlin
    assert f"WIDTH = {WIDTH}\nprivate const val HEIGHT = {HEIGHT}" in (kit / "Pixels.kt").read_text()
    (formula,) = re.findall(r"input\.put\((.+)\.toByte\(\)\)\n", kotlin)
    python = formula.replace("shr", ">>").replace("and", "&")
    pixels = photos["x_test"][0].reshape(-1, 3)[:200]
    packed = pixels.astype(int) @ [1 << 16, 1 << 8, 1] | 0xFF << 24  # ARGB, as Bitmap.getPixels gives it
    found = [eval(python, {"pixel": pixel}) for pixel in packed.tolist()]
    assert found == np.asarray(Image.fromarray(pixels[np.newaxis]).convert("L"))[0].tolist()
    assert not (kit / "MediaPipeClassifier.kt").exists(), "it takes RGB alone"
    assert "takes RGB images only" in (kit / "README.md").read_text()


def test_the_report_shows_both_sides_and_grey(files, capsys):
    assert run(["report", "--format", "md"]) == 0
    assert f"{HEIGHT} x {WIDTH} px grey" in capsys.readouterr().out

"""Outputs that are NaN or infinite are counted and said: never right, never in agreement, never 0.0 apart."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from export.check.verify import Samples, verify
from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings
from pipeline.cli import run

FLOAT32 = ExportSettings(Precision.FLOAT32)
GREYS = [200, 50, 220, 60, 90, 250]
"""The roots of grey - 128 are no numbers for three of them."""


def root_net(*, softmax=True):
    """Scores from the square root of the mean grey less 128: NaN for a dark image."""
    image = keras.Input((8, 8, 3))
    x = keras.ops.sqrt(keras.layers.GlobalAveragePooling2D()(image) - 128.0)
    scores = keras.layers.Dense(2, name="scores")
    x = scores(x)
    model = keras.Model(image, keras.layers.Softmax()(x) if softmax else x)
    scores.set_weights([np.array([[0.1, -0.1]] * 3), np.zeros(2)])
    return model


def greys(values):
    return np.stack([np.full((8, 8, 3), value, np.uint8) for value in values])


def verified(model, path, values):
    path.write_bytes(convert(model, FLOAT32))
    batches = [(greys(values), np.zeros(len(values), int))]
    return verify(
        model, path, Samples(batches=batches, dataset="greys", dataset_fingerprint="", split="test")
    )


def test_images_without_a_number_are_neither_right_nor_in_agreement(tmp_path):
    found = verified(root_net(), tmp_path / "model.tflite", GREYS)
    assert (found.num_keras_not_finite, found.num_tflite_not_finite) == (3, 3)
    assert (found.agreement, found.keras_top1, found.tflite_top1) == (50, 50, 50)
    assert found.max_abs_difference == pytest.approx(0, abs=1e-5)


def test_no_difference_is_told_where_no_output_is_a_number(tmp_path):
    found = verified(root_net(), tmp_path / "model.tflite", [50, 60])
    assert (found.max_abs_difference, found.agreement, found.tflite_top1) == (None, 0, 0)
    assert (found.num_keras_not_finite, found.num_tflite_not_finite) == (2, 2)


def test_infinite_scores_count_as_none(tmp_path):
    model = root_net(softmax=False)
    model.get_layer("scores").set_weights([np.full((3, 2), 3e38), np.zeros(2)])
    found = verified(model, tmp_path / "model.tflite", [200, 220])
    assert (found.num_keras_not_finite, found.max_abs_difference, found.agreement) == (2, None, 0)


def test_a_file_of_ordinary_numbers_has_none(net, exported, test_images):
    batches = [(test_images, np.zeros(len(test_images), int))]
    found = verify(
        net,
        exported("int8"),
        Samples(batches=batches, dataset="blocks", dataset_fingerprint="", split="test"),
    )
    assert (found.num_keras_not_finite, found.num_tflite_not_finite) == (0, 0)


def test_the_command_says_so_and_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root_net().save("root.keras")
    random = np.random.default_rng(0)
    for name, grey in (("bright", 200), ("dark", 50)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(grey - 20, grey + 20, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    assert run(["export", "root.keras", "--float32", "--data", "photos"]) == 0
    (file,) = Path("runs").glob("*/export/*.tflite")
    capsys.readouterr()
    assert run(["verify", str(file), "--split", "train"]) == 2  # no data set yet: nothing was run
    assert run(["verify", str(file), "--split", "train", "--data", "photos"]) == 1
    printed = capsys.readouterr()
    assert "gives NaN or infinite values on" in printed.err
    assert "not finite" in printed.out
    assert run(["verify", str(file), "--data", "photos", "--split", "train", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)[0]
    assert record["num_tflite_not_finite"] > 0

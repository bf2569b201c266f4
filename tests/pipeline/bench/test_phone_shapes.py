"""`bench --adb` and `verify --adb` of grey models and of oblong ones, beside LiteRT run by hand here."""

import json

import keras
import numpy as np
import pytest

from export.files import sha256_of
from pipeline.cli import run

SHAPES = {"grey": (9, 9, 1), "oblong": (8, 20, 3)}
NUM_TEST = 4


@pytest.fixture(params=SHAPES)
def exported(request, tmp_path, monkeypatch):
    """The paths of a float32 and an int8 file, their test images and labels, and the data set's path."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    shape = SHAPES[request.param]
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    net.save(tmp_path / "net.keras")
    images = np.random.default_rng(0).integers(0, 256, (20 + NUM_TEST, *shape)).astype(np.uint8)
    stored = images[..., 0] if shape[-1] == 1 else images  # grey arrays mostly come without a channel
    labels = np.arange(len(images)) % 3
    data = tmp_path / "images.npz"
    np.savez(data, x_train=stored[:20], y_train=labels[:20], x_test=stored[20:], y_test=labels[20:])
    words = [
        "export",
        str(tmp_path / "net.keras"),
        "--float32",
        "--int8",
        "--data",
        str(data),
        "--scale",
        "1",
    ]
    assert run(words) == 0
    paths = sorted((tmp_path / "runs").glob("*/export/*.tflite"))
    return paths, images[20:], labels[20:], data


def answers_by_hand(path, images):
    """The class of each image, by LiteRT: an int8 file takes the pixel less 128."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert tuple(taken["shape"][1:]) == images.shape[1:]
    found = []
    for image in images:
        shifted = image.astype(np.int16) - (128 if taken["dtype"] == np.int8 else 0)
        interpreter.set_tensor(taken["index"], shifted.astype(taken["dtype"])[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(given["index"])[0].argmax())
    return np.array(found)


def test_its_files_are_measured_and_answer_as_here(exported, bench, lab, phone, capsys):
    paths, images, labels, data = exported
    capsys.readouterr()
    status, out, _ = bench(*paths, "--json")
    assert status == 0
    measured = {each["artifact_sha256"]: each for each in json.loads(out)}
    assert set(measured) == {sha256_of(path) for path in paths}
    assert all(each["valid"] and each["median_ms"] > 0 for each in measured.values())

    verify = ["verify", "--adb", "--benchmark-model", str(lab.benchmark_model), "--json", "--data", str(data)]
    status = run([*verify, *map(str, paths)])
    out = capsys.readouterr().out
    answers = {each["artifact_sha256"]: each for each in json.loads(out[out.index("[") :])}
    assert status == 0
    for path in paths:
        answer = answers[sha256_of(path)]
        right = 100 * np.mean(answers_by_hand(path, images) == labels)
        assert (answer["valid"], answer["num_samples"], answer["agreement"]) == (True, NUM_TEST, 100)
        assert answer["phone_top1"] == answer["host_top1"] == pytest.approx(right)
    told = {word for each in phone.runs() for word in each.argv if word.startswith("--input_layer_shape=")}
    assert told == {"--input_layer_shape=" + ",".join(map(str, (1, *images.shape[1:])))}

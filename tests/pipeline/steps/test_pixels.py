"""Models from elsewhere that were trained on other pixels than raw ones: export says so, and stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pipeline.cli import run

layers = keras.layers
SIZE = 16


def brightest_channel(order: str = "rgb") -> keras.Model:
    """Says which channel is the brightest, on values between -2 and 2; larger ones saturate it."""
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(image)
    x = layers.Dense(3, activation="tanh", name="squeezed")(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="classes")(x))
    model.get_layer("squeezed").set_weights([0.5 * np.eye(3), np.zeros(3)])
    turned = np.eye(3) if order == "rgb" else np.eye(3)[::-1]
    model.get_layer("classes").set_weights([20 * turned, np.zeros(3)])
    return model


@pytest.fixture(scope="module")
def models(runs_of_module: Path) -> Path:
    """rgb.keras, bgr.keras, and double.keras, which has a Rescaling and was fed rescaled pixels too."""
    brightest_channel().save(runs_of_module / "rgb.keras")
    brightest_channel("bgr").save(runs_of_module / "bgr.keras")
    inner = brightest_channel()
    inside = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255), inner])
    inside.save(runs_of_module / "inside.keras")
    return runs_of_module


def test_a_model_of_a_fixed_batch_is_tried_too(
    models: Path, tmp_path: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    image = keras.Input((SIZE, SIZE, 3), batch_size=32)
    keras.Model(image, brightest_channel()(image)).save(tmp_path / "fixed.keras")
    options = ["--float32", "--data", str(tiny_npz), "--out", str(tmp_path / "out")]
    status, said = exported(capsys, str(tmp_path / "fixed.keras"), *options)
    assert status == 2
    assert "--scale 0.00392157 --offset 0" in said


def exported(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    status = run(["export", *arguments])
    return status, " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("precision", ["--float32", "--int8"])
def test_a_model_fed_with_0_to_1_is_not_exported_for_raw_pixels(
    models: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str], precision: str
):
    out = models / f"stopped{precision}"
    status, said = exported(capsys, "rgb.keras", precision, "--data", str(tiny_npz), "--out", str(out))
    assert status == 2
    assert not out.exists()
    assert "--scale 0.00392157 --offset 0" in said
    assert "0..255: 33.9%" in said
    assert "0..1: 100.0%" in said


def test_the_options_that_it_names_are_taken_and_confirmed(
    models: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--scale", "0.00392157", "--offset", "0", "--data", str(tiny_npz), "--out", str(models / "ok")]
    status, said = exported(capsys, "rgb.keras", "--float32", *options)
    assert status == 0
    assert "fed 0..1 it is right on 100.0% of 109 images" in said


def test_raw_pixels_asked_for_are_kept_with_a_warning(
    models: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--scale", "1", "--data", str(tiny_npz), "--out", str(models / "kept")]
    status, said = exported(capsys, "rgb.keras", "--float32", *options)
    assert status == 0
    assert "fed 0..255 it is right on 33.9% of 109 images, fed 0..1 on 100.0%" in said


def test_a_rescaling_inside_is_enough(models: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--data", str(tiny_npz), "--out", str(models / "inside")]
    status, said = exported(capsys, "inside.keras", "--float32", *options)
    assert status == 0
    assert "no other convention can be clearly better" in said


@pytest.mark.parametrize("options", [[], ["--labels", "names.txt"]])
def test_without_labelled_images_one_line_says_that_nothing_was_tried(
    models: Path, capsys: pytest.CaptureFixture[str], options: list[str]
):
    (models / "names.txt").write_text("a\nb\nc\n")
    status, said = exported(capsys, "rgb.keras", "--float32", "--out", str(models / "untried"), *options)
    assert status == 0
    assert "taken as 0..255, untried, since there are no labelled images" in said


def test_names_that_match_only_in_part_are_not_tried(
    models: Path, tmp_path: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    content = dict(np.load(tiny_npz))
    two = tmp_path / "two.npz"
    kept = {name: content[f"y_{name}"] < 2 for name in ("train", "test")}
    np.savez(two, **{name: values[kept[name[2:]]] for name, values in content.items()})
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    options = ["--labels", str(tmp_path / "names.txt"), "--data", str(two), "--out", str(tmp_path / "out")]
    status, said = exported(capsys, "rgb.keras", "--float32", *options)
    assert status == 0
    assert "untried, since its outputs cannot be matched with the classes of the images" in said


def litert(path: Path, images: Any) -> Any:
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = gives["quantization"]
    found = []
    for image in images:
        stored = image if takes["dtype"] == np.float32 else image - 128
        interpreter.set_tensor(takes["index"], stored[None].astype(takes["dtype"]))
        interpreter.invoke()
        output = interpreter.get_tensor(gives["index"])[0].astype(np.float32)
        found.append((output - zero_point) * scale if scale else output)
    return np.array(found)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("int8", 0.05)])
def test_bgr_pixels_are_turned_inside_the_file(
    models: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str], precision: str, tolerance: float
):
    """The file takes raw RGB and gives what the model gives for the values that it was trained on."""
    out = models / f"bgr_{precision}"
    scales = ["--scale", "0.01,0.008,0.006", "--offset", "-0.3,-0.2,-0.1", "--channels", "bgr"]
    status, said = exported(
        capsys, "bgr.keras", f"--{precision}", *scales, "--data", str(tiny_npz), "--out", str(out)
    )
    assert status == 0, said
    images = np.load(tiny_npz)["x_test"].astype(np.float32)
    fed = images[..., ::-1] * np.float32([0.01, 0.008, 0.006]) + np.float32([-0.3, -0.2, -0.1])
    expected = np.asarray(keras.saving.load_model("bgr.keras")(fed))
    np.testing.assert_allclose(litert(out / f"bgr_{precision}.tflite", images), expected, atol=tolerance)
    record = json.loads((out / f"bgr_{precision}.json").read_text())
    assert record["knobs"] == {
        "scale": [0.01, 0.008, 0.006],
        "offset": [-0.3, -0.2, -0.1],
        "channels": "bgr",
    }


@pytest.mark.parametrize("given", ["1,2", "1,2,3,4", "x", "nan", "1,,2"])
def test_scales_that_are_not_one_or_three_numbers_are_refused(
    models: Path, capsys: pytest.CaptureFixture[str], given: str
):
    assert exported(capsys, "rgb.keras", "--scale", given)[0] == 2


@pytest.mark.parametrize("options", [["--prune", "0.5"], ["--max-drop", "1"]])
def test_compress_stops_too(
    models: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str], options: list[str]
):
    capsys.readouterr()
    assert run(["compress", "rgb.keras", *options, "--data", str(tiny_npz)]) == 2
    assert "--scale 0.00392157 --offset 0" in capsys.readouterr().err

"""`pipeline predict` beside a bare LiteRT loop, on images that can be read and on others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from pipeline.cli import run

SIDE = 16
NAMES = ("one", "two", "three", "four", "five", "six")
ENDINGS = {"softmax": (6, "softmax"), "scores": (6, None), "binary": (1, "sigmoid"), "labels": (3, "sigmoid")}
layers = keras.layers


def net(units: int, activation: str | None) -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 64, -2.0),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(units, activation=activation),
        ]
    )


@pytest.fixture(scope="module")
def files(runs_of_module: Path) -> dict[str, Path]:
    """Ending -> a float32 file; int8: the first one's int8 file."""
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (60, SIDE, SIDE, 3)).astype(np.uint8)
    np.savez("noise.npz", x_train=x, y_train=np.arange(60) % 6, x_test=x[:6], y_test=np.arange(6))
    found = {}
    for ending, (units, activation) in ENDINGS.items():
        net(units, activation).save(f"{ending}.keras")
        names = NAMES[: 2 if units == 1 else units]
        Path(f"{ending}.txt").write_text("\n".join(names))
        data = ["--int8", "--data", "noise.npz", "--scale", "1"] if ending == "softmax" else []
        asked = ["--float32", *data, "--labels", f"{ending}.txt", "--out", ending]
        assert run(["export", f"{ending}.keras", *asked]) == 0
        found[ending] = next(Path(ending).glob("*_float32.tflite")).absolute()
    return found | {"int8": next(Path("softmax").glob("*_int8.tflite")).absolute()}


@pytest.fixture(scope="module")
def photos(runs_of_module: Path) -> Path:
    """Six images of the files' own size, so that their pixels are what is fed."""
    folder = runs_of_module / "photos"
    random = np.random.default_rng(1)
    for number in range(6):
        place = folder / f"part {number % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        levels = random.integers(0, 60 + 39 * number, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(levels).save(place)
    return folder


def predicted(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["predict", *map(str, words), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def by_hand(file: Path, image: str) -> Any:
    """The dequantized outputs of a bare interpreter."""
    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    image_pixels = np.asarray(Image.open(image)).astype(np.int16)
    image_pixels -= 128 if taken["dtype"] == np.int8 else 0
    interpreter.set_tensor(taken["index"], image_pixels.astype(taken["dtype"])[np.newaxis])
    interpreter.invoke()
    stored = interpreter.get_tensor(given["index"])[0].astype(np.float64)
    scale, zero_point = given["quantization"]
    return scale * (stored - zero_point) if scale else stored


@pytest.mark.parametrize("ending", ["softmax", "int8", "scores"])
def test_classes_are_those_of_a_bare_interpreter(files, photos, capsys, ending):
    found = predicted(capsys, files[ending], photos)
    assert len(found) == 6
    for each in found:
        outputs = by_hand(files[ending], each["image"])
        if ending == "scores":
            outputs = np.exp(outputs) / np.exp(outputs).sum()
        order = np.argsort(-outputs, kind="stable")[:5]
        assert [share["name"] for share in each["classes"]] == [NAMES[place] for place in order]
        # float32's rounding
        np.testing.assert_allclose(
            [share["probability"] for share in each["classes"]], outputs[order], rtol=1e-5
        )
        assert [share["holds"] for share in each["classes"]] == [True, False, False, False, False]
        assert each["ms"] > 0


def test_one_sigmoid_names_one_of_two_classes(files, photos, capsys):
    for each in predicted(capsys, files["binary"], photos):
        (second,) = by_hand(files["binary"], each["image"])
        shares = {share["name"]: share["probability"] for share in each["classes"]}
        assert shares == {"one": pytest.approx(1 - second), "two": pytest.approx(second)}
        assert each["classes"][0]["name"] == ("two" if second > 0.5 else "one")
        assert [share["holds"] for share in each["classes"]] == [True, False]


def test_each_of_several_sigmoids_holds_or_does_not(files, photos, capsys):
    for each in predicted(capsys, files["labels"], photos):
        outputs = by_hand(files["labels"], each["image"])
        held = {share["name"] for share in each["classes"] if share["holds"]}
        assert held == {NAMES[place] for place in np.flatnonzero(outputs > 0.5)}
        assert each["has_labels"]
    assert run(["predict", str(files["labels"]), str(photos)]) == 0
    assert "each is its own yes or no" in capsys.readouterr().out


def test_broken_images_are_named_and_the_others_go_on(files, photos, tmp_path, capsys):
    whole = (photos / "part 0" / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:200])
    (tmp_path / "words.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "good.png").write_bytes(whole)
    (tmp_path / "notes.txt").write_text("left out of a folder")
    found = predicted(capsys, files["softmax"], tmp_path, status=1)
    problems = {Path(each["image"]).name: each["problem"] for each in found}
    assert set(problems) == {"cut.png", "words.jpg", "empty.png", "good.png"}
    assert [name for name, problem in problems.items() if not problem] == ["good.png"]
    assert run(["predict", str(files["softmax"]), str(tmp_path), "--top", "2"]) == 1
    printed = capsys.readouterr()
    assert "good.png" in printed.out
    assert "cut.png: " in printed.err
    assert "3 of 4 answers missing" in printed.err


def test_file_of_another_tool_takes_the_pixels_and_names_given(files, photos, tmp_path, capsys):
    foreign = tmp_path / "theirs.tflite"
    shutil.copy(files["softmax"], foreign)
    ours = predicted(capsys, files["softmax"], photos)
    names = ["--labels", "softmax.txt", "--scale", "1"]
    theirs = predicted(capsys, foreign, photos, *names)
    assert [each["classes"] for each in theirs] == [each["classes"] for each in ours]
    darker = predicted(capsys, foreign, photos, "--labels", "softmax.txt", "--scale", "1/255")
    assert [each["classes"] for each in darker] != [each["classes"] for each in ours]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["FILE", "nowhere.png"], "there is no image or folder nowhere.png"),
        (["nowhere", "."], "nowhere"),
        (["noise.npz", "softmax"], "Expected the file or the run first"),
        (["FILE"], "IMAGE|FOLDER"),
        (["FILE", "photos", "--delegate", "gpu"], "--delegate is for phones"),
        (["FILE", "photos", "--scale", "2"], "are for files without a sidecar"),
        (["FILE", "softmax"], "holds no image"),
    ],
)
def test_mistakes_are_one_line(files, photos, capsys, words, reason):
    capsys.readouterr()
    assert run(["predict", *(word.replace("FILE", str(files["softmax"])) for word in words)]) == 2
    assert reason in capsys.readouterr().err

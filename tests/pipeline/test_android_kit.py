"""--labels and --android-kit through the command line; the kit's numbers against the file and the runtime."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.artifact import ExportArtifact, read_sidecar
from export.files import sha256_of
from pipeline.cli import run
from pipeline.data import pixels

NAMES = ["red, or so", "grün", '"blue" $1']
ALWAYS = {
    "Pixels.kt",
    "LiteRtClassifier.kt",
    "README.md",
    "dependencies.gradle.kts",
    "labels.txt",
    "kit.json",
}
SIDE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("kit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def labels(folder: Path) -> Path:
    path = folder / "names.txt"
    path.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """A model of the user's own, with a name that Kotlin would take for a template."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 128, -1.0),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
            layers.Softmax(),
        ]
    )
    path = folder / "my$net.keras"
    net.save(path)
    return path


@pytest.fixture(scope="module")
def exported(folder: Path, labels: Path, model: Path, tiny_npz: Path) -> Any:
    """(precision, other arguments) -> the kit's folder and its file's sidecar; each made once."""
    made: dict[tuple[str, ...], tuple[Path, ExportArtifact]] = {}

    def export(*arguments: str) -> tuple[Path, ExportArtifact]:
        if arguments not in made:
            place = folder / f"made{len(made)}"
            options = ["--labels", str(labels), "--android-kit", str(place / "kit"), "--out", str(place)]
            assert run(["export", str(model), *arguments, "--data", str(tiny_npz), *options]) == 0
            (file,) = (place / "kit").glob("*.tflite")
            made[arguments] = place / "kit", read_sidecar(place / file.name)
        return made[arguments]

    return export


FILES = [("--int8",), ("--int8", "--io-dtype", "int8"), ("--float32",)]


def constants(kotlin: str) -> dict[str, str]:
    """The constants that stand in Kotlin code, as they are written there."""
    return dict(re.findall(r"const val (\w+) = (.+)", kotlin))


def unquoted(literal: str) -> str:
    """What a Kotlin string literal means: as in JSON, with \\$ for a dollar sign."""
    assert not re.search(r"(?<!\\)\$", literal), "a template, not a dollar sign"
    return str(json.loads(literal.replace("\\$", "$")))


@pytest.mark.parametrize("arguments", FILES)
def test_the_kits_numbers_are_those_of_the_file(arguments: tuple[str, ...], exported: Any):
    # the numbers that LiteRT itself reads in the kit's file, not those of our own inspection
    from ai_edge_litert.interpreter import Interpreter

    kit, artifact = exported(*arguments)
    found = constants((kit / "LiteRtClassifier.kt").read_text())
    file = kit / unquoted(found["MODEL"])
    assert sha256_of(file) == artifact.sha256
    interpreter = Interpreter(model_path=str(file))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert [1, int(found["HEIGHT"]), int(found["WIDTH"]), 3] == list(taken["shape"])
    assert int(found["INPUT_BYTES"]) == taken["shape"].prod() * np.dtype(taken["dtype"]).itemsize
    assert int(found["OUTPUT_BYTES"]) == given["shape"].prod() * np.dtype(given["dtype"]).itemsize
    scale, zero_point = given["quantization"]
    if scale:
        assert np.float32(found["SCALE"].rstrip("f")) == np.float32(scale)
        assert int(found["ZERO_POINT"]) == zero_point
    else:
        assert "SCALE" not in found
    size = constants((kit / "Pixels.kt").read_text())
    assert (size["WIDTH"], size["HEIGHT"]) == (found["WIDTH"], found["HEIGHT"])
    assert artifact.sha256 in (kit / "README.md").read_text()


@pytest.mark.parametrize("arguments", FILES)
def test_what_the_kotlin_does_gives_the_scores_of_the_model(
    arguments: tuple[str, ...], exported: Any, model: Path, tiny_npz: Path
):
    # its lines for feeding and reading, done by hand, against Keras on the same raw pixels
    kit, artifact = exported(*arguments)
    images = np.load(tiny_npz)["x_test"][:10]
    expected = keras.saving.load_model(model).predict(images.astype(np.float32), verbose=0)
    found = [transcribed(kit, artifact, image) for image in images]
    # 0.02 of a probability: what 8 bits in a net of two layers may cost
    np.testing.assert_allclose(found, expected, atol=0.02)


def transcribed(kit: Path, artifact: ExportArtifact, image: np.ndarray) -> np.ndarray:
    """LiteRtClassifier.classify() in Python: its `put` lines, its run, its `score`."""
    from ai_edge_litert.interpreter import Interpreter

    kotlin = (kit / "LiteRtClassifier.kt").read_text()
    feeding = re.findall(r"input\.(put\w*)\((.+)\)\n", kotlin)
    assert len(feeding) == 3
    packed = image.astype(int) @ [1 << 16, 1 << 8, 1] | 0xFF << 24  # ARGB, as Bitmap.getPixels gives it
    stored = bytearray()
    for pixel in packed.ravel().tolist():
        for put, value in feeding:
            number = eval(
                re.sub(r"\.to\w+\(\)", "", value).replace("shr", ">>").replace("and", "&"), {"pixel": pixel}
            )
            assert -128 <= number <= 255
            stored += np.float32(number).tobytes() if put == "putFloat" else bytes([number & 0xFF])
    interpreter = Interpreter(model_path=str(kit / artifact.path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(taken["index"], np.frombuffer(stored, taken["dtype"]).reshape(taken["shape"]))
    interpreter.invoke()
    output = interpreter.get_tensor(given["index"])[0].tobytes()
    if "output.getFloat(4 * index)" in kotlin:
        return np.frombuffer(output, np.float32)
    unsigned = "output.get(index).toInt() and 0xFF" in kotlin
    numbers = np.frombuffer(output, np.uint8 if unsigned else np.int8).astype(int)
    found = constants(kotlin)
    assert "return SCALE * (stored - ZERO_POINT)" in kotlin
    return np.float32(found["SCALE"].rstrip("f")) * (numbers - int(found["ZERO_POINT"]))


@pytest.mark.parametrize(("width", "height"), [(67, 40), (40, 67), (16, 16), (129, 64)])
def test_the_kotlins_central_part_is_the_trainings(width: int, height: int, exported: Any):
    # Pixels.kt's formulas, with SIDE for WIDTH and HEIGHT, against what the pipeline's own pixels are made of
    kit, _ = exported("--float32")
    kotlin = (kit / "Pixels.kt").read_text()
    for line in (
        "var width = minOf(photo.width, photo.height * WIDTH / HEIGHT)",
        "var height = minOf(photo.height, photo.width * HEIGHT / WIDTH)",
        "val left = (photo.width - width) / 2",
        "val top = (photo.height - height) / 2",
    ):
        assert line in kotlin
    wide, high = min(width, height), min(height, width)
    left, top = (width - wide) // 2, (height - high) // 2
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    photo = np.stack([across, down, across], axis=-1).astype(np.uint8)
    found = pixels.from_array(photo, SIDE).astype(float)
    # a level a pixel: the levels say where the training's pixels come from; at the border Pillow looks beyond
    centres = (np.arange(SIDE) + 0.5) / SIDE
    inner = slice(1, -1)
    np.testing.assert_allclose(found[0, inner, 0], (left + centres * wide - 0.5)[inner], atol=0.6)
    np.testing.assert_allclose(found[inner, 0, 1], (top + centres * high - 0.5)[inner], atol=0.6)


def test_the_kit_has_mediapipe_where_it_takes_the_file(exported: Any):
    kit, artifact = exported("--int8")
    assert artifact.input.dtype == "uint8", "what MediaPipe takes is the kit's default"
    assert {file.name for file in kit.iterdir()} == ALWAYS | {"MediaPipeClassifier.kt", artifact.path}
    code = (kit / "MediaPipeClassifier.kt").read_text()
    assert unquoted(constants(code)["MODEL"]) == artifact.path == "my$net_int8_uint8.tflite"
    assert "com.google.mediapipe:tasks-vision:" in (kit / "dependencies.gradle.kts").read_text()


def test_the_kit_of_int8_input_has_litert_alone_and_says_why(exported: Any):
    kit, artifact = exported("--int8", "--io-dtype", "int8")
    assert {file.name for file in kit.iterdir()} == ALWAYS | {artifact.path}
    assert "mediapipe" not in (kit / "dependencies.gradle.kts").read_text()
    assert "--io-dtype uint8" in (kit / "README.md").read_text()


def test_labels_stand_in_sidecar_archive_and_kit(exported: Any):
    import zipfile

    kit, artifact = exported("--int8")
    assert list(artifact.class_names) == NAMES
    assert (kit / "labels.txt").read_text(encoding="utf-8").split("\n") == [*NAMES, ""]
    with zipfile.ZipFile(kit / artifact.path) as archive:
        assert archive.read("labels.txt") == (kit / "labels.txt").read_bytes()


def test_of_several_files_the_int8_one_is_taken_and_said(
    capsys: pytest.CaptureFixture[str], model: Path, tiny_npz: Path, tmp_path: Path
):
    both = ["--float32", "--int8", "--data", str(tiny_npz), "--num-calibration", "20"]
    assert run(["export", str(model), *both, "--android-kit", str(tmp_path / "kit")]) == 0
    assert [file.name for file in (tmp_path / "kit").glob("*.tflite")] == ["my$net_int8_uint8.tflite"]
    assert "wrote an Android kit of my$net_int8_uint8.tflite" in capsys.readouterr().err


def test_int8_export_says_what_mediapipe_needs(
    capsys: pytest.CaptureFixture[str], model: Path, tiny_npz: Path, tmp_path: Path
):
    few = ["--data", str(tiny_npz), "--num-calibration", "5", "--out", str(tmp_path)]
    assert run(["export", str(model), "--int8", *few]) == 0
    assert "give --io-dtype uint8" in capsys.readouterr().err
    assert run(["export", str(model), "--int8", "--io-dtype", "uint8", *few]) == 0
    assert "--io-dtype" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty. Expected 3 class names"),
        (b"\n \n", "is empty. Expected 3 class names"),
        (b"a\nb\n", "has 2 class names, but the model has 3 classes."),
        (b"a\nb\nc\nd\n", "has 4 class names, but the model has 3 classes."),
        (b"a\n\nc\n", "line 2 of {path} is empty"),
        (b"a\nb\n\xff\n", "is not UTF-8 (byte 4 is 0xff)"),
        (b"a\nb\0\nc", "line 2 of {path} holds a NUL"),
        (None, "cannot read the labels file {path} (No such file or directory)"),
    ],
)
def test_a_labels_file_that_does_not_fit_is_refused(
    content: bytes | None, message: str, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
):
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "out"
    assert run(["export", str(model), "--float32", "--labels", str(path), "--out", str(out)]) == 2
    assert message.format(path=path) in capsys.readouterr().err
    assert not out.exists()


def test_a_labels_file_from_windows_is_read(model: Path, tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_bytes("﻿eins\r\nzwei \r\ndrei\r\n\r\n".encode())
    assert run(["export", str(model), "--float32", "--labels", str(path), "--out", str(tmp_path)]) == 0
    assert read_sidecar(tmp_path / "my$net_float32.tflite").class_names == ("eins", "zwei", "drei")


def test_a_folder_with_other_things_is_left_alone(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "thesis.txt").write_text("mine")
    out = ["--out", str(tmp_path / "out")]
    assert run(["export", str(model), "--float32", *out, "--android-kit", str(tmp_path / "kit")]) == 2
    assert "holds thesis.txt and is not an earlier kit" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "kit").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "out").exists(), "refused before the conversion"


def test_a_kit_takes_the_place_of_an_earlier_one_but_not_of_edits(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
):
    kit = tmp_path / "kit"
    kit.mkdir()  # an empty folder is as good as none
    command = ["export", str(model), "--out", str(tmp_path / "out"), "--android-kit", str(kit)]
    assert run([*command, "--float32"]) == 0
    assert run([*command, "--float16"]) == 0
    assert [file.name for file in kit.glob("*.tflite")] == ["my$net_float16.tflite"]
    before = (kit / "Pixels.kt").read_text() + "// mine\n"
    (kit / "Pixels.kt").write_text(before)
    capsys.readouterr()
    assert run([*command, "--float32"]) == 2
    assert "Pixels.kt was added or changed" in capsys.readouterr().err
    assert (kit / "Pixels.kt").read_text() == before


def test_a_kit_that_cannot_be_written_is_not_there(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
):
    (tmp_path / "file").write_text("in the way")
    out = ["--out", str(tmp_path / "out")]
    place = tmp_path / "file" / "kit"
    assert run(["export", str(model), "--float32", *out, "--android-kit", str(place)]) == 1
    assert "cannot write the Android kit to" in capsys.readouterr().err
    assert run(["export", str(model), "--float32", *out, "--android-kit", str(tmp_path / "file")]) == 2
    assert "is a file. Give --android-kit a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_run_with_other_labels_is_verified_on_its_own_data(
    capsys: pytest.CaptureFixture[str], folder: Path, labels: Path, tiny_npz: Path
):
    small = ["--depth", "7", "--growth-rate", "1", "--epochs", "1", "--data", str(tiny_npz)]
    assert run(["train", "densenet", *small]) == 0
    assert run(["export", "--float32", "--labels", str(labels)]) == 0
    capsys.readouterr()
    assert run(["verify", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["num_samples"] == 30

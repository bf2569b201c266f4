"""--calibration: other images than the training's, with or without classes, and exports without labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import pytest
from pictures import fill, picture

from export.artifact import read_sidecar, sidecar_path
from pipeline.cli import run

SIZE = 16


def save_model(path: Path, *, num_classes: int) -> None:
    keras.utils.set_random_seed(0)
    start = [keras.Input((SIZE, SIZE, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3)]
    end = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(num_classes, activation="softmax")]
    keras.Sequential([*start, *end]).save(path)


@pytest.fixture(scope="module")
def folder(runs_of_module: Path) -> Path:
    """mine.keras of 5 outputs, flat/ with 24 images, and two/ with two classes."""
    save_model(runs_of_module / "mine.keras", num_classes=5)
    (runs_of_module / "flat").mkdir()
    for number in range(24):
        picture(number).save(runs_of_module / "flat" / f"{number}.png")
    fill(runs_of_module / "two", per_class=20)
    return runs_of_module


def exported(folder: Path, out: Path, *options: str) -> Path:
    asked = ["export", str(folder / "mine.keras"), "--int8", "--no-equalize", "--out", str(out), *options]
    assert run(asked) == 0
    (file,) = out.glob("*.tflite")
    return file


@pytest.mark.parametrize("images", ["flat", "two"])
def test_any_images_calibrate_a_model_of_the_users_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], images: str
) -> None:
    file = exported(folder, tmp_path, "--calibration", str(folder / images))
    said = " ".join(capsys.readouterr().err.split())
    assert "exported without labels, since no class names were given" in said
    artifact = read_sidecar(file)
    assert artifact.class_names == ("0", "1", "2", "3", "4")
    assert artifact.calibration is not None
    assert artifact.calibration.data == str(folder / images)
    names = {"flat": {"flat"}, "two": {"cat", "dog"}}[images]
    assert set(artifact.calibration.samples_per_class) == names


def test_images_of_other_classes_calibrate_and_give_no_labels(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported(folder, tmp_path, "--data", str(folder / "two"))
    said = " ".join(capsys.readouterr().err.split())
    assert "exported without labels, since two has 2 classes and the model 5" in said
    assert read_sidecar(file).class_names == ("0", "1", "2", "3", "4")


def test_a_labels_file_still_names_the_classes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    options = ["--calibration", str(folder / "flat"), "--labels", str(tmp_path / "names.txt")]
    file = exported(folder, tmp_path / "out", *options)
    assert "without labels" not in capsys.readouterr().err
    assert read_sidecar(file).class_names == ("a", "b", "c", "d", "e")


def test_like_calibrates_with_the_same_images_again(folder: Path, tmp_path: Path) -> None:
    images = shutil.copytree(folder / "flat", tmp_path / "images")
    file = exported(folder, tmp_path / "first", "--calibration", str(images))
    like = ["export", "--like", str(sidecar_path(file)), "--out"]
    assert run([*like, str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    moved = images.rename(tmp_path / "moved")
    assert run([*like, str(tmp_path / "moved-again"), "--calibration", str(moved)]) == 0
    assert (tmp_path / "moved-again" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("images", "told", "status"),
    [("nowhere", "there is no data set at", 2), ("empty", "has no image", 1)],
)
def test_a_folder_that_cannot_calibrate_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], images: str, told: str, status: int
) -> None:
    (tmp_path / "empty").mkdir()
    asked = ["export", str(folder / "mine.keras"), "--int8", "--calibration", str(tmp_path / images)]
    assert run(asked) == status
    assert told in " ".join(capsys.readouterr().err.split())


def test_max_drop_calibrates_with_other_images(
    folder: Path, capsys: pytest.CaptureFixture[str], tiny_npz: Path
) -> None:
    save_model(folder / "three.keras", num_classes=3)
    asked = ["compress", str(folder / "three.keras"), "--data", str(tiny_npz), "--no-qat", "--scale", "1"]
    assert run([*asked, "--max-drop", "100", "--calibration", str(folder / "flat")]) == 0
    (file,) = (folder / "runs").glob("three*/export/*_int8.tflite")
    calibration = read_sidecar(file).calibration
    assert calibration is not None
    assert calibration.data == str(folder / "flat")


def test_calibration_is_refused_where_nothing_is_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", "--qat", "--calibration", "flat"]) == 2
    assert "--calibration is for the int8 file of --max-drop" in " ".join(capsys.readouterr().err.split())

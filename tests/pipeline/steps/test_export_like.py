"""`pipeline export --like FILE.json`: the same bytes again, or one line that says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.artifact import read_sidecar, sidecar_path
from export.precisions import Precision
from pipeline.cli import run

layers = keras.layers


@pytest.fixture(scope="module", autouse=True)
def folder(runs_of_module: Path) -> Path:
    return runs_of_module


@pytest.fixture(scope="module")
def trained(folder: Path, tiny_npz: Path) -> Path:
    small = ["--depth", "7", "--growth-rate", "4", "--epochs", "1", "--batch-size", "32"]
    assert run(["train", "densenet", *small, "--data", str(tiny_npz)]) == 0
    (run_folder,) = (folder / "runs").glob("*-tiny-1")
    return run_folder


@pytest.fixture(scope="module")
def foreign(folder: Path) -> Path:
    """A model of 0..1 from elsewhere, with a 1x1 convolution of which four fifths are zero."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, strides=2, activation="relu", name="first")(image)
    x = layers.Conv2D(64, 1, activation="relu", name="pruned")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="out")(x), name="mine")
    kernel, bias = model.get_layer("pruned").get_weights()
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.8] = 0
    model.get_layer("pruned").set_weights([kernel, bias])
    file = folder / "mine.keras"
    model.save(file)
    return file


def exported(target: Path, out: Path, *options: str) -> Path:
    """The one file that is exported with these options."""
    assert run(["export", str(target), *options, "--out", str(out)]) == 0
    (file,) = out.glob("*.tflite")
    return file


def assert_same_again(file: Path, tmp_path: Path, *options: str) -> None:
    assert run(["export", "--like", str(sidecar_path(file)), "--out", str(tmp_path / "again"), *options]) == 0
    again = tmp_path / "again" / file.name
    assert again.read_bytes() == file.read_bytes()
    before, now = read_sidecar(file), read_sidecar(again)
    assert (now.settings, now.calibration) == (before.settings, before.calibration)
    assert (now.class_names, now.dataset_class_names) == (before.class_names, before.dataset_class_names)


INT8 = ["--int8", "--num-calibration", "30", "--seed", "3"]
OPTIONS = {
    "float32": ["--float32"],
    "float16": ["--float16", "--logits"],
    "dynamic": ["--dynamic", "--no-rewrite"],
    "int16x8": ["--int16x8", "--num-calibration", "20", "--typical"],
    "int8 equalized": [*INT8, "--typical", "--equalize", "--keep-names"],
    "int8 partly float": [*INT8, "--keep-float", "block1_layer1", "--io-dtype", "uint8", "--logits"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_runs_file_is_made_again_to_the_byte(options: list[str], trained: Path, tmp_path: Path):
    file = exported(trained, tmp_path / "first", *options)
    assert_same_again(file, tmp_path)


def test_every_precision_is_tried():
    assert {each for options in OPTIONS.values() for each in Precision if f"--{each}" in options} == set(
        Precision
    )


def test_an_apps_labels_come_from_the_sidecar(trained: Path, tmp_path: Path):
    (tmp_path / "labels.txt").write_text("rouge\nvert\nbleu\n")
    file = exported(trained, tmp_path / "first", "--float16", "--labels", str(tmp_path / "labels.txt"))
    (tmp_path / "labels.txt").unlink()
    assert_same_again(file, tmp_path)
    assert read_sidecar(file).class_names == ("rouge", "vert", "bleu")


@pytest.mark.parametrize("options", [["--int8", "--num-calibration", "20"], ["--float32", "--sparse"]])
def test_a_model_from_elsewhere_is_made_again_with_its_pixels(
    options: list[str], foreign: Path, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tiny_npz.parent)  # --data is a name in this folder, and found from another
    given = ["--data", tiny_npz.name, "--scale", str(1 / 255)]
    file = exported(foreign, tmp_path / "first", *options, *given)
    assert read_sidecar(file).settings.sparse == ("--sparse" in options)
    monkeypatch.chdir(tmp_path)
    assert_same_again(file, tmp_path)


def test_a_model_that_was_moved_is_found_where_it_is_said_to_be(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = exported(foreign, tmp_path / "first", "--float32")
    moved = tmp_path / "moved.keras"
    foreign.rename(moved)
    try:
        capsys.readouterr()
        assert run(["export", "--like", str(sidecar_path(file))]) == 1
        assert one_line(capsys).endswith(f"pipeline export MODEL --like {sidecar_path(file)}")
        assert run(["export", str(moved), "--like", str(sidecar_path(file)), "--out", str(tmp_path)]) == 0
    finally:
        moved.rename(foreign)
    assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_a_run_that_was_renamed_is_found_by_its_checksum(trained: Path, tmp_path: Path):
    file = exported(trained, tmp_path / "first", "--float32")
    renamed = trained.with_name("renamed")
    trained.rename(renamed)
    try:
        assert_same_again(file, tmp_path)
    finally:
        renamed.rename(trained)


def test_other_images_are_refused_and_nothing_is_written(
    trained: Path, tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = exported(trained, tmp_path / "first", *INT8)
    arrays = dict(np.load(tiny_npz))
    arrays["x_train"] = arrays["x_train"][::-1] // 2
    np.savez(tmp_path / "others.npz", **arrays)
    capsys.readouterr()
    like = ["export", "--like", str(sidecar_path(file)), "--out", str(tmp_path / "again")]
    assert run([*like, "--data", str(tmp_path / "others.npz")]) == 1
    said = capsys.readouterr().err
    assert "the calibration images are not those of" in said
    assert "others.npz have changed since, or are others. Nothing was written" in said
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--int8"], "--int8"),
        (["--float32", "--logits"], "--float32, --logits"),
        (["--seed", "0"], "--seed"),
        (["--scale", "1"], "--scale"),
        (["--no-rewrite"], "--rewrite"),
        (["--labels", "names.txt"], "--labels"),
    ],
)
def test_what_the_sidecar_fixes_is_refused_beside_it(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(["export", "--like", str(tmp_path / "x.json"), *options]) == 2
    assert one_line(capsys).startswith(f"pipeline: {named}: the sidecar of --like says that already.")


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (None, 2, "there is no file"),
        ("", 1, "cannot be read as a sidecar"),
        ('{"path": "a.tflite"', 1, "cannot be read as a sidecar"),
        ("[1, 2]", 1, "cannot be read as a sidecar"),
        ('{"settings": 3, "calibration": null}', 1, "cannot be read as a sidecar"),
        ("\x00\xff", 1, "cannot be read as a sidecar"),
    ],
)
def test_a_file_that_is_no_sidecar_is_one_line(
    content: str | None, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "x.json"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    assert run(["export", "--like", str(file)]) == status
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model_name", "../../else", "is no name of a model"),
        ("parent_path", 5, "'parent_path' is 5"),
        ("settings", {"precision": "int4"}, "cannot be read as a sidecar"),
    ],
)
def test_a_sidecar_that_was_changed_by_hand_is_one_line(
    field: str, value: Any, said: str, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = exported(foreign, tmp_path / "first", "--float32")
    record = json.loads(sidecar_path(file).read_text())
    sidecar_path(file).write_text(json.dumps({**record, field: value}))
    capsys.readouterr()
    assert run(["export", "--like", str(sidecar_path(file))]) == 1
    assert said in one_line(capsys)


def test_other_bytes_are_told_with_the_versions(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = exported(foreign, tmp_path / "first", "--float32")
    record = json.loads(sidecar_path(file).read_text())
    record |= {"sha256": "0" * 64, "versions": {**record["versions"], "tensorflow": "2.0.0"}}
    sidecar_path(file).write_text(json.dumps(record))
    assert run(["export", "--like", str(sidecar_path(file)), "--out", str(tmp_path / "again")]) == 1
    assert "is not the same bytes as before" in (said := capsys.readouterr().err)
    assert "tensorflow 2.0.0 then, 2." in said


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line

"""The main job through the command line: train, export, verify, bench, report, on one lineage of files."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.artifact import ExportArtifact, read_sidecar
from export.files import sha256_of
from export.precisions import Precision
from export.verification import Verification
from pipeline.cli import run
from pipeline.records.measurement import Measurement
from pipeline.records.training import TrainRecord, read_record
from pipeline.store.store import open_store

PRECISIONS = list(Precision)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    """What a command prints with --json, read back."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module", autouse=True)
def folder(runs_of_module: Path) -> Path:
    return runs_of_module


@pytest.fixture(scope="module")
def trained(folder: Path, tiny_npz: Path) -> Path:
    arguments = ["--depth", "7", "--growth-rate", "4", "--epochs", "2", "--batch-size", "32"]
    assert run(["train", "densenet", *arguments, "--data", str(tiny_npz)]) == 0
    (run_folder,) = (folder / "runs").glob("*-tiny-1")
    return run_folder


@pytest.fixture(scope="module")
def exported(trained: Path) -> dict[Precision, Path]:
    asked = [f"--{precision}" for precision in PRECISIONS]
    assert run(["export", str(trained), *asked, "--num-calibration", "20"]) == 0
    files = {read_sidecar(file).precision: file for file in trained.glob("export/*.tflite")}
    assert set(files) == set(PRECISIONS)
    return files


def test_image_size_and_classes_come_from_the_data(trained: Path):
    config = json.loads((trained / "train.json").read_text())["config"]
    assert config["knobs"]["image_size"] == 16
    assert config["knobs"]["num_classes"] == 3


def test_train_record_prints_its_dataclass(capsys: pytest.CaptureFixture[str], trained: Path, tiny_npz: Path):
    small = ["--depth", "7", "--growth-rate", "1", "--epochs", "1"]
    (record,) = printed(capsys, "train", "densenet", *small, "--data", str(tiny_npz), "--no-augment")
    assert set(record) == {field.name for field in fields(TrainRecord)}
    assert record["config"]["augment"] is False
    # DenseNet's weight decay is left out for a model this small
    assert record["config"]["weight_decay"] == 0.0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sidecar_names_file_and_parent_by_checksum(
    precision: Precision, exported: dict[Precision, Path], trained: Path
):
    artifact = read_sidecar(exported[precision])
    assert artifact.sha256 == sha256_of(exported[precision])
    assert artifact.parent_sha256 == sha256_of(trained / "model.keras")
    assert artifact.size_bytes == exported[precision].stat().st_size


def test_calibration_is_balanced_and_from_the_training_split(exported: dict[Precision, Path]):
    calibration = read_sidecar(exported[Precision.INT8]).calibration
    assert calibration is not None
    assert calibration.split == "train"
    assert calibration.num_samples == 20
    assert set(calibration.samples_per_class.values()) == {6, 7}


def test_int8_file_takes_the_camera_bytes_and_answers_as_keras_does(
    exported: dict[Precision, Path], trained: Path, tiny_npz: Path
):
    # the file through LiteRT by hand, raw bytes less 128, against Keras on the very same bytes
    from ai_edge_litert.interpreter import Interpreter

    images = np.load(tiny_npz)["x_test"]
    expected = keras.saving.load_model(trained / "model.keras").predict(images.astype(np.float32), verbose=0)
    interpreter = Interpreter(model_path=str(exported[Precision.INT8]))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"], given["dtype"]) == (np.int8, np.int8)
    scale, zero_point = given["quantization"]
    for image, wanted in zip(images, expected, strict=True):
        interpreter.set_tensor(taken["index"], (image.astype(np.int16) - 128).astype(np.int8)[np.newaxis])
        interpreter.invoke()
        found = scale * (interpreter.get_tensor(given["index"])[0].astype(np.float32) - zero_point)
        # 0.1 of a probability: what 8 bits in a net of four convolutions may cost
        np.testing.assert_allclose(found, wanted, atol=0.1)


def test_export_prints_its_dataclass(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path, tmp_path: Path
):
    (record,) = printed(capsys, "export", str(trained), "--fp32", "--out", str(tmp_path))
    assert set(record) == {field.name for field in fields(ExportArtifact)}
    assert [file.name for file in tmp_path.glob("*.tflite")] == [record["path"]]


def test_verify_shows_that_no_precision_loses_the_labels(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path
):
    found = printed(capsys, "verify", str(trained), "--max-drop", "10")
    judged = {"tflite_top1_low", "tflite_top1_high", "drop_p", "float32_p"}
    assert set(found[0]) == {field.name for field in fields(Verification)} | judged
    by_file = {record["artifact_sha256"]: record for record in found}
    for precision, file in exported.items():
        record = by_file[sha256_of(file)]
        assert record["num_samples"] == 30
        assert (record["worst_layer"] is not None) == (precision in (Precision.INT8, Precision.INT16X8))
    assert by_file[sha256_of(exported[Precision.FLOAT32])]["max_abs_difference"] < 1e-4


def test_verify_keeps_what_the_file_says_of_each_image(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path, tiny_npz: Path
):
    """Beside a bare interpreter of the int8 file on the test images, in the store's order."""
    int8, float32 = exported[Precision.INT8], exported[Precision.FLOAT32]
    capsys.readouterr()
    assert run(["verify", str(float32), str(int8), "--confusion", "--max-drop", "10"]) == 0
    said = capsys.readouterr()
    assert re.search(r"(right as|against) Keras.*; it .*(right as|against) float32", said.out)
    assert "a line is a true class" in said.out
    assert "30 test images is 3.0 images. Fewer than 6 cannot be told from chance" in said.err
    assert "needs 60 images or more" in said.err
    (record,) = printed(capsys, "verify", str(int8))
    with open_store(trained.parent) as store:
        kept = store.predictions(
            record["artifact_sha256"], dataset_fingerprint=record["dataset_fingerprint"], split="test"
        )
    assert kept is not None
    assert kept.found.keras is not None
    interpreter = Interpreter(model_path=str(int8))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    images = np.load(tiny_npz)["x_test"]
    places = [int(name.removeprefix("test[").removesuffix("]")) for name in kept.images]
    for place, label, probability in zip(
        places, kept.found.file.label, kept.found.file.probability, strict=True
    ):
        interpreter.set_tensor(taken["index"], (images[place].astype(np.int16) - 128).astype(np.int8)[None])
        interpreter.invoke()
        found = scale * (interpreter.get_tensor(given["index"])[0].astype(np.float32) - zero_point)
        assert found.argmax() == label
        assert found.max() == pytest.approx(min(1, probability))
    for number, picture in kept.pictures.items():
        np.testing.assert_array_equal(picture, images[places[number]])
    assert 100 * (kept.found.file.label == kept.found.truth).mean() == record["tflite_top1"]
    assert 100 * (kept.found.keras.label == kept.found.truth).mean() == record["keras_top1"]


def test_max_drop_is_a_gate(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path
):
    # a drop is never below -100 points, so that this gate cannot be met
    file = str(exported[Precision.FLOAT32])
    assert run(["verify", file, "--max-drop", "-101"]) == 1
    assert "more than --max-drop -101" in capsys.readouterr().err


def test_equalized_file_of_typical_images_is_verified_layer_by_layer(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    asked = ["--int8", "--equalize", "--typical", "--num-calibration", "40", "--out", str(tmp_path)]
    assert run(["export", trained.name, *asked]) == 0
    (file,) = tmp_path.glob("*_int8.tflite")
    calibration = read_sidecar(file).calibration
    assert calibration is not None
    assert (calibration.num_samples, calibration.left_out) == (38, 2)
    capsys.readouterr()
    assert (
        run(["verify", str(file), "--data", read_record(trained / "train.json").config.data, "--json"]) == 0
    )
    (found,) = json.loads(capsys.readouterr().out)
    assert found["worst_layer"] in [each["layer"] for each in found["layers"]]
    assert max(each["relative_error"] for each in found["layers"]) < 0.5


def test_verify_refuses_a_file_that_was_changed_after_export(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path
):
    file = exported[Precision.DYNAMIC]
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"\0")
        assert run(["verify", str(file)]) == 1
        assert "is not the file that" in capsys.readouterr().err
    finally:
        file.write_bytes(content)


def test_bench_and_report_join_everything_by_checksum(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path
):
    files = [str(exported[precision]) for precision in (Precision.FLOAT32, Precision.INT8)]
    quick = ["--min-secs", "0.05", "--warmup-min-secs", "0", "--num-rounds", "6", "--max-wait", "1"]
    measured = printed(capsys, "bench", *files, *quick)
    assert set(measured[0]) == {field.name for field in fields(Measurement)}
    rows = {row["sha256"]: row for row in printed(capsys, "report", trained.name)}
    for measurement in measured:
        row = rows[measurement["artifact_sha256"]]
        assert row["median_ms"] == measurement["median_ms"]
        assert row["run"] == trained.name
        assert row["size_bytes"] == Path(measurement["path"]).stat().st_size
        assert row["tflite_top1"] is not None


def test_csv_holds_what_json_holds(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path
):
    rows = printed(capsys, "report", trained.name)
    assert run(["report", trained.name, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["sha256"] for row in table] == [row["sha256"] for row in rows]


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_model_from_elsewhere_is_exported_and_verified(
    ending: str, capsys: pytest.CaptureFixture[str], tiny_npz: Path, tmp_path: Path
):
    # a model of the user's own that was fed with 0..1 by its own code
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    file = tmp_path / f"mine{ending}"
    model.save(file)
    data = ["--data", str(tiny_npz)]
    (artifact,) = printed(
        capsys, "export", str(file), "--int8", *data, "--scale", str(1 / 255), "--out", str(tmp_path / "out")
    )
    assert artifact["family"] is None
    assert artifact["parent_sha256"] == sha256_of(file)
    assert artifact["input"]["scale"] == pytest.approx(1 / 255)
    (found,) = printed(capsys, "verify", str(tmp_path / "out" / artifact["path"]), *data)
    # the Keras figure is that of the model behind the same scaling
    images, labels = np.load(tiny_npz)["x_test"], np.load(tiny_npz)["y_test"]
    right = model.predict(images / np.float32(255), verbose=0).argmax(axis=1) == labels
    assert found["keras_top1"] == pytest.approx(100 * right.mean())


def test_int8_of_a_model_from_elsewhere_needs_images(
    capsys: pytest.CaptureFixture[str], trained: Path, tmp_path: Path
):
    file = tmp_path / "alone.keras"
    file.write_bytes((trained / "model.keras").read_bytes())
    assert run(["export", str(file), "--int8"]) == 2
    assert "Give some: --data" in capsys.readouterr().err
    assert list(tmp_path.glob("**/*.tflite")) == []


def test_runs_lists_the_run_with_its_files(
    capsys: pytest.CaptureFixture[str], exported: dict[Precision, Path], trained: Path
):
    listed = printed(capsys, "runs")
    assert trained.name in [record["run"] for record in listed]


def test_float_export_of_a_run_needs_no_images(
    capsys: pytest.CaptureFixture[str], tiny_npz: Path, trained: Path, tmp_path: Path
):
    hidden = tiny_npz.with_suffix(".hidden")
    tiny_npz.rename(hidden)
    try:
        assert run(["export", str(trained), "--float16", "--out", str(tmp_path)]) == 0
    finally:
        hidden.rename(tiny_npz)


def test_data_set_of_other_classes_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
):
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("cat", "cow", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    train_pets = ["--depth", "7", "--growth-rate", "1", "--epochs", "1", "--data", str(tmp_path / "pets")]
    assert run(["train", "densenet", *train_pets, "--image-size", "16"]) == 0
    (pets,) = (folder / "runs").glob("*-pets-1")
    assert run(["export", str(pets), "--float32"]) == 0
    (tmp_path / "pets" / "cow").rename(tmp_path / "pets" / "horse")
    assert run(["verify", str(pets)]) == 1
    message = capsys.readouterr().err
    assert "has the classes cat, cow, dog, the data set has cat, dog, horse" in message


def test_models_of_one_name_from_two_folders_stay_two(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path
):
    layers = keras.layers
    written = []
    for number in (1, 2):
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Softmax()]
        )
        file = tmp_path / str(number) / "best.keras"
        file.parent.mkdir()
        model.save(file)
        written += printed(capsys, "export", str(file), "--float32")
    assert written[0]["sha256"] != written[1]["sha256"]
    kept = {sha256_of(file) for file in (folder / "runs").glob("best-*/export/*.tflite")}
    assert kept == {record["sha256"] for record in written}


def test_run_is_of_use_from_another_folder(
    exported: dict[Precision, Path], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert run(["verify", str(exported[Precision.INT8]), "--limit", "5"]) == 0


def test_curve_has_a_mark_for_each_epoch_and_measure(trained: Path, tmp_path: Path):
    assert run(["runs", trained.name, "--curve", str(tmp_path / "curve.svg")]) == 0
    drawn = (tmp_path / "curve.svg").read_text()
    # Vega labels each mark for screen readers: 2 epochs, training and validation, top-1 and loss
    assert drawn.count('aria-roledescription="point"') == 2 * 2 * 2


def test_curve_of_another_ending_is_refused(
    capsys: pytest.CaptureFixture[str], trained: Path, tmp_path: Path
):
    assert run(["runs", trained.name, "--curve", str(tmp_path / "curve.pdf")]) == 2
    assert "should end in .png or .svg" in capsys.readouterr().err

"""`pipeline compress` through the command line, and what the other commands make of its run."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from full_disk import files_of_at_most

from export.artifact import read_sidecar
from export.files import sha256_of
from pipeline.cli import run
from pipeline.runs import finished_runs


@pytest.fixture(scope="module", autouse=True)
def folder(runs_of_module: Path) -> Path:
    return runs_of_module


@pytest.fixture(scope="module")
def trained(folder: Path, tiny_npz: Path) -> Path:
    small = ["--depth", "7", "--growth-rate", "2", "--epochs", "1", "--batch-size", "32"]
    assert run(["train", "densenet", *small, "--data", str(tiny_npz)]) == 0
    (run_folder,) = (folder / "runs").glob("densenet*-tiny-1")
    return run_folder


@pytest.fixture(scope="module")
def quantized(trained: Path) -> Path:
    """A run that was stopped in the middle of its first epoch's writing, and resumed."""
    replace = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if target.name == "history.csv":
            raise KeyboardInterrupt
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        assert run(["compress", trained.name, "--qat", "--epochs", "1", "--batch-size", "32"]) == 130
    (run_folder,) = trained.parent.glob("densenet*_qat-tiny-1")
    assert not (run_folder / "train.json").exists()
    assert run(["compress", "--resume", run_folder.name]) == 0
    return run_folder


def test_record_says_where_it_comes_from(quantized: Path, trained: Path):
    record = json.loads((quantized / "train.json").read_text())
    assert record["parent"] == trained.name
    assert record["model_sha256"] == sha256_of(quantized / "model.keras")
    assert record["compression"]["config"]["parent_sha256"] == sha256_of(trained / "model.keras")
    assert [step["step"] for step in record["compression"]["steps"]] == ["qat"]


def test_int8_export_is_made_from_the_trained_quantizers_and_verified(
    quantized: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(["export", quantized.name, "--int8"]) == 0
    (file,) = quantized.glob("export/*_int8.tflite")
    artifact = read_sidecar(file)
    assert artifact.calibration is None
    assert artifact.float_operators == ()
    assert artifact.parent_sha256 == sha256_of(quantized / "model.keras")
    capsys.readouterr()
    assert run(["verify", quantized.name, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["artifact_sha256"] == artifact.sha256
    assert found["num_samples"] == 30
    assert found["agreement"] > 80
    assert run(["report", quantized.name, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["run"] == quantized.name
    assert row["tflite_top1"] == found["tflite_top1"]


def test_export_of_trained_quantizers_reads_no_images(quantized: Path, tiny_npz: Path, tmp_path: Path):
    hidden = tiny_npz.with_suffix(".hidden")
    tiny_npz.rename(hidden)
    try:
        assert run(["export", quantized.name, "--int8", "--float32", "--out", str(tmp_path)]) == 0
        assert run(["export", quantized.name, "--int16x8", "--out", str(tmp_path)]) == 2
    finally:
        hidden.rename(tiny_npz)
    assert len(list(tmp_path.glob("*.tflite"))) == 2


def test_a_file_of_trained_quantizers_is_made_again_to_the_byte(quantized: Path, tmp_path: Path):
    assert run(["export", quantized.name, "--int8", "--io-dtype", "uint8", "--out", str(tmp_path / "1")]) == 0
    (file,) = (tmp_path / "1").glob("*.tflite")
    assert run(["export", "--like", str(file.with_suffix(".json")), "--out", str(tmp_path / "2")]) == 0
    assert (tmp_path / "2" / file.name).read_bytes() == file.read_bytes()


def test_runs_shows_it(quantized: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert run(["runs", "--json"]) == 0
    listed = {record["run"]: record for record in json.loads(capsys.readouterr().out)}
    assert listed[quantized.name]["state"] == "finished"


def test_finished_run_is_not_resumed(quantized: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["compress", "--resume", quantized.name]) == 2
    assert "is finished" in capsys.readouterr().err


def test_training_is_not_resumed_as_a_compression(folder: Path, capsys: pytest.CaptureFixture[str]):
    unfinished = folder / "runs" / "training-1"
    unfinished.mkdir(parents=True)
    (unfinished / "config.json").write_text('{"config": {}}')
    assert run(["compress", "--resume", "training-1"]) == 2
    assert "pipeline train --resume training-1" in capsys.readouterr().err
    (unfinished / "config.json").write_text("{")
    assert run(["compress", "--resume", "training-1"]) == 1
    assert "config.json is damaged" in capsys.readouterr().err
    (unfinished / "config.json").unlink()


def test_compression_is_not_resumed_as_a_training(folder: Path, capsys: pytest.CaptureFixture[str]):
    unfinished = folder / "compression-1"
    unfinished.mkdir()
    (unfinished / "config.json").write_text(json.dumps({"compression": {}}))
    assert run(["train", "--resume", "compression-1"]) == 2
    assert "pipeline compress --resume compression-1" in capsys.readouterr().err
    (unfinished / "config.json").unlink()
    unfinished.rmdir()


def test_layer_without_an_integer_operator_stays_in_float_and_its_cost_is_said(
    folder: Path, tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    layers = keras.layers
    file = tmp_path / "mine.keras"
    keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.ELU(name="soft"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", name="scores"),
        ]
    ).save(file)
    asked = ["compress", str(file), "--qat", "--epochs", "1", "--batch-size", "60", "--data", str(tiny_npz)]
    assert run([*asked, "--scale", "0.00392157", "--json"]) == 0
    printed = capsys.readouterr()
    assert "1 of 5 operators (ELU; 0.0% of the multiplications) stay in float in the int8 file" in printed.err
    assert "in 'soft'" in printed.err
    (record,) = json.loads(printed.out)
    assert record["config"]["family"] is None
    assert record["compression"]["config"]["float_layers"] == ["soft"]
    assert run(["export", record["run"], "--int8"]) == 0
    (artifact,) = (folder / "runs" / record["run"]).glob("export/*_int8.json")
    assert json.loads(artifact.read_text())["float_layers"] == ["soft"]


def test_model_from_elsewhere_needs_images(tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "alone.keras"
    file.write_bytes((trained / "model.keras").read_bytes())
    assert run(["compress", str(file), "--qat"]) == 2
    assert "--data NAME or FOLDER" in capsys.readouterr().err


def test_images_of_one_colour_each_are_refused_before_a_run_is_begun(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    grey = np.random.default_rng(0).permutation(180).astype(np.uint8)
    colours = np.broadcast_to(grey[:, None, None, None], (180, 16, 16, 3))
    labels = np.arange(180) % 3
    np.savez(
        tmp_path / "tiny.npz",
        x_train=colours[:150], y_train=labels[:150], x_test=colours[150:], y_test=labels[150:],
    )  # fmt: skip
    before = set(trained.parent.glob("*"))
    asked = ["compress", trained.name, "--qat", "--epochs", "1", "--data", str(tmp_path / "tiny.npz")]
    assert run(asked) == 1
    assert "calibration images is of one colour" in capsys.readouterr().err
    assert set(trained.parent.glob("*")) == before


def test_full_disk_is_one_line_that_says_how_to_go_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    # files of 15 kB at most: the settings fit, the weights do not, and write() fails as on a full disk
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path))
    capfd.readouterr()
    with files_of_at_most(15_000):
        status = run(["compress", str(trained), "--cluster", "8", "--epochs", "1"])
    err = capfd.readouterr().err
    assert status == 1, err
    (line,) = [line for line in err.splitlines() if line.startswith("pipeline:")]
    assert "go on: pipeline compress --resume densenet" in line
    assert "Logging error" not in err
    assert finished_runs(tmp_path) == []
    assert list(tmp_path.glob("**/.partial-*")) == []

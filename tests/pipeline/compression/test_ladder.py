"""`pipeline compress --max-drop`: the first thing that holds is taken, and all that was tried is told."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.artifact import read_sidecar, sidecar_path
from export.errors import FloatOperatorError
from export.exporter import SourceModel, export_model
from export.files import sha256_of
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect
from pipeline.bench.host import BenchResult
from pipeline.cli import run
from pipeline.compression import ladder
from pipeline.store.store import open_store

layers = keras.layers
NO_WAY = "-100"
"""Points that no file can gain."""


def net(*, num_readers: int, factor: float, opinion: float = 50.0) -> keras.Model:
    """Tells which colour is brightest, by the mean of three channels; an eighth is `factor` times as large.

    int8 has one scale for all of them: where the eighth is large, the three are rounded away. Before several
    readers, a layer in training mode keeps equalizing from seeing through.
    """
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 128, -1.0, name="pixels")(image)
    x = layers.Conv2D(8, 1, activation="relu", name="wide")(x)
    if num_readers > 1:
        x = layers.Dropout(0.0, name="never")(x, training=True)
    readers = [layers.Conv2D(8, 1, name=f"reader{each}")(x) for each in range(num_readers)]
    x = layers.Add(name="sum")(readers) if num_readers > 1 else readers[0]
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    x = layers.Softmax(name="probabilities")(layers.Dense(3, name="logits")(x))
    model = keras.Model(image, x)
    kernel, bias = np.zeros((1, 1, 3, 8)), np.zeros(8)
    kernel[0, 0, range(3), range(3)] = bias[:3] = 1
    kernel[0, 0, :, 7] = bias[7] = factor
    model.get_layer("wide").set_weights([kernel, bias])
    for each in range(num_readers):
        kernel = (1 + each) * np.eye(8)
        kernel[7] = 0.1 / factor
        model.get_layer(f"reader{each}").set_weights([kernel[None, None], np.zeros(8)])
    kernel = np.random.default_rng(0).normal(0, 0.01, (8, 3))
    kernel[range(3), range(3)] = opinion
    model.get_layer("logits").set_weights([kernel, np.zeros(3)])
    return model


NETS = {
    "even": net(num_readers=1, factor=1.0),
    "wide": net(num_readers=1, factor=1000.0),
    "forked": net(num_readers=2, factor=1000.0),
    "wrong": net(num_readers=1, factor=1.0, opinion=-1.0),
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the nets and 300 images, that the commands are run in."""
    folder = tmp_path_factory.mktemp("ladder")
    random = np.random.default_rng(0)
    arrays = {}
    for split, num in (("train", 300), ("test", 30)):
        labels = np.arange(num) % 3
        images = random.integers(0, 128, (num, 16, 16, 3))
        images[np.arange(num), :, :, labels] += 100
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.uint8)}
    np.savez(folder / "colours.npz", **arrays)
    for name, model in NETS.items():
        model.save(folder / f"{name}.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        yield folder


def compress(name: str, *arguments: str) -> int:
    return run(["compress", f"{name}.keras", "--data", "colours.npz", *arguments])


def tried(capsys: pytest.CaptureFixture[str], name: str, *arguments: str, status: int = 0) -> list[Any]:
    """What the command says with --json that it tried."""
    capsys.readouterr()
    assert compress(name, *arguments, "--json") == status
    found: list[Any] = json.loads(capsys.readouterr().out)
    return found


def only_file(folder: Path, pattern: str) -> Path:
    (file,) = folder.glob(f"runs/{pattern}/export/*.tflite")
    return file


def test_where_plain_calibration_holds_nothing_else_is_tried(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (only,) = tried(capsys, "even", "--max-drop", "1")
    assert (only["rung"], only["holds"], only["taken"]) == ("calibration", True, True)
    artifact = read_sidecar(only_file(folder, "even-*"))
    assert (artifact.settings.equalize, artifact.float_operators) == (False, ())
    assert artifact.calibration is not None
    assert artifact.calibration.num_samples == ladder.FEW_IMAGES
    with open_store(folder / "runs") as store:
        (found,) = store.verifications(artifact.sha256)
        assert artifact.sha256 in {sha256_of(path) for path in store.artifacts().values()}
    assert (found.split, found.drop_points) == ("validation", only["drop_points"])


def test_equalizing_is_taken_where_it_is_the_first_that_holds(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    found = tried(capsys, "wide", "--max-drop", "3")
    assert [each["rung"] for each in found] == ["calibration", "more images", "typical images", "equalize"]
    assert (
        [each["holds"] for each in found] == [each["taken"] for each in found] == [False, False, False, True]
    )
    assert found[0]["drop_points"] > 30
    file = only_file(folder, "wide-*")
    artifact = read_sidecar(file)
    assert artifact.settings.equalize
    assert artifact.float_operators == ()
    assert sha256_of(file) == artifact.sha256 == found[-1]["artifact_sha256"]
    assert (file.stat().st_size, artifact.downloaded_bytes) == (
        found[-1]["size_bytes"],
        found[-1]["downloaded_bytes"],
    )
    assert all(each["median_ms"] > 0 for each in found)
    assert [each.name for each in file.parent.iterdir() if each not in (file, sidecar_path(file))] == []


def odd_net() -> keras.Model:
    """As net(), but the eighth channel is zero unless a pixel is pure green, and then a thousand."""
    model = net(num_readers=1, factor=1000.0)
    kernel, bias = model.get_layer("wide").get_weights()
    kernel[0, 0, :, 7] = -1000, 1000, -1000
    bias[7] = -2000
    model.get_layer("wide").set_weights([kernel, bias])
    return model


def test_images_that_alone_widen_the_ranges_are_left_out(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """Seven images of 360 have a pixel of a colour that sets a range a thousand times as wide."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, num in (("train", 360), ("test", 30)):
        labels = np.arange(num) % 3
        images = random.integers(64, 128, (num, 16, 16, 3))
        images[np.arange(num), :, :, labels] += 60
        if split == "train":
            images[25::50, 3, 5] = 0, 255, 0
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.uint8)}
    np.savez(folder / "odd.npz", **arrays)
    odd_net().save(folder / "odd.keras")
    capsys.readouterr()
    assert run(["compress", "odd.keras", "--data", "odd.npz", "--max-drop", "3", "--no-qat", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["rung"] for each in found] == ["calibration", "more images", "typical images"]
    assert found[0]["drop_points"] > 30
    assert found[-1]["drop_points"] <= 3
    calibration = read_sidecar(only_file(folder, "odd-*")).calibration
    assert calibration is not None
    assert (calibration.num_samples, calibration.left_out) == (190, 10)
    assert sum(calibration.samples_per_class.values()) == 190


def test_a_tensor_that_two_layers_read_is_left_in_float_with_them(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    found = tried(capsys, "forked", "--max-drop", "3", "--no-qat")
    assert [each["rung"] for each in found] == [
        "calibration",
        "more images",
        "typical images",
        "equalize",
        "float x1",
    ]
    assert found[-1]["float_layers"] == ["wide", "reader0", "reader1"]
    file = only_file(folder, "forked-*")
    assert read_sidecar(file).float_layers == ("wide", "reader0", "reader1")
    contents = inspect(file)
    floats = [
        operator.name
        for operator in contents.graph
        if contents.tensors[operator.outputs[0]].dtype == "float32"
    ]
    assert floats == ["DEQUANTIZE", "CONV_2D", "CONV_2D", "CONV_2D"]
    assert contents.inputs[0].dtype == contents.outputs[0].dtype == "int8"


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[list[Any], Path]:
    """What was tried of a model that is always wrong, for which training alone can gain, and its run."""
    arguments = ("--epochs", "2", "--learning-rate", "0.05", "--batch-size", "16", "--no-augment", "--json")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert compress("wrong", "--max-drop", "-20", *arguments) == 0
    (run,) = folder.glob("runs/wrong_qat-*")
    return json.loads(printed.getvalue()), run


def test_training_is_the_last_resort_and_makes_a_run(trained: tuple[list[Any], Path], folder: Path) -> None:
    found, run = trained
    assert [each["rung"] for each in found] == [
        each.name for each in ladder.rungs(num_train=300, trains=True)
    ]
    assert [each["holds"] for each in found] == [False] * 7 + [True]
    # more right than the model it was made from
    assert found[-1]["drop_points"] <= -20
    assert found[-1]["run"] == run.name
    artifact = read_sidecar(only_file(folder, "wrong_qat-*"))
    assert artifact.sha256 == found[-1]["artifact_sha256"]
    assert artifact.calibration is None
    assert not list(folder.glob("runs/wrong-*/export/*.tflite"))


def test_a_run_with_quantizers_of_its_own_is_refused(
    trained: tuple[list[Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["compress", trained[1].name, "--max-drop", "1"]) == 2
    assert "nothing to try but more training" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--prune", "0.5"], ["--cluster", "8"], ["--prune-layer", "wide=0.5"]])
def test_pruning_and_clustering_come_before(capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    assert compress("even", "--max-drop", "1", *option) == 2
    assert f"{option[0]} cannot be given with --max-drop" in capsys.readouterr().err


def test_it_cannot_be_given_with_resume(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", "--resume", "some-run", "--max-drop", "1"]) == 2
    assert "--max-drop cannot be given with it" in capsys.readouterr().err


def test_more_images_are_not_tried_where_there_are_none() -> None:
    assert ladder.MORE_IMAGES not in ladder.rungs(ladder.FEW_IMAGES, trains=True)
    assert ladder.MORE_IMAGES in ladder.rungs(ladder.FEW_IMAGES + 1, trains=True)


def test_a_file_that_was_decided_is_kept_when_the_timing_is_stopped(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> BenchResult:
        return BenchResult(measured=(), stopped=True)

    monkeypatch.setattr("pipeline.bench.host.run_rounds", stopped)
    (only,) = tried(capsys, "even", "--max-drop", "1")
    assert only["taken"]
    assert only["median_ms"] is None
    assert only["artifact_sha256"] == sha256_of(only_file(folder, "even-*"))


def test_where_nothing_holds_the_best_is_kept_and_the_status_is_1(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, activation="tanh", name="curved")(image)
    x = layers.Dense(3, activation="softmax", name="out")(layers.GlobalAveragePooling2D(name="gap")(x))
    keras.Model(image, x).save(folder / "curved.keras")
    capsys.readouterr()
    assert compress("curved", "--max-drop", NO_WAY) == 1
    printed = capsys.readouterr()
    table = [line for line in printed.out.splitlines()[3:] if "  " in line][:8]
    assert [line.split("  ")[0].strip() for line in table] == [
        each.name for each in ladder.rungs(300, trains=True)
    ]
    assert all(len(line) <= 80 for line in table)
    assert [("too much" in line) + 2 * ("no file" in line) for line in table] == [1] * 7 + [2]
    assert sum("taken" in line for line in table) == 1
    assert "'curved' has the activation tanh" in printed.err
    assert f"nothing loses {NO_WAY} points or less" in printed.err
    file = only_file(folder, "curved-*")
    assert read_sidecar(file).sha256 == sha256_of(file)


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    NETS["even"].save(folder / "stuck.keras")
    place = folder / "runs" / f"stuck-{sha256_of(folder / 'stuck.keras')[:8]}"
    place.mkdir(parents=True)
    (place / "export").write_text("in the way")
    assert compress("stuck", "--max-drop", "1") == 1
    assert "cannot write" in capsys.readouterr().err
    assert (place / "export").read_text() == "in the way"


def test_a_layer_that_was_skipped_in_training_may_be_in_float_in_its_file(
    compressed: Any, tmp_path: Path
) -> None:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(image)
    x = layers.ELU(name="soft")(x)
    x = layers.Dropout(0.5, name="dropout")(layers.GlobalAveragePooling2D(name="gap")(x))
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="out")(x))
    found = compressed(model, qat=True, skip_layers=("soft", "dropout"))
    source = SourceModel(
        path=found.run / "model.keras",
        model=found.model,
        trained=found.quantized,
        model_name="own",
        family=None,
        class_names=["a", "b", "c"],
        dataset="tiny",
    )
    path = tmp_path / "own.tflite"
    with pytest.raises(FloatOperatorError, match="compute in float"):
        export_model(source, path, ExportSettings(Precision.INT8))
    artifact = export_model(source, path, ExportSettings(Precision.INT8, keep_float=("soft", "dropout")))
    assert artifact.float_layers == ("soft",)
    assert (artifact.input.dtype, artifact.output.dtype) == ("int8", "int8")


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_of_batchnorms_stay_as_they_were_trained_unless_asked_otherwise(
    compressed: Any, model_of: Any, frozen: bool
) -> None:
    model = model_of("own")
    before = {layer.name: [each.copy() for each in layer.get_weights()] for layer in model.layers}
    trained = compressed(model_of("own"), qat=True, freeze_norms=frozen)
    after = trained.model.get_layer("second_norm").get_weights()
    same = [np.array_equal(ours, theirs) for ours, theirs in zip(before["second_norm"], after, strict=True)]
    assert same == [False, False, frozen, frozen]  # scale and offset learn
    quantized = {layer.name: getattr(layer, "layer", layer) for layer in trained.quantized.layers}
    norm = quantized["quant_second_norm"]
    for ours, theirs in zip(norm.get_weights(), after, strict=True):
        assert np.array_equal(ours, theirs)


def test_zeros_of_a_pruned_run_stay_while_it_is_trained_quantized(compressed: Any, model_of: Any) -> None:
    pruned = compressed(model_of("own"), prune=0.5)
    trained = compressed(pruned.model, qat=True)
    for name in ("second", "third", "scores"):
        before, after = (each.model.get_layer(name).get_weights()[0] for each in (pruned, trained))
        assert np.mean(before == 0) >= 0.49
        assert np.all(after[before == 0] == 0)
        assert not np.array_equal(before, after)

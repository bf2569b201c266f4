"""Several files of one model, verified together."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from pipeline.cli import run

layers = keras.layers
SCALES = (1 / 255, -1 / 255)


@pytest.fixture
def own_model(tmp_path: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose brightest channel names the class: behind a negative scale it names another."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3), layers.Softmax()]
    )
    model.layers[1].set_weights([10 * np.eye(3), np.zeros(3)])
    file = tmp_path / "mine.keras"
    model.save(file)
    return file


def exported(model: Path, out: Path, *options: str) -> list[str]:
    assert run(["export", str(model), "--out", str(out), *options]) == 0
    return [str(file) for file in sorted(out.glob("*.tflite"))]


def verified(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """What `pipeline verify` printed of each file, by its checksum."""
    capsys.readouterr()
    assert run(["verify", *arguments, "--json"]) == status
    return {record["artifact_sha256"]: record for record in json.loads(capsys.readouterr().out)}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often Keras loaded a model, and how many images it ran."""
    counts: Counter[str] = Counter()
    load_model, predict = keras.saving.load_model, keras.Model.predict_on_batch

    def load_model_counted(*arguments: Any, **options: Any) -> Any:
        counts["loaded"] += 1
        return load_model(*arguments, **options)

    def predict_counted(self: keras.Model, images: Any) -> Any:
        counts["batches"] += 1
        return predict(self, images)

    monkeypatch.setattr(keras.saving, "load_model", load_model_counted)
    monkeypatch.setattr(keras.Model, "predict_on_batch", predict_counted)
    return counts


def test_two_exports_behind_different_scales_keep_their_own_figures(
    own_model: Path, tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = ["--data", str(tiny_npz)]
    files = [
        exported(own_model, tmp_path / f"out{number}", "--float32", "--scale", str(scale))[0]
        for number, scale in enumerate(SCALES)
    ]
    together = verified(capsys, *files, *data, status=1)  # the second file is fed the wrong pixels
    for file, status in zip(files, (0, 1), strict=True):
        ((sha256, alone),) = verified(capsys, file, *data, status=status).items()
        assert bool(alone["pixels_doubt"]) is bool(status)
        assert together[sha256]["keras_top1"] == alone["keras_top1"]
        assert together[sha256]["agreement"] == 100
    # the images' brightest channel is their class: reference, without the model
    assert sorted(each["keras_top1"] for each in together.values()) == [0, 100]


def test_one_model_is_loaded_and_run_once_for_all_of_its_files(
    own_model: Path, tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], counted: Counter[str]
):
    data = ["--data", str(tiny_npz)]
    precisions = ["--float32", "--float16", "--dynamic"]
    files = exported(own_model, tmp_path / "out", *precisions, "--scale", str(SCALES[0]))
    assert len(files) == 3
    counted.clear()
    verified(capsys, files[0], *data)
    for_one = Counter(counted)
    counted.clear()
    verified(capsys, *files, *data)
    assert counted == for_one
    assert for_one["loaded"] == for_one["batches"] == 1


def test_each_record_names_its_file(
    own_model: Path, tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = ["--data", str(tiny_npz)]
    files = exported(own_model, tmp_path / "out", "--float32", "--float16", *data)
    found = verified(capsys, *files, *data)
    assert [record["path"] for record in found.values()] == files


def test_json_has_the_interval_and_the_p_of_each_difference(
    own_model: Path, tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Beside SciPy's. The float32 file answers as Keras does; behind a softmax of one bit int8 does not."""
    stats = pytest.importorskip("scipy.stats")
    model = keras.saving.load_model(own_model)
    model.layers[1].set_weights([0.004 * np.eye(3), np.zeros(3)])
    model.save(own_model)
    data = ["--data", str(tiny_npz)]
    files = exported(own_model, tmp_path / "out", "--float32", "--int8", "--scale", str(SCALES[0]), *data)
    float32, int8 = sorted(verified(capsys, *files, *data).values(), key=lambda each: "int8" in each["path"])
    for each in (float32, int8):
        num_right = round(each["tflite_top1"] * each["num_samples"] / 100)
        ends = stats.binomtest(num_right, each["num_samples"]).proportion_ci(0.95, method="wilson")
        assert [each["tflite_top1_low"], each["tflite_top1_high"]] == pytest.approx(
            [100 * ends.low, 100 * ends.high]
        )
    assert float32["agreement"] == 100 > int8["agreement"]
    assert (float32["drop_p"], float32["float32_p"]) == (1, None)
    only = int8["num_only_keras_right"], int8["num_only_tflite_right"]
    expected = stats.binomtest(only[0], sum(only)).pvalue
    assert int8["drop_p"] == int8["float32_p"] == pytest.approx(expected)


def test_files_that_ran_on_two_data_sets_are_each_beside_their_own(
    own_model: Path, tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Two runs whose files have one name, of data sets of 30 and 21 test images."""
    content = dict(np.load(tiny_npz))
    other = tmp_path / "other.npz"
    np.savez(other, **{name: values[:21] if "test" in name else values for name, values in content.items()})
    small = ["--depth", "7", "--growth-rate", "1", "--epochs", "1"]
    runs = []
    for data in (tiny_npz, other):
        assert run(["train", "densenet", *small, "--data", str(data)]) == 0
        (made,) = (tmp_path / "runs").glob(f"densenet*-{data.stem}-1")
        assert run(["export", str(made), "--float32"]) == 0
        runs.append(str(made))
    capsys.readouterr()
    assert run(["verify", *runs]) == 0
    (last,) = [line for line in capsys.readouterr().out.splitlines() if "images of" in line]
    first, second = [f"{Path(each).name}/densenet" for each in runs]
    assert last.index(first) < last.index("30 test images of tiny") < last.index(second)
    assert last.index(second) < last.index("21 test images of other")


def test_a_folder_of_three_images_calibrates_and_verifies(
    own_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Too few to be divided: the net, whose brightest channel names the class, is asked of all of them."""
    for name, colour in (("0", (250, 9, 9)), ("1", (9, 250, 9)), ("2", (9, 9, 250))):
        (tmp_path / "few" / name).mkdir(parents=True)
        rows = np.tile(np.array(colour, np.uint8), (16, 16, 1))
        rows[:8] //= 2  # int8 export refuses images of one colour
        Image.fromarray(rows).save(tmp_path / "few" / name / "one.png")
    data = ["--data", str(tmp_path / "few")]
    files = exported(own_model, tmp_path / "out", "--int8", "--scale", str(1 / 255), *data)
    (record,) = verified(capsys, *files, *data).values()
    assert (record["split"], record["num_samples"]) == ("all", 3)
    assert record["tflite_top1"] == record["keras_top1"] == 100

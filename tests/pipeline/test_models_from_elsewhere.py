"""Every command that takes a model: with Keras 2, mixed precision, and a SavedModel's serving function."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import keras
import pytest
import tensorflow as tf
import tf_keras

from pipeline.cli import run

SIZE = 16


@pytest.fixture(scope="module")
def models(runs_of_module: Path) -> Path:
    """old.h5 of Keras 2, mixed.keras, and served/, which holds a function alone."""
    layers = tf_keras.layers
    net = [layers.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255), layers.DepthwiseConv2D(3)]
    old = tf_keras.Sequential([*net, layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")])
    with pytest.warns(UserWarning, match="HDF5"):
        old.save(runs_of_module / "old.h5")
    served = tf.function(old).get_concrete_function(tf.TensorSpec((None, SIZE, SIZE, 3), name="image"))
    tf.saved_model.save(old, str(runs_of_module / "served"), signatures=served)
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        start = [keras.Input((SIZE, SIZE, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3)]
        end = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
        keras.Sequential([*start, *end]).save(runs_of_module / "mixed.keras")
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    return runs_of_module


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit status, what was printed on stdout, and in one line what was said on stderr."""
    capsys.readouterr()
    status = run(list(arguments))
    out, err = capsys.readouterr()
    return status, out, " ".join(err.split())


@pytest.fixture(scope="module")
def exported(models: Path, tiny_npz: Path) -> Path:
    """Each model as float32 and int8."""
    for model in ("old.h5", "mixed.keras", "served"):
        asked = ["export", model, "--float32", "--int8", "--scale", "1", "--data", str(tiny_npz)]
        assert run(asked) == 0
    return models


@pytest.mark.parametrize("model", ["old.h5", "mixed.keras", "served"])
def test_verify_finds_the_files_of_a_model_and_they_agree_with_it(
    exported: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str], model: str
):
    _, out, err = told(capsys, "verify", model, "--json", "--limit", "6", "--data", str(tiny_npz))
    verified = json.loads(out)
    assert [Path(found["path"]).name for found in verified] == [
        f"{Path(model).stem}_{precision}.tflite" for precision in ("float32", "int8")
    ], err
    assert verified[0]["max_abs_difference"] < 1e-5
    assert verified[1]["max_abs_difference"] < 0.05
    assert bool(verified[1]["layers"]) is (model != "served")


def test_verify_says_that_a_serving_function_shows_no_layers(
    exported: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    _, out, _ = told(capsys, "verify", "served", "--limit", "6", "--data", str(tiny_npz))
    assert "compared with the SavedModel's serving function, which shows no layers to compare" in out


def test_explain_says_that_a_serving_function_shows_no_layers(
    exported: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    file = next(exported.glob("runs/served-*/export/*_int8.tflite"))
    status, out, _ = told(capsys, "explain", str(file), "--data", str(tiny_npz))
    assert status == 0
    assert "a SavedModel's serving function, which shows no layers" in " ".join(out.split())


def test_the_sidecar_names_the_mixed_precision_and_export_says_what_is_computed(
    exported: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    policies = {
        path.name: json.loads(path.read_text())["dtype_policy"]
        for path in exported.glob("runs/*/export/*_float32.json")
    }
    assert policies == {
        "mixed_float32.json": "mixed_float16",
        "old_float32.json": None,
        "served_float32.json": None,
    }
    _, _, err = told(capsys, "export", "mixed.keras", "--float32", "--scale", "1", "--out", "other")
    assert "mixed.keras was trained under mixed_float16: its float32 variables are computed in float32" in err


def test_a_savedmodel_is_exported_again_from_its_sidecar(exported: Path, capsys: pytest.CaptureFixture[str]):
    sidecar = next(exported.glob("runs/served-*/export/*_float32.json"))
    before = sidecar.with_suffix(".tflite").read_bytes()
    assert told(capsys, "export", "--like", str(sidecar), "--out", "again")[0] == 0
    assert (exported / "again" / "served_float32.tflite").read_bytes() == before


def test_compress_refuses_a_serving_function_by_what_it_lacks(
    models: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    status, _, err = told(capsys, "compress", "served", "--qat", "--data", str(tiny_npz))
    assert status == 1
    assert "served is a SavedModel without Keras layers, so there is nothing to prune or train" in err


@pytest.mark.parametrize("command", ["bench", "verify"])
def test_a_model_without_exported_files_is_told_how_to_get_them(
    models: Path, capsys: pytest.CaptureFixture[str], command: str
):
    (models / "unseen").mkdir(exist_ok=True)
    (models / "unseen" / "saved_model.pb").write_bytes(b"another")
    status, _, err = told(capsys, command, "unseen")
    assert status == 1
    assert "unseen has no exported file" in err
    assert "pipeline export unseen --int8" in err


def test_explain_of_a_savedmodel_says_how_to_export_it(models: Path, capsys: pytest.CaptureFixture[str]):
    status, _, err = told(capsys, "explain", "served")
    assert status == 2
    assert "pipeline export served --int8" in err


def test_the_file_inside_a_savedmodel_is_told_from_its_folder(
    models: Path, capsys: pytest.CaptureFixture[str]
):
    status, _, err = told(capsys, "export", "served/saved_model.pb", "--float32")
    assert status == 2
    assert "a part of a SavedModel. Expected its folder" in err


def test_the_folder_of_a_models_files_is_told_from_a_folder_of_anything(
    exported: Path, capsys: pytest.CaptureFixture[str]
):
    [folder] = Path("runs").glob("old-*")
    status, _, err = told(capsys, "export", str(folder), "--int8")
    assert status == 2
    assert f"{folder} is no run: it holds what was exported from a model from elsewhere" in err
    status, out, _ = told(capsys, "report", folder.name, "--json")
    assert status == 0
    assert {row["model_name"] for row in json.loads(out)} == {"old"}


def test_the_next_command_can_be_pasted_where_names_have_blanks(
    exported: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copy("old.h5", "my model.h5")
    data = shutil.copy(tiny_npz, "my images.npz")
    asked = ["export", "my model.h5", "--float32", "--scale", "1", "--data", data]
    _, _, err = told(capsys, *asked)
    after = shlex.split(err.partition("Next: pipeline ")[2])
    assert after[0] == "verify"
    status, _, err = told(capsys, *after, "--limit", "6")
    assert status == 0, err
    assert shlex.split(err.partition("Next: pipeline ")[2]) == ["bench", after[1]]


@pytest.mark.parametrize(
    ("scale", "offset"), [("1/127.5", "-1"), ("1 / 127.5", "-127.5/127.5"), ("1/127.5,2/255,1/127.5", "-1")]
)
def test_a_scale_may_be_a_fraction(
    exported: Path, capsys: pytest.CaptureFixture[str], scale: str, offset: str
):
    given = ["--scale", scale, "--offset", offset, "--out", "fraction"]
    assert told(capsys, "export", "old.h5", "--float32", *given)[0] == 0
    knobs = json.loads(Path("fraction/old_float32.json").read_text())["knobs"]
    for value, expected in ((knobs["scale"], 1 / 127.5), (knobs["offset"], -1)):
        assert set(value if isinstance(value, list) else [value]) == {expected}


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ("1/0", "1/0 divides by 0. Give a number, such as 1/255."),
        ("1/", "'' is not a number"),
        ("1/x", "'x' is not a number"),
        ("1/2/3", "'2/3' is not a number"),
        ("nan/2", "not a finite number"),
    ],
)
def test_a_fraction_that_is_no_number_is_refused(
    exported: Path, capsys: pytest.CaptureFixture[str], scale: str, said: str
):
    status, _, err = told(capsys, "export", "old.h5", "--float32", "--scale", scale)
    assert status == 2
    assert said in err

"""Classifiers that end in sigmoids: one output for two classes, and an output a label."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.artifact import read_sidecar
from export.check.tally import mean_average_precision
from export.files import sha256_of
from export.head import Head, HeadKind
from pipeline.cli import run
from pipeline.data.registry import load

SIDE = 16
PRECISIONS = ("float32", "int8", "int16x8")
NAMES = ("dark side", "light side")
layers = keras.layers
Images = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def images(runs_of_module: Path) -> tuple[Images, Images]:
    """Grey noise of two brightnesses that overlap, as test images and labels; photos.npz has them all."""
    random = np.random.default_rng(7)  # no brightness near enough to a half for 8 bits to move it

    def part(num: int) -> tuple[Images, Images]:
        labels = np.arange(num) % 2
        level = random.normal(110 + 36 * labels, 20)[:, None, None, None]
        return random.normal(level, 30, (num, SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8), labels

    (x_train, y_train), (x_test, y_test) = part(60), part(40)
    np.savez("photos.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return x_test, y_test


def brightness(units: int, activation: str | None) -> keras.Model:
    """A net whose outputs are the brightness above 128, in both directions by turns."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 128, -1.0),
            layers.Conv2D(4, 3, use_bias=False),
            layers.GlobalAveragePooling2D(),
            layers.Dense(units, activation=activation),
        ]
    )
    net.layers[1].set_weights([np.full((3, 3, 3, 4), 1 / 27)])
    signs = np.resize([1.0] if units == 1 else [-1.0, 1.0], units)
    net.layers[-1].set_weights([np.tile(3 * signs, (4, 1)), np.zeros(units)])
    return net


@pytest.fixture(scope="module")
def net(images: tuple[Images, Images]) -> keras.Model:
    net = brightness(1, "sigmoid")
    net.save("one.keras")
    brightness(1, None).save("logit.keras")
    brightness(2, "sigmoid").save("two.keras")
    Path("names.txt").write_text("\n".join(NAMES))
    return net


def exported(model: str, out: str, *options: str) -> Path:
    given = ["--data", "photos.npz", "--labels", "names.txt", "--out", out]
    assert run(["export", model, *given, *options]) == 0
    return Path(out)


@pytest.fixture(scope="module")
def files(net: keras.Model) -> Path:
    return exported("one.keras", "one", *(f"--{each}" for each in PRECISIONS))


def verified(capsys: pytest.CaptureFixture[str], *files: Path) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["verify", *map(str, files), "--data", "photos.npz", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_one_sigmoid_is_right_where_keras_is_above_a_half_for_the_second_class(net, files, images, capsys):
    pixels, labels = images
    above = np.asarray(net(pixels.astype(np.float32)))[:, 0] > 0.5
    top1 = 100 * (above == labels).mean()
    assert 60 < top1 < 100
    records = verified(capsys, *files.glob("*.tflite"))
    assert len(records) == len(PRECISIONS)
    for record in records:
        assert record["keras_top1"] == pytest.approx(top1)
        assert record["agreement"] == 100


@pytest.mark.parametrize(("model", "options"), [("one.keras", ["--logits"]), ("logit.keras", [])])
def test_a_logit_is_told_apart_at_zero(model, options, net, files, images, tmp_path, capsys):
    out = exported(model, str(tmp_path), "--float32", "--int8", *options)
    pixels, labels = images
    top1 = 100 * ((np.asarray(net(pixels.astype(np.float32)))[:, 0] > 0.5) == labels).mean()
    for record in verified(capsys, *out.glob("*.tflite")):
        assert record["keras_top1"] == pytest.approx(top1)
        assert record["agreement"] == 100
    for path in out.glob("*.tflite"):
        assert read_sidecar(path).head == Head(kind=HeadKind.BINARY, num_outputs=1, threshold=0.0)


def test_two_names_are_in_the_sidecar_and_the_scored_one_is_mediapipe_s(files):
    for path in files.glob("*.tflite"):
        artifact = read_sidecar(path)
        assert artifact.class_names == NAMES
        assert artifact.head == Head(kind=HeadKind.BINARY, num_outputs=1, threshold=0.5)
        with zipfile.ZipFile(path) as archive:
            assert archive.read("labels.txt").decode().split("\n") == [*NAMES, ""]
            assert archive.read("score.txt").decode() == f"{NAMES[1]}\n"


def test_more_names_than_two_are_refused_for_one_output(net, capsys, tmp_path):
    (tmp_path / "three.txt").write_text("a\nb\nc")
    assert run(["export", "one.keras", "--float32", "--labels", str(tmp_path / "three.txt")]) == 2
    assert "has 3 class names, but the model has 2 classes" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["one.keras", "two.keras"])
def test_sigmoids_are_trained_quantized_on_their_own_sides(model, net, images, capsys):
    """By softmax's loss the largest of two sigmoids may stay right while both leave their sides."""
    steps = ["--qat", "--epochs", "1", "--batch-size", "20", "--learning-rate", "0.01", "--no-augment"]
    assert run(["compress", model, "--data", "photos.npz", *steps]) == 0
    assert run(["export", "--int8"]) == 0
    pixels, labels = images
    (path,) = sorted(Path("runs").glob(f"{model[:3]}_qat-*/export/*.tflite"))
    trained = keras.saving.load_model(path.parents[1] / "model.keras")
    scores = np.asarray(trained(pixels.astype(np.float32)))
    right = (scores > 0.5) == (labels[:, None] if scores.shape[1] == 1 else np.eye(2)[labels] > 0.5)
    assert right.mean() >= 0.75
    record = json.loads((path.parents[1] / "train.json").read_text())
    assert record["test_top1"] == pytest.approx(100 * right.mean(), abs=0.01)
    (found,) = verified(capsys, path)
    assert found["agreement"] >= 95


def average_precision(scores: Images, held: Images) -> float:
    """By the definition, threshold by threshold: the sum of precision times the gain in recall."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        recall = (taken & held).sum() / held.sum()
        total += (recall - before) * (taken & held).sum() / taken.sum()
        before = recall
    return total


def test_the_average_precision_is_the_definition_s_with_equal_scores_too():
    random = np.random.default_rng(0)
    scores = random.integers(0, 6, (40, 3)).astype(np.float32)  # many equal
    held = random.random((40, 3)) < [0.2, 0.5, 0.9]
    expected = 100 * np.mean([average_precision(scores[:, label], held[:, label]) for label in range(3)])
    assert mean_average_precision(scores, held) == pytest.approx(expected)
    held[:, 1] = False  # a label of no image counts for nothing
    expected = 100 * np.mean([average_precision(scores[:, label], held[:, label]) for label in (0, 2)])
    assert mean_average_precision(scores, held) == pytest.approx(expected)
    # by hand: right at ranks 1, 3 and 4 of 4
    one = mean_average_precision(
        np.array([[4.0], [3], [2], [1]], np.float32), np.array([[1], [0], [1], [1]]) > 0
    )
    assert one == pytest.approx(100 * (1 + 2 / 3 + 3 / 4) / 3)


def test_sigmoids_for_labels_are_judged_by_their_average_precision(images, net, tmp_path, capsys):
    pixels, labels = images
    out = exported("two.keras", str(tmp_path), "--float32", "--int8")
    scores = np.asarray(keras.saving.load_model("two.keras")(pixels.astype(np.float32)))
    held = np.eye(2)[labels] > 0.5
    for record in verified(capsys, *out.glob("*.tflite")):
        expected = 100 * np.mean([average_precision(scores[:, label], held[:, label]) for label in (0, 1)])
        assert record["keras_average_precision"] == pytest.approx(expected, abs=0.01)
        assert record["keras_all_labels"] == pytest.approx(100 * ((scores > 0.5) == held).all(1).mean())
        assert record["drop_points"] == pytest.approx(
            record["keras_average_precision"] - record["tflite_average_precision"]
        )
    assert run(["report", "--json"]) == 0
    rows = {row["sha256"]: row for row in json.loads(capsys.readouterr().out)}
    assert all(rows[sha256_of(path)]["tflite_top1"] is None for path in out.glob("*.tflite"))
    assert run(["verify", *map(str, out.glob("*.tflite")), "--data", "photos.npz"]) == 0
    assert "each label is its own yes or no, so a top-1 says nothing" in capsys.readouterr().out


def test_an_answer_that_is_always_one_class_shows_as_such(images, tmp_path, capsys):
    pixels, labels = images
    lopsided = np.r_[np.flatnonzero(labels == 0)[:4], np.flatnonzero(labels == 1)[:16]]
    arrays = dict(np.load("photos.npz"))
    arrays |= {"x_test": pixels[lopsided], "y_test": labels[lopsided]}
    np.savez(tmp_path / "lopsided.npz", **arrays)
    always = brightness(2, "softmax")
    always.layers[-1].set_weights([np.zeros((4, 2)), np.array([-4.0, 4.0])])
    always.save(tmp_path / "always.keras")
    given = ["--data", str(tmp_path / "lopsided.npz")]
    assert run(["export", str(tmp_path / "always.keras"), "--float32", "--out", str(tmp_path), *given]) == 0
    assert run(["verify", str(tmp_path / "always_float32.tflite"), *given]) == 0
    shown = capsys.readouterr().out
    assert "80.00%" in shown
    assert "50.00%" in shown
    assert "always saying the most frequent class would be right on 80.00%" in shown


@pytest.mark.parametrize(("options", "rest"), [([], "1f - second"), (["--logits"], "-second")])
def test_the_kotlin_makes_two_classes_of_one_score(options, rest, net, tmp_path):
    exported("one.keras", str(tmp_path), "--int8", *options, "--android-kit", str(tmp_path / "kit"))
    kit = tmp_path / "kit"
    both = f"return listOf(labels[0] to {rest}, labels[1] to second).sortedByDescending {{ it.second }}"
    assert both in (kit / "LiteRtClassifier.kt").read_text()
    assert both in (kit / "MediaPipeClassifier.kt").read_text()
    assert 'val labels = listOf("dark side", "light side")' in (kit / "MediaPipeClassifier.kt").read_text()
    assert (kit / "labels.txt").read_text().split("\n") == [*NAMES, ""]
    assert f"returns the score of `{NAMES[1]}` alone" in (kit / "README.md").read_text()


@pytest.fixture(scope="module")
def tagged(net: keras.Model, images: tuple[Images, Images]) -> tuple[Images, Images]:
    """Test images and which of three labels hold on each; tagged.npz has them. three.keras scores these."""
    random = np.random.default_rng(1)

    def part(num: int) -> tuple[Images, Images]:
        held = random.random((num, 3)) < 0.5
        level = random.normal(118 + 12 * held, 25)[:, None, None, :]
        return random.normal(level, 20, (num, SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8), held

    (x_train, y_train), (x_test, y_test) = part(60), part(40)
    np.savez("tagged.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    three = brightness(3, "sigmoid")
    kernel = np.zeros((3, 3, 3, 4))
    kernel[:, :, [0, 1, 2], [0, 1, 2]] = 1 / 9
    three.layers[1].set_weights([kernel])
    three.layers[-1].set_weights([12 * np.eye(4, 3), np.zeros(3)])
    three.save("three.keras")
    return x_test, y_test


def test_images_of_several_labels_are_calibrated_with_and_judged_label_by_label(tagged, tmp_path, capsys):
    pixels, held = tagged
    given = ["--data", "tagged.npz", "--out", str(tmp_path)]
    assert run(["export", "three.keras", "--float32", "--int8", *given]) == 0
    scores = np.asarray(keras.saving.load_model("three.keras")(pixels.astype(np.float32)))
    expected = 100 * np.mean([average_precision(scores[:, label], held[:, label]) for label in range(3)])
    assert 55 < expected < 95
    files = map(str, tmp_path.glob("*.tflite"))
    capsys.readouterr()
    assert run(["verify", *files, "--data", "tagged.npz", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 2
    for record in records:
        assert record["keras_average_precision"] == pytest.approx(expected, abs=0.01)
        assert record["tflite_average_precision"] == pytest.approx(expected, abs=2)
        assert record["keras_all_labels"] == pytest.approx(100 * ((scores > 0.5) == held).all(1).mean())
        assert record["keras_balanced"] is None
    assert run(["report", "--format", "json", "--out", str(tmp_path / "report.json")]) == 0
    rows = json.loads((tmp_path / "report.json").read_text())
    shown = {row["sha256"]: row for row in (rows if isinstance(rows, list) else rows["rows"])}
    for record in records:
        row = shown[record["artifact_sha256"]]
        assert row["tflite_average_precision"] == record["tflite_average_precision"]
        assert row["keras_average_precision"] == record["keras_average_precision"]
        assert row["tflite_top1"] is row["keras_top1"] is row["drop_points"] is None


def test_a_model_of_several_labels_is_compressed_on_all_of_them(tagged, capsys):
    steps = ["--qat", "--epochs", "1", "--batch-size", "20", "--learning-rate", "0.001", "--no-augment"]
    assert run(["compress", "three.keras", "--data", "tagged.npz", *steps]) == 0
    pixels, held = tagged
    (folder,) = Path("runs").glob("three_qat-*")
    scores = np.asarray(keras.saving.load_model(folder / "model.keras")(pixels.astype(np.float32)))
    record = json.loads((folder / "train.json").read_text())
    assert record["test_top1"] == pytest.approx(100 * ((scores > 0.5) == held).mean(), abs=0.01)


def test_one_hot_labels_are_numbers_and_one_class_models_refuse_several(
    images, net, tagged, tmp_path, capsys
):
    arrays = dict(np.load("photos.npz"))
    arrays |= {name: np.eye(2)[arrays[name]] for name in ("y_train", "y_test")}
    np.savez("one_hot.npz", **arrays)
    found = load("one_hot.npz")
    assert not found.spec.has_several_labels
    assert found.spec.class_counts == load("photos.npz").spec.class_counts
    assert run(["compress", "one.keras", "--data", "tagged.npz", "--qat"]) == 1
    assert run(["train", "densenet", "--data", "tagged.npz"]) == 1
    assert (
        "the images of tagged have several labels each, and training expects one class"
        in capsys.readouterr().err
    )


def test_export_says_what_the_outputs_mean(net, tmp_path, capsys):
    exported("one.keras", str(tmp_path), "--float32")
    assert "one output: above 0.5 it says 'light side', else 'dark side'." in capsys.readouterr().err
    exported("two.keras", str(tmp_path), "--float32")
    said = " ".join(capsys.readouterr().err.split())
    assert "2 sigmoids: each label holds on its own, above 0.5" in said
    assert "the images have one class each, and the outputs are several sigmoids" in said
    (file,) = tmp_path.glob("two_*.tflite")
    assert run(["verify", str(file), "--data", "photos.npz"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "the images have one class each, and the outputs are several sigmoids" in shown

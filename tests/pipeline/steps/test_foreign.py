"""Files of other tools, without a sidecar: verified beside a bare interpreter, or refused with the reason."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from export.check.foreign import read_foreign
from export.tflite.app_metadata import with_labels_file, with_metadata_entry
from pipeline.cli import run

layers = keras.layers
SIZE = 16


def images_and_labels(path: Path, split: str) -> tuple[Any, Any]:
    content = np.load(path)
    return content[f"x_{split}"], content[f"y_{split}"]


def net(num_outputs: int) -> keras.Model:
    """Says which channel is the brightest, on -1..1; outputs before the last three are never the largest."""
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(3, 3, strides=4, activation="tanh", name="squeezed")(image)
    x = layers.Dense(num_outputs, name="classes")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Softmax()(x))
    blurred = np.zeros((3, 3, 3, 3))
    blurred[:, :, range(3), range(3)] = 0.3 / 9
    model.get_layer("squeezed").set_weights([blurred, np.zeros(3)])
    kernel, bias = np.zeros((3, num_outputs)), np.full(num_outputs, -9.0)
    kernel[:, -3:], bias[-3:] = 30 * np.eye(3), 0
    model.get_layer("classes").set_weights([kernel, bias])
    return model


def converted(model: keras.Model, images: Any = None, io_dtype: Any = None) -> bytes:
    """As the TFLite guide has it; with images as a full integer file."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if images is not None:
        extremes = np.stack([np.full_like(images[0], -1), np.full_like(images[0], 1)])
        seen = np.concatenate([extremes, images]).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([each[None]] for each in seen)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = io_dtype
    with warnings.catch_warnings():
        # the converter says so of every calibrated model
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
        content: bytes = converter.convert()
    return content


def quantized_by_tensorflow_1() -> bytes:
    """As Google's quantized MobileNets: uint8 throughout, one scale a tensor, 1/128 and 128 at the input."""
    v1 = tf.compat.v1
    fake = tf.quantization.fake_quant_with_min_max_args
    blurred = np.zeros((3, 3, 3, 3), np.float32)
    blurred[:, :, range(3), range(3)] = 1 / 9
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        image = v1.placeholder(tf.float32, (1, SIZE, SIZE, 3), name="input")
        kernel = fake(tf.constant(blurred), -0.125, 0.125)
        x = tf.nn.conv2d(fake(image, -1, 127 / 128), kernel, 4, "SAME")
        x = fake(x + tf.constant(np.zeros(3, np.float32)), -1, 1)
        x = tf.reshape(tf.nn.avg_pool2d(x, 4, 4, "VALID"), (1, 3))
        x = tf.matmul(x, fake(tf.constant(4 * np.eye(3, dtype=np.float32)), -4, 4))
        scores = tf.nn.softmax(fake(x + tf.constant(np.zeros(3, np.float32)), -4, 4))
        converter = v1.lite.TFLiteConverter.from_session(session, [image], [scores])
        converter.inference_type = tf.uint8
        converter.quantized_input_stats = {"input": (128, 128)}
        content: bytes = converter.convert()
    return content


@pytest.fixture(scope="module")
def files(runs_of_module: Path, tiny_npz: Path) -> Path:
    """float32, uint8 and int8 files of one net; one of 1001 outputs, one with metadata; others to refuse."""
    images, _ = images_and_labels(tiny_npz, "train")
    scaled = images[:30] / 127.5 - 1
    three, image = net(3), keras.Input((SIZE, SIZE, 3))
    pooled = layers.GlobalAveragePooling2D()(image)
    made = {
        "float32": converted(three),
        "uint8": converted(three, scaled, tf.uint8),
        "int8": converted(three, scaled, tf.int8),
        "google": quantized_by_tensorflow_1(),
        "thousand": converted(net(1001), scaled, tf.uint8),
        "two_outputs": converted(keras.Model(image, [pooled, 2 * pooled])),
        "segments": converted(keras.Model(image, layers.Conv2D(5, 1)(image))),
        "numbers": converted(keras.Model(image, keras.ops.cast(pooled, "int32"))),
    }
    other = keras.Input((3,))
    made["two_inputs"] = converted(keras.Model([image, other], layers.Add()([pooled, other])))
    rows = keras.Input((48,))
    made["rows"] = converted(keras.Model(rows, layers.Dense(3)(rows)))
    made["cut"] = made["float32"][:700]
    made["named"] = with_labels_file(with_metadata_entry(made["uint8"], model_name="theirs"), ["2", "1", "0"])
    for name, content in made.items():
        (runs_of_module / f"{name}.tflite").write_bytes(content)
    return runs_of_module


def verify(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = run(["verify", *arguments])
    found = capsys.readouterr()
    return status, found.out, " ".join(found.err.split())


def right_in_a_bare_loop(path: Path, stored: Any, labels: Any) -> float:
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    right = 0
    for image, label in zip(stored, labels, strict=True):
        interpreter.set_tensor(takes["index"], image[None].astype(takes["dtype"]))
        interpreter.invoke()
        right += int(interpreter.get_tensor(gives["index"])[0].argmax() == label)
    return 100 * right / len(labels)


@pytest.mark.parametrize(
    ("name", "options"),
    [("uint8", []), ("google", []), ("int8", []), ("float32", ["--scale", "0.00784314", "--offset", "-1"])],
)
def test_top1_is_that_of_a_bare_loop_and_nothing_is_compared(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str], name: str, options: list[str]
):
    path = files / f"{name}.tflite"
    status, out, _ = verify(capsys, str(path), "--data", str(tiny_npz), *options, "--json")
    (found,) = json.loads(out)
    images, labels = images_and_labels(tiny_npz, "test")
    stored = {"int8": images.astype(int) - 128, "float32": images / 127.5 - 1}.get(name, images)
    assert status == 0
    assert found["tflite_top1"] == pytest.approx(right_in_a_bare_loop(path, stored, labels))
    assert found["tflite_top1"] > 90
    assert (found["keras_top1"], found["drop_points"], found["agreement"]) == (None, None, None)


def test_the_table_says_that_there_is_no_model_to_compare_with_and_the_report_has_the_file(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    status, out, said = verify(capsys, "uint8.tflite", "--data", str(tiny_npz))
    assert status == 0
    assert "uint8.tflite: no Keras model to compare with" in out
    assert "its uint8 input takes the pixel" in said
    assert run(["report", "--format", "json"]) == 0
    (row,) = [each for each in json.loads(capsys.readouterr().out) if each["model_name"] == "uint8"]
    assert (row["tflite_top1"], row["keras_top1"], row["size_bytes"]) == (
        100,
        None,
        (files / "uint8.tflite").stat().st_size,
    )


def test_a_float_file_without_a_scale_stops_with_the_options_to_give(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    status, _, said = verify(capsys, "float32.tflite", "--data", str(tiny_npz))
    assert status == 2
    assert "--scale 0.00784314 --offset -1" in said
    assert "0..255: 33.3%" in said


def test_a_wrong_scale_that_was_given_is_never_a_green_verify(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    status, out, said = verify(capsys, "float32.tflite", "--data", str(tiny_npz), "--scale", "1")
    assert status == 1
    assert "33.33%" in out
    assert "--scale 0.00784314 --offset -1" in said


def test_an_export_made_with_the_wrong_pixels_is_never_a_green_verify(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    """Exported without a data set, so that nothing could be tried."""
    net(3).save(files / "mine.keras")
    assert run(["export", "mine.keras", "--float32", "--float16", "--out", str(files / "raw")]) == 0
    made = sorted(map(str, (files / "raw").glob("*.tflite")))
    status, _, said = verify(capsys, *made, "--data", str(tiny_npz))
    assert status == 1
    assert said.count("--scale 0.00784314 --offset -1") == 1, "one line for both files"
    assert "mine_float16.tflite, mine_float32.tflite: fed 0..255 it is right on 33.3%" in said


def test_outputs_of_1001_are_named_by_a_labels_file(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    names = ["background", *(f"class {number}" for number in range(997)), "0", "1", "2"]
    (files / "names.txt").write_text("".join(f"{name}\n" for name in names))
    options = ["--data", str(tiny_npz), "--labels", "names.txt"]
    status, out, _ = verify(capsys, "thousand.tflite", *options)
    assert status == 0
    assert "100.00%" in out
    assert "3 of 3 classes of the data set matched by name; the model has 998 more" in out


def test_outputs_without_names_that_are_not_as_many_as_the_classes_are_refused(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    status, _, said = verify(capsys, "thousand.tflite", "--data", str(tiny_npz))
    assert status != 0
    assert "--labels FILE" in said


def test_labels_inside_the_file_are_read(files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]):
    """They are in the reverse order of the outputs here, which makes class 1 alone right."""
    assert read_foreign(files / "named.tflite").class_names == ("2", "1", "0")
    status, out, _ = verify(capsys, "named.tflite", "--data", str(tiny_npz))
    assert status == 0
    assert "33.33%" in out


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("two_outputs", "gives 2 outputs (float32 (1, 3), float32 (1, 3))"),
        ("two_inputs", "takes 2 inputs"),
        ("segments", "gives float32 (1, 16, 16, 5), not one number for each class"),
        ("numbers", "gives int32 (1, 3), no scores"),
        ("rows", "takes float32 (1, 48), not one image"),
        ("cut", "is truncated or damaged"),
    ],
)
def test_what_is_no_classifier_is_refused_with_the_reason(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
):
    status, _, said = verify(capsys, f"{name}.tflite", "--data", str(tiny_npz))
    assert status != 0
    assert reason in said


@pytest.mark.parametrize("options", [["--max-drop", "1"], []])
def test_a_gate_needs_a_model_and_data_are_asked_for(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str], options: list[str]
):
    status, _, said = verify(capsys, "uint8.tflite", *options)
    assert status == 2
    assert ("no Keras model to compare with" if options else "Give --data NAME or FOLDER") in said


def test_options_that_a_sidecar_answers_are_refused(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    net(3).save(files / "ours.keras")
    assert run(["export", "ours.keras", "--float32", "--out", str(files / "ours")]) == 0
    status, _, said = verify(
        capsys, str(files / "ours" / "ours_float32.tflite"), "--data", str(tiny_npz), "--scale", "1"
    )
    assert status == 2
    assert "are for files without a sidecar" in said


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    capsys.readouterr()
    status = run(["explain", *arguments, "--no-time", "--json"])
    found = capsys.readouterr()
    return status, json.loads(found.out)[0] if found.out else None, " ".join(found.err.split())


def test_two_files_answer_on_the_same_images(files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]):
    """An export of ours beside others: what can be compared, with the reason where it cannot."""
    net(3).save(files / "mine.keras")
    scale = ["--scale", "0.00784314", "--offset", "-1"]
    assert run(["export", "mine.keras", "--float32", *scale, "--out", str(files / "mine")]) == 0
    ours = str(files / "mine" / "mine_float32.tflite")
    status, found, _ = explained(capsys, "google.tflite", ours, "--data", str(tiny_npz))
    assert status == 0
    answers = found["answers"]
    assert [each["top1"] for each in answers["files"]] == [100, 100]
    assert (answers["agreement"], answers["p"], answers["num_images"]) == (100, 1, 30)
    status, found, _ = explained(capsys, "float32.tflite", ours, "--data", str(tiny_npz))
    theirs, own = found["answers"]["files"]
    assert (status, theirs["top1"], own["top1"], found["answers"]["agreement"]) == (0, None, 100, None)
    assert "--scale 0.00784314 --offset -1" in theirs["reason"]
    status, found, _ = explained(capsys, "float32.tflite", ours, "--data", str(tiny_npz), *scale)
    assert [each["top1"] for each in found["answers"]["files"]] == [100, 100]
    status, found, _ = explained(capsys, "two_outputs.tflite", ours, "--data", str(tiny_npz))
    assert (status, "gives 2 outputs" in found["answers"]["files"][0]["reason"]) == (0, True)


def test_a_file_of_another_tool_is_explained_without_data_and_options_for_data_need_them(
    files: Path, capsys: pytest.CaptureFixture[str]
):
    status, found, _ = explained(capsys, "google.tflite")
    assert (status, found["answers"]) == (0, None)
    status, _, said = explained(capsys, "google.tflite", "--scale", "1")
    assert status == 2
    assert "Give --data NAME or FOLDER too" in said


def test_answers_of_two_files_are_told_in_words(
    files: Path, tiny_npz: Path, capsys: pytest.CaptureFixture[str]
):
    """named.tflite is uint8.tflite with the names of two classes exchanged."""
    options = ["--data", str(tiny_npz), "--no-time"]
    assert run(["explain", "uint8.tflite", "named.tflite", *options]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "On 30 test images of tiny: A: top-1 100.00% B: top-1 33.33%" in out
    # 20 of 30 images that one file alone gets right: 2 / 2**20
    assert (
        "both name the same class on 33.33%; the difference in top-1 is more than chance (p = 1.9e-06)" in out
    )

"""What is read from a file, beside what LiteRT says of it, and bad files."""

import random
import re
import sys

import keras
import numpy as np
import pytest

from export.check.load_check import litert_loads, loads, tflite_runtime_loads
from export.convert import convert
from export.errors import BadModelFileError
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect, inspect_bytes
from export.tflite.notes import with_note


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_operators_and_tensors_are_those_litert_has(exported, precision):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    contents = inspect(exported(precision))
    interpreter = Interpreter(
        model_path=str(exported(precision)),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    assert [each.name for each in contents.graph] == [
        each["op_name"] for each in interpreter._get_ops_details()
    ]
    for ours, theirs in (
        (contents.inputs[0], interpreter.get_input_details()[0]),
        (contents.outputs[0], interpreter.get_output_details()[0]),
    ):
        assert (ours.name, ours.shape) == (theirs["name"], tuple(theirs["shape"]))
        assert np.dtype(ours.dtype) == theirs["dtype"]
        assert (ours.scale, ours.zero_point) == theirs["quantization"]
    for ours, theirs in zip(contents.tensors, interpreter.get_tensor_details(), strict=False):
        assert ours.name == theirs["name"]
        assert len(ours.scales) == len(theirs["quantization_parameters"]["scales"])


def test_float_operators_are_told_by_precision(exported):
    found = {precision: inspect(exported(precision)).float_operators for precision in Precision}
    assert found[Precision.INT8] == ()
    assert found[Precision.INT16X8] == ("DEQUANTIZE", "QUANTIZE"), "its float input and output"
    assert "CONV_2D" in found[Precision.FLOAT32]
    assert "CONV_2D" in found[Precision.DYNAMIC]
    assert "CONV_2D" in found[Precision.FLOAT16]
    assert "DEQUANTIZE" not in found[Precision.FLOAT16], "weights are widened once, on loading"


def test_counts_add_up_and_the_oldest_runtime_is_known(exported):
    contents = inspect(exported("int8"))
    uses = {use.name: use for use in contents.operators}
    assert uses["CONV_2D"].count == 4
    assert sum(use.count for use in contents.operators) == len(contents.graph)
    assert re.fullmatch(r"\d+\.\d+\.\d+", contents.min_runtime_version)


def test_a_layer_without_integer_kernel_is_seen_with_its_place(calibration_pixels):
    image = keras.Input((32, 32, 3))
    x = keras.ops.sin(keras.layers.Conv2D(4, 3, name="before")(image))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    contents = inspect_bytes(
        convert(model, ExportSettings(Precision.INT8), pixels=calibration_pixels), name="x"
    )
    assert "SIN" in contents.float_operators
    assert any("SIN at" in place and "Sin" in place for place in contents.float_operator_places)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_per_tensor_weights_are_told_from_per_channel(net, calibration_pixels):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [each[None].astype("float32")] for each in calibration_pixels[:4]
    )
    converter._experimental_disable_per_channel = True
    assert inspect_bytes(converter.convert(), name="x").per_channel is False


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(exported, share):
    path = exported("int8")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadModelFileError, match=r"empty|truncated|not a \.tflite file") as caught:
        inspect(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_random_bytes_even_with_the_right_identifier_are_refused():
    for seed in range(200):
        noise = random.Random(seed).randbytes(4000)
        with pytest.raises(BadModelFileError):
            inspect_bytes(noise, name="noise.tflite")
        with pytest.raises(BadModelFileError):
            inspect_bytes(noise[:4] + b"TFL3" + noise[8:], name="noise.tflite")


def test_a_keras_file_under_another_name_is_refused(net, tmp_path):
    net.save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "model.tflite")
    with pytest.raises(BadModelFileError, match=r"not a \.tflite file"):
        inspect(tmp_path / "model.tflite")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadModelFileError, match=r"cannot read .*none\.tflite \(No such file"):
        inspect(tmp_path / "none.tflite")


def test_flipped_bytes_end_in_an_answer_or_our_error(exported):
    content = exported("int8").read_bytes()
    generator = random.Random(0)
    refused = []
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(4):
            changed[generator.randrange(8, len(changed))] = generator.randrange(256)
        try:
            inspect_bytes(bytes(changed), name="changed.tflite")
        except BadModelFileError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in each for each in refused)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_tflite_runtime_loads_what_the_converter_says_it_can(exported, precision):
    pytest.importorskip("tflite_runtime", reason="tflite-runtime has no wheel for this machine")
    assert tflite_runtime_loads(exported(precision)) == (True, None)


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_garbage_does_not_take_this_process_along(tmp_path, runtime):
    path = tmp_path / "garbage.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 500)
    loaded, error = loads(runtime, path)
    if loaded is None:
        pytest.skip(f"{runtime} is not installed")
    assert loaded is False
    assert error


def test_a_program_with_a_truncated_file_gets_no_crash(exported):
    path = exported("int8")
    path.write_bytes(path.read_bytes()[:5000])
    loaded, error = litert_loads(path)
    assert loaded is False
    assert error
    assert "\n" not in error


def test_inspection_needs_no_tensorflow(exported):
    import subprocess

    program = (
        "import sys; from pathlib import Path; from export.tflite.inspect import inspect; "
        f"inspect(Path({str(exported('int8'))!r})); "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("precision", "io_dtype", "words"),
    [
        ("float32", "int8", "raw 0-255 RGB as float32"),
        ("int16x8", "int8", "raw 0-255 RGB as float32"),
        ("int8", "int8", "raw 0-255 RGB as int8: pixel - 128"),
        ("int8", "uint8", "raw 0-255 RGB as uint8: the pixel itself"),
    ],
)
def test_the_file_itself_says_which_pixels_it_takes(exported, precision, io_dtype, words):
    path = exported(precision, io_dtype)
    assert inspect(path).pixels == words
    assert words.encode() in path.read_bytes()


def test_a_note_changes_neither_graph_nor_older_notes(exported):
    content = exported("int8").read_bytes()
    before, after = (
        inspect_bytes(content, name="x"),
        inspect_bytes(with_note(content, "other", "ä"), name="x"),
    )
    assert (after.graph, after.tensors) == (before.graph, before.tensors)
    assert (after.pixels, after.min_runtime_version) == (before.pixels, before.min_runtime_version)

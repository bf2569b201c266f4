"""Conversion, judged by two runtimes and by the formula real = scale * (stored - zero_point)."""

import keras
import numpy as np
import pytest

from export.convert import convert
from export.errors import ExportError
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes

FLOAT_TOLERANCE = {"float32": 1e-5, "float16": 0.01, "dynamic": 0.05, "int16x8": 0.05}
"""Of a probability: rounding; 11 bits of weights; 8 bits of weights."""
LEVELS = np.arange(256, dtype=np.float64)


@pytest.mark.parametrize("precision", FLOAT_TOLERANCE)
def test_raw_float_pixels_give_the_keras_probabilities(nets, net, exported, test_images, precision):
    images = test_images.astype(np.float32)
    found, takes, _ = nets.litert(exported(precision), images)
    assert takes["dtype"] is np.float32
    expected = np.asarray(net(images, training=False))
    np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE[precision])


@pytest.mark.parametrize(("io_dtype", "zero"), [("int8", 128), ("uint8", 0)])
def test_camera_bytes_give_nearly_the_keras_probabilities(nets, net, exported, test_images, io_dtype, zero):
    stored = (test_images.astype(np.int16) - zero).astype(io_dtype)
    found, takes, gives = nets.litert(exported("int8", io_dtype), stored)
    assert takes["dtype"] == gives["dtype"] == np.dtype(io_dtype)
    scale, zero_point = gives["quantization"]
    probabilities = scale * (found.astype(float) - zero_point)
    expected = np.asarray(net(test_images.astype(np.float32), training=False))
    assert np.abs(probabilities - expected).mean() < 0.02
    sure = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 0.2
    assert (probabilities.argmax(1) == expected.argmax(1))[sure].all()
    assert len(set(expected.argmax(1))) > 1, "the images must not all be of one class"


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
def test_tflite_runtime_gives_the_same_bytes_as_litert(nets, exported, test_images, tmp_path, io_dtype):
    path = exported("int8", io_dtype)
    stored = (test_images.astype(np.int16) - (128 if io_dtype == "int8" else 0)).astype(io_dtype)
    by_runtime = nets.tflite_runtime(path, stored, tmp_path)
    by_litert, _, _ = nets.litert(path, stored, resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")
    np.testing.assert_array_equal(by_litert, by_runtime)
    # XNNPACK rounds otherwise: a step a layer, which these logits and the softmax make several
    by_xnnpack, _, _ = nets.litert(path, stored)
    difference = np.abs(by_xnnpack.astype(int) - by_runtime.astype(int))
    assert difference.mean() < 1
    assert difference.max() <= 8


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_both_runtimes_agree_in_float(nets, exported, test_images, tmp_path, precision):
    images = test_images.astype(np.float32)
    by_litert, _, _ = nets.litert(exported(precision), images)
    np.testing.assert_allclose(
        by_litert, nets.tflite_runtime(exported(precision), images, tmp_path), atol=1e-4
    )


def test_int8_and_uint8_files_give_the_same_steps(nets, exported, test_images):
    signed, _, _ = nets.litert(exported("int8"), (test_images.astype(np.int16) - 128).astype(np.int8))
    unsigned, _, _ = nets.litert(exported("int8", "uint8"), test_images)
    np.testing.assert_array_equal(signed.astype(int) + 128, unsigned)


@pytest.mark.parametrize(
    ("rescaling", "worst_levels"),
    [
        ({"scale": 1 / 128, "offset": -1.0}, 0),
        ({"scale": 1 / 255, "offset": 0.0}, 0),
        ({"scale": 1 / 127.5, "offset": -1.0}, 0.5),
        ({"scale": 1.0, "offset": -103.94}, 0.06),
    ],
)
@pytest.mark.parametrize(("io_dtype", "zero"), [("int8", 128), ("uint8", 0)])
def test_input_quantization_is_the_rescaling(calibration_pixels, rescaling, worst_levels, io_dtype, zero):
    image = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(**rescaling)(image)
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    content = convert(
        keras.Model(image, x), ExportSettings(Precision.INT8, io_dtype=io_dtype), pixels=calibration_pixels
    )
    from ai_edge_litert.interpreter import Interpreter

    scale, zero_point = Interpreter(model_content=content).get_input_details()[0]["quantization"]
    seen = scale * ((LEVELS - zero) - zero_point)
    meant = LEVELS * rescaling["scale"] + rescaling["offset"]
    # float32 holds the scale to 24 bits: 1e-4 of a grey level over 256 of them
    assert np.abs(seen - meant).max() / rescaling["scale"] <= worst_levels + 1e-4
    operators = [operator.name for operator in inspect_bytes(content, name="x").graph]
    assert operators[0] == ("CONV_2D" if io_dtype == "int8" else "QUANTIZE")
    assert "MUL" not in operators


@pytest.mark.parametrize(("io_dtype", "zero"), [("int8", 128), ("uint8", 0)])
def test_rescaling_per_channel_is_one_integer_operator(
    nets, per_channel_net, calibration_pixels, test_images, tmp_path, io_dtype, zero
):
    content = convert(
        per_channel_net, ExportSettings(Precision.INT8, io_dtype=io_dtype), pixels=calibration_pixels
    )
    contents = inspect_bytes(content, name="x")
    without = inspect_bytes(
        convert(
            nets.small_net(), ExportSettings(Precision.INT8, io_dtype=io_dtype), pixels=calibration_pixels
        ),
        name="x",
    )
    assert len(contents.graph) == len(without.graph) + 1
    assert contents.float_operators == ()
    assert (contents.inputs[0].scale, contents.inputs[0].zero_point) == (1, -zero)
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    found, _, gives = nets.litert(path, (test_images.astype(np.int16) - zero).astype(io_dtype))
    expected = np.asarray(per_channel_net(test_images.astype(np.float32), training=False))
    probabilities = gives["quantization"][0] * (found.astype(float) - gives["quantization"][1])
    assert np.abs(probabilities - expected).mean() < 0.02


@pytest.mark.parametrize(
    "stem",
    [
        [keras.layers.Conv2D(8, 3, strides=2, name="stem")],
        [keras.layers.Conv2D(8, 7, strides=2, name="stem")],  # on pairs of columns
        [keras.layers.BatchNormalization(name="norm"), keras.layers.Conv2D(8, 3, padding="same")],
    ],
)
def test_rescaling_per_channel_is_no_operator_before_a_convolution_that_pads_nothing(
    nets, stem, calibration_pixels, test_images, tmp_path
):
    keras.utils.set_random_seed(0)
    files = {}
    for name, rescaling in {"one": nets.EXACT, "each": nets.PER_CHANNEL}.items():
        image = keras.Input((32, 32, 3))
        x = keras.layers.Rescaling(**rescaling, name="pixels")(image)
        for layer in stem:
            x = type(layer).from_config(layer.get_config())(x)
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
        model = keras.Model(image, keras.layers.Dense(4, name="logits")(x))
        content = convert(model, ExportSettings(Precision.INT8), pixels=calibration_pixels)
        files[name] = [operator.name for operator in inspect_bytes(content, name="x").graph]
    assert files["each"] == files["one"]
    (tmp_path / "model.tflite").write_bytes(content)
    found, _, gives = nets.litert(
        tmp_path / "model.tflite", (test_images.astype(np.int16) - 128).astype(np.int8)
    )
    expected = np.asarray(model(test_images.astype(np.float32), training=False))
    scores = gives["quantization"][0] * (found.astype(float) - gives["quantization"][1])
    assert np.abs(scores - expected).mean() < 0.03 * np.ptp(expected)


def test_a_rescaling_that_black_to_white_does_not_span_zero_still_takes_raw_bytes(calibration_pixels, nets):
    model = nets.small_net({"scale": -1 / 255, "offset": 1.0})
    contents = inspect_bytes(
        convert(model, ExportSettings(Precision.INT8), pixels=calibration_pixels), name="x"
    )
    # white is 0, so that what the first convolution pads with is exact
    assert (contents.inputs[0].scale, contents.inputs[0].zero_point) == (pytest.approx(1 / 255), 127)
    assert contents.graph[0].name == "CONV_2D"


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
def test_int8_file_is_integer_throughout_with_a_scale_a_channel(exported, io_dtype):
    contents = inspect_bytes(exported("int8", io_dtype).read_bytes(), name="x")
    assert contents.float_operators == ()
    assert contents.per_channel is True
    assert {tensor.dtype for tensor in contents.tensors} <= {"int8", "uint8", "int32"}


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_batch_is_fixed_to_one_with_a_signature(exported, precision):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported(precision)))
    assert list(interpreter.get_input_details()[0]["shape_signature"]) == [1, 32, 32, 3]
    assert list(interpreter.get_output_details()[0]["shape_signature"]) == [1, 5]
    assert interpreter.get_signature_list()["serving_default"]["inputs"] == ["image"]


def test_float16_is_half_and_int8_a_quarter_of_float32(nets):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 128, -1.0)(image)
    for _ in range(3):
        x = keras.layers.Conv2D(96, 3, padding="same", activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))
    pixels = nets.colourful(4, seed=0, size=8)
    size = {each: len(convert(model, ExportSettings(each), pixels=pixels)) for each in Precision}
    assert size[Precision.FLOAT16] / size[Precision.FLOAT32] == pytest.approx(0.5, abs=0.02)
    for precision in (Precision.DYNAMIC, Precision.INT8, Precision.INT16X8):
        assert size[precision] / size[Precision.FLOAT32] == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_no_calibration_pixels_is_refused(net, precision):
    with pytest.raises(ExportError, match="no calibration pixels"):
        convert(net, ExportSettings(Precision(precision)))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 32, 32, 3), np.float32),
        np.zeros((3, 16, 32, 3), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
    ],
)
def test_wrong_calibration_pixels_are_refused(net, pixels):
    with pytest.raises(ExportError, match=r"Expected uint8 \(n, 32, 32, 3\)"):
        convert(net, ExportSettings(Precision.INT8), pixels=pixels)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_calibration_pixels_of_one_colour_each_are_refused(net, precision):
    grey = np.arange(0, 90, 10, dtype=np.uint8)[:, None, None, None]
    colours = np.broadcast_to(grey + np.arange(3, dtype=np.uint8), (9, 32, 32, 3))
    with pytest.raises(ExportError, match="each of the 9 calibration images is of one colour"):
        convert(net, ExportSettings(Precision(precision)), pixels=colours)


def test_an_operator_without_a_tflite_kernel_is_named():
    image = keras.Input((8, 8, 3))
    spectrum = keras.ops.fft2((image[..., 0], image[..., 1]))[0]
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(spectrum)))
    with pytest.raises(ExportError, match="FFT2D"):
        convert(model, ExportSettings(Precision.FLOAT32))


@pytest.mark.parametrize("activation", ["selu", "softplus", "mish", "exponential", "log_sigmoid"])
def test_what_crashes_the_quantizer_is_refused_with_its_place(calibration_pixels, activation):
    """Without the refusal the process ends here with a segmentation fault."""
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, activation=activation, name="curved")(image)
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ExportError, match=r"crashes on exponentials.* at \S*curved"):
        convert(keras.Model(image, x), ExportSettings(Precision.INT8), pixels=calibration_pixels)


def test_nothing_is_printed(net, calibration_pixels, capfd):
    convert(net, ExportSettings(Precision.INT8), pixels=calibration_pixels)
    assert capfd.readouterr() == ("", "")


def test_no_temporary_folder_is_left(net, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    convert(net, ExportSettings(Precision.FLOAT32))
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_the_calibration_images(net, calibration_pixels):
    seen = []
    convert(
        net,
        ExportSettings(Precision.INT8),
        pixels=calibration_pixels,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (100, 100)

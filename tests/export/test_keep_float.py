"""Layers that stay in float in an int8 file, and channels brought to one range before."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from export.artifact import Equalization, read_sidecar
from export.check.verify import NamedLayers, Samples, verify
from export.convert import calibrate_int8, convert
from export.errors import BadModelFileError, ExportError, FloatOperatorError, SettingsError
from export.exporter import SourceModel, export_model
from export.plan import converted_model
from export.precisions import Precision
from export.quantization.calibrate import CalibrationImages
from export.quantization.float_layers import layers_around, operators_to_keep
from export.settings import ExportSettings, settings_for
from export.tflite.inspect import inspect_bytes
from pipeline.cli import run

layers = keras.layers
NAMES = ["a", "b", "c", "d", "e"]


def wide_net(*, num_readers, factor=1000.0):
    """The second of its activations has one channel far larger than the rest; a residual has two readers."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 128, -1.0, name="pixels")(image)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(x)
    wide = layers.Conv2D(8, 1, activation="relu", name="wide")(x)
    readers = [layers.Conv2D(8, 3, padding="same", name=f"reader{each}")(wide) for each in range(num_readers)]
    x = layers.Add(name="sum")(readers) if num_readers > 1 else readers[0]
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    x = layers.Softmax(name="probabilities")(layers.Dense(5, name="logits")(x))
    model = keras.Model(image, x, name="wide_net")
    kernel, bias = model.get_layer("wide").get_weights()
    kernel[..., 0] *= factor
    model.get_layer("wide").set_weights([kernel, bias])
    for each in range(num_readers):
        kernel, bias = model.get_layer(f"reader{each}").get_weights()
        kernel[:, :, 0] /= factor
        model.get_layer(f"reader{each}").set_weights([kernel, bias])
    return model


@pytest.fixture(scope="module")
def wide_nets(nets):
    return {number: nets.with_opinions(wide_net(num_readers=number), 0) for number in (1, 2)}


def outputs(content, images, folder, nets):
    """Stored int8 outputs of LiteRT, as real values."""
    path = folder / "file.tflite"
    path.write_bytes(content)
    stored, _, gives = nets.litert(path, (images.astype(np.int16) - 128).astype(np.int8))
    scale, zero_point = gives["quantization"]
    return scale * (stored.astype(np.float64) - zero_point)


def computing(content):
    """Output tensor names of the operators that compute in float, conversions apart."""
    contents = inspect_bytes(content, name="file")
    floats = [operator for operator in contents.graph if operator.name not in ("QUANTIZE", "DEQUANTIZE")]
    tensors = contents.tensors
    return [
        (operator.name, tensors[operator.outputs[0]].name)
        for operator in floats
        if tensors[operator.outputs[0]].dtype == "float32"
    ]


def test_a_kept_layer_computes_in_float_and_no_other_does(net, calibration_pixels):
    content = convert(net, ExportSettings(Precision.INT8, keep_float=["expand3"]), pixels=calibration_pixels)
    ((operator, name),) = computing(content)
    assert operator == "CONV_2D"
    assert "expand3" in name


@pytest.mark.parametrize("name", ["conv1_bn", "conv1_relu"])
def test_any_of_the_layers_in_one_operator_names_it(net, calibration_pixels, name):
    content = convert(net, ExportSettings(Precision.INT8, keep_float=[name]), pixels=calibration_pixels)
    ((operator, tensor),) = computing(content)
    assert operator == "CONV_2D"
    assert "conv1" in tensor


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kept", [["conv1"], ["logits", "probabilities"]])
def test_input_and_output_stay_integer_and_take_raw_pixels(net, calibration_pixels, io_dtype, kept):
    content = convert(
        net, ExportSettings(Precision.INT8, io_dtype=io_dtype, keep_float=kept), pixels=calibration_pixels
    )
    contents = inspect_bytes(content, name="file")
    (takes,), (gives,) = contents.inputs, contents.outputs
    assert takes.dtype == gives.dtype == io_dtype
    assert (takes.scale, takes.zero_point) == (1 / 128, 0 if io_dtype == "int8" else 128)
    assert len(computing(content)) == len(kept)
    assert len(operators_to_keep(contents, net, kept)) == len(kept)


def test_the_layers_that_stay_integer_are_quantized_as_without(net, calibration_pixels):
    plain, kept = (
        inspect_bytes(
            convert(net, ExportSettings(Precision.INT8, keep_float=names), pixels=calibration_pixels),
            name="file",
        )
        for names in ([], ["expand3"])
    )
    scales = [
        {
            (tensor.name, tensor.scales)
            for tensor in contents.tensors
            if tensor.dtype == "int8" and "conv1" in tensor.name
        }
        for contents in (plain, kept)
    ]
    assert scales[0] == scales[1] != set()


def test_a_float_output_is_nearer_to_keras(net, calibration_pixels, test_images, tmp_path, nets):
    expected = np.asarray(net(test_images.astype(np.float32), training=False))
    every = [
        layer.name for layer in net.layers if layer.name not in ("pixels", "dropout", "pre_bn", "pre_relu")
    ]
    every = [name for name in every if not name.startswith("input")]
    errors = [
        np.abs(
            outputs(
                convert(net, ExportSettings(Precision.INT8, keep_float=names), pixels=calibration_pixels),
                test_images,
                tmp_path,
                nets,
            )
            - expected
        ).max()
        for names in ([], every)
    ]
    # all in float but pre_bn: what is left is its rounding, and the output's step of 1/256
    assert errors[1] < errors[0] / 2


def test_a_name_that_is_no_layer_is_an_error_with_the_near_one(net, calibration_pixels):
    with pytest.raises(ExportError, match=r"no layer 'expnd3'.*Did you mean 'expand3'"):
        convert(net, ExportSettings(Precision.INT8, keep_float=["expnd3"]), pixels=calibration_pixels)


def test_a_layer_without_an_operator_is_an_error(net, calibration_pixels):
    with pytest.raises(ExportError, match=r"'dropout'.*has no operator in the int8 file"):
        convert(net, ExportSettings(Precision.INT8, keep_float=["dropout"]), pixels=calibration_pixels)


def test_a_layer_of_a_nested_model_is_named_by_its_path(calibration_pixels):
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    inner_image = keras.Input((32, 32, 3))
    body = layers.Conv2D(4, 3, activation="relu", name="conv")(inner_image)
    body = keras.Model(inner_image, layers.Conv2D(4, 3, name="second")(body), name="body")
    x = layers.GlobalAveragePooling2D()(body(image))
    model = keras.Model(image, layers.Dense(5, name="conv")(x))
    content = convert(
        model, ExportSettings(Precision.INT8, keep_float=["body/conv"]), pixels=calibration_pixels
    )
    ((operator, name),) = computing(content)
    assert operator == "CONV_2D"
    assert "body" in name
    ((operator, _),) = computing(
        convert(model, ExportSettings(Precision.INT8, keep_float=["conv"]), pixels=calibration_pixels)
    )
    assert operator == "FULLY_CONNECTED"


def test_other_precisions_are_as_without(net):
    asked = {"keep_float": ["expand3"], "equalize": True}
    settings = settings_for([Precision.INT8, Precision.FLOAT16], **asked)
    assert [each.equalize for each in settings] == [True, None]
    assert convert(net, settings[1]) == convert(net, ExportSettings(Precision.FLOAT16))
    with pytest.raises(SettingsError, match="is for int8 files"):
        ExportSettings(Precision.FLOAT16, equalize=True)


def test_the_layers_around_an_activation_are_its_writer_and_all_readers(wide_nets, calibration_pixels):
    content = convert(wide_nets[2], ExportSettings(Precision.INT8), pixels=calibration_pixels)
    contents = inspect_bytes(content, name="file")
    around = layers_around(contents, wide_nets[2], "wide")
    assert around == ("wide", "reader0", "reader1")


def test_a_wide_activation_in_float_gives_the_labels_back(
    wide_nets, calibration_pixels, test_images, tmp_path, nets
):
    model = wide_nets[2]
    expected = np.asarray(model(test_images.astype(np.float32), training=False)).argmax(axis=1)
    agreement = {
        names: np.mean(
            outputs(
                convert(model, ExportSettings(Precision.INT8, keep_float=names), pixels=calibration_pixels),
                test_images,
                tmp_path,
                nets,
            ).argmax(axis=1)
            == expected
        )
        for names in ((), ("wide",), ("wide", "reader0", "reader1"))
    }
    assert agreement[("wide", "reader0", "reader1")] >= 0.95
    # in float alone its output is quantized all the same
    assert max(agreement[()], agreement[("wide",)]) < 0.7


def test_equalizing_gives_the_labels_back_where_one_layer_reads(
    wide_nets, calibration_pixels, test_images, tmp_path, nets
):
    model = wide_nets[1]
    expected = np.asarray(model(test_images.astype(np.float32), training=False)).argmax(axis=1)
    plain, equalized = (
        np.mean(
            outputs(
                convert(model, ExportSettings(Precision.INT8, equalize=equalize), pixels=calibration_pixels),
                test_images,
                tmp_path,
                nets,
            ).argmax(axis=1)
            == expected
        )
        for equalize in (False, True)
    )
    assert plain < 0.7
    assert equalized >= 0.9
    assert (
        computing(convert(model, ExportSettings(Precision.INT8, equalize=True), pixels=calibration_pixels))
        == []
    )


def test_a_model_without_a_pair_to_equalize_is_exported_all_the_same(calibration_pixels):
    image = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, layers.Softmax()(x))
    assert convert(model, ExportSettings(Precision.INT8, equalize=True), pixels=calibration_pixels)


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    net.save(path)
    return path


@pytest.fixture
def export(saved, net, calibration_pixels, tmp_path):
    def write(*, model=net, **changes):
        source = SourceModel(
            path=saved, model=model, model_name="small", family=None, class_names=NAMES, dataset="blocks"
        )
        settings = ExportSettings(Precision.INT8, **changes)
        images = CalibrationImages(pixels=calibration_pixels)
        return export_model(source, tmp_path / "small.tflite", settings, images=images)

    return write


def test_the_sidecar_says_what_stays_in_float_and_what_was_equalized(export, tmp_path):
    artifact = export(keep_float=["expand3"], equalize=True)
    assert read_sidecar(tmp_path / "small.tflite") == artifact
    assert artifact.float_layers == ("expand3",)
    assert artifact.float_operators == ("CONV_2D", "DEQUANTIZE", "QUANTIZE")
    assert artifact.settings.equalize
    plain = export()
    assert (plain.float_layers, plain.settings.equalize, plain.float_operators) == ((), None, ())


def test_a_sidecar_from_before_is_refused_in_one_line(export, tmp_path):
    record = dataclasses.asdict(export())
    record |= {"precision": record.pop("settings")["precision"], "equalized": False}
    (tmp_path / "small.json").write_text(json.dumps(record))
    with pytest.raises(BadModelFileError, match=r"^.*cannot be read as a sidecar .*again\.$"):
        read_sidecar(tmp_path / "small.tflite")


def test_a_float_operator_that_was_not_asked_for_is_refused_beside_one_that_was(export, tmp_path):
    image = keras.Input((32, 32, 3))
    x = keras.ops.sin(layers.Conv2D(4, 3, name="conv")(image))
    model = keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(FloatOperatorError, match=r"SIN compute in float \(SIN at"):
        export(model=model, keep_float=["conv"])
    assert not (tmp_path / "small.tflite").exists()


def test_the_other_layers_of_a_partly_float_file_are_still_compared(export, net, tmp_path, test_images):
    artifact = export(keep_float=["expand3"])
    found = verify(
        net,
        tmp_path / "small.tflite",
        Samples(
            batches=[(test_images, np.zeros(len(test_images), np.int64))],
            dataset="blocks",
            dataset_fingerprint="0" * 64,
            split="test",
        ),
        layers=NamedLayers(tensor_names=artifact.tensor_names, model=converted_model(net, artifact.settings)),
    )
    compared = {each.layer for each in found.layers}
    assert {"conv1_relu", "expand1", "residual"} <= compared
    assert found.agreement >= 90


def test_the_command_refuses_them_without_an_int8_file(capsys):
    assert run(["export", "--float32", "--keep-float", "conv1"]) == 2
    assert run(["export", "--float16", "--equalize"]) == 2
    assert "none is asked for. Add --int8." in capsys.readouterr().err


def test_the_command_refuses_equalizing_without_rewrites(capsys):
    assert run(["export", "--int8", "--equalize", "--no-rewrite"]) == 2
    assert "--no-rewrite forbids" in capsys.readouterr().err


def test_a_name_that_is_no_layer_is_refused_before_calibrating(wide_nets, nets):
    settings = ExportSettings(Precision.INT8, keep_float=("wid",))
    pixels = nets.colourful(8, seed=1)
    with pytest.raises(ExportError, match=r"no layer 'wid' to keep in float\. Did you mean 'wide'"):
        calibrate_int8(wide_nets[1], settings, pixels, Equalization())

"""Nets of all sorts of layers, trained quantized: what is integer in the file, and what stays in float."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.convert import convert
from export.graph.layer_names import LayerNames
from export.precisions import Precision
from export.quantization.float_layers import layers_in_float
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes
from pipeline.compression import quantize
from pipeline.compression.prepare import Prepared, prepare, prepared_of, take_back
from pipeline.compression.twin import take_weights
from pipeline.errors import PipelineError
from pipeline.records.compression import CompressConfig

L = keras.layers
INT8 = ExportSettings(Precision.INT8)


def squeeze_excite(x: Any, channels: int) -> Any:
    """As in EfficientNet and MobileNetV3: a share for each channel, from the means of all."""
    shares = L.Reshape((1, 1, channels))(L.GlobalAveragePooling2D()(x))
    shares = L.Conv2D(4, 1, activation="swish")(shares)
    return L.Multiply()([x, L.Conv2D(channels, 1, activation="hard_sigmoid")(shares)])


def all_integer() -> keras.Model:
    """Everything for which TFLite has an integer operator, in a nested network."""
    image = keras.Input((24, 24, 3))
    inner = keras.Input((20, 20, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inner)
    x = L.Activation("swish")(L.BatchNormalization()(x))
    x = squeeze_excite(x, 8)
    x = L.Activation("hard_swish")(L.SeparableConv2D(8, 3, padding="same", activation="gelu")(x))
    x = L.LeakyReLU(0.1)(L.Conv2D(8, 1, activation="tanh")(x))
    x = L.PReLU(shared_axes=[1, 2])(L.Conv2D(8, 1)(x))
    x = L.Concatenate()([x, L.ReLU(6.0)(x * 0.5 + 1.0)])
    x = L.Activation("sigmoid")(L.Conv2D(8, 1, groups=4)(x))
    x = L.BatchNormalization()(L.Dense(8)(L.GlobalAveragePooling2D()(x)))
    net = keras.Model(inner, L.Dropout(0.5)(L.ReLU()(x)), name="net")
    x = L.RandomFlip()(L.Resizing(20, 20)(image))
    x = net(keras.applications.mobilenet_v2.preprocess_input(x))
    return keras.Model(image, L.Dense(3, activation="softmax", name="scores")(x), name="many")


def partly_float() -> keras.Model:
    inner = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            L.Conv2D(4, 3, strides=2, activation="elu", name="soft"),
            L.LayerNormalization(name="norm"),
            L.Conv2D(4, 3, activation="swish", name="last"),
        ],
        name="inner",
    )
    image = keras.Input((16, 16, 3))
    x = L.GlobalAveragePooling2D()(inner(L.Rescaling(1 / 255)(image)))
    return keras.Model(image, L.Dense(3, name="scores")(x), name="part")


def pixels(model: keras.Model, number: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, *model.input_shape[1:]), np.uint8)


def with_ranges(prepared: Prepared) -> Any:
    """The twin with quantizers that have seen some images."""
    trained = quantize.quantize(prepared.twin.model, prepared.config, input_range=prepared.input_range)
    values = np.asarray(prepared.rescaling(pixels(prepared.model).astype(np.float32)))
    quantize.observe(trained, values, batch_size=8)
    quantize.fix_input_range(trained, prepared.input_range)
    return trained


def answers(content: bytes, images: np.ndarray) -> np.ndarray:
    """What LiteRT computes for the camera's bytes."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    found = []
    for image in images:
        interpreter.set_tensor(taken["index"], (image.astype(np.int16) - 128).astype(np.int8)[np.newaxis])
        interpreter.invoke()
        found.append(scale * (interpreter.get_tensor(given["index"])[0].astype(np.float32) - zero_point))
    return np.asarray(found)


@pytest.fixture(scope="module")
def many() -> tuple[Prepared, bytes]:
    keras.utils.set_random_seed(0)
    keras.utils.clear_session(free_memory=False)  # for the layers' names
    model = all_integer()
    for layer in model.get_layer("net").layers:
        for variable in layer.trainable_weights:
            variable.assign(variable + 0.1 * np.random.default_rng(0).standard_normal(variable.shape))
    prepared = prepare(model, CompressConfig(qat=True))
    return prepared, convert(prepared.model, INT8, trained=with_ranges(prepared))


def test_every_activation_with_an_integer_operator_gets_one(many: Any):
    prepared, content = many
    assert inspect_bytes(content, name="int8").float_operator_places == ()
    assert prepared.config.float_layers == ()
    kinds = {each.name for each in inspect_bytes(content, name="int8").graph}
    assert {"HARD_SWISH", "GELU", "LEAKY_RELU", "PRELU", "LOGISTIC", "TANH", "RESIZE_BILINEAR"} <= kinds


def test_its_file_answers_as_keras_does(many: Any):
    prepared, content = many
    images = pixels(prepared.model)
    expected = np.asarray(prepared.given(images.astype(np.float32), training=False))
    assert np.abs(answers(content, images) - expected).max() < 0.05
    assert np.ptp(expected[:, 0]) > 0


def test_layers_of_its_file_have_the_models_names(many: Any):
    prepared, content = many
    contents, names = inspect_bytes(content, name="int8"), LayerNames(prepared.model)
    found = [names.layers(contents.tensors[operator.outputs[0]].name) for operator in contents.graph[:-1]]
    assert all(found)
    parts = {"net/separable_conv2d", "net/conv2d_1", "net/conv2d_2", "net/activation", "resizing"}
    assert parts <= set.union(*found)


def test_trained_weights_come_back_into_every_layer_that_has_weights(many: Any):
    prepared, _ = many
    again = prepared_of(prepared.given, prepared.config)
    for variable in again.twin.model.trainable_variables:
        variable.assign(variable * 1.1)
    take_weights(again.twin, again.twin.model)
    take_back(again)
    values = np.asarray(again.rescaling(pixels(again.model).astype(np.float32)))
    scores = np.asarray(again.twin.model(values))
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    found = again.model(pixels(again.model).astype(np.float32), training=False)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # preprocess_input's zero is half a level off here


def test_what_has_no_integer_operator_is_found_and_said_before_training():
    prepared = prepare(partly_float(), CompressConfig(qat=True))
    assert prepared.config.float_layers == ("inner/soft", "inner/norm")
    (said,) = prepared.notes
    assert "stay in float in the int8 file, in 'inner/soft', 'inner/norm'" in said
    content = convert(prepared.model, INT8, trained=with_ranges(prepared))
    assert layers_in_float(inspect_bytes(content, name="int8"), prepared.model) == (
        "inner/soft",
        "inner/norm",
    )


@pytest.mark.parametrize("settings", [{"qat": True}, {"prune": 0.5}, {"cluster": 4}])
def test_a_model_of_one_layer_that_tf_keras_lacks_is_refused(settings: Any):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Flatten()(L.Conv2DTranspose(1, 3)(image)), name="whole")
    with pytest.raises(PipelineError, match="'whole' has no "):
        prepare(model, CompressConfig(**settings))


def test_a_skipped_layer_is_named_as_export_names_it():
    config = CompressConfig(qat=True, skip_layers=("inner/last",))
    prepared = prepare(partly_float(), config)
    content = convert(prepared.model, INT8, trained=with_ranges(prepared))
    found = layers_in_float(inspect_bytes(content, name="int8"), prepared.model)
    assert set(found) == {"inner/soft", "inner/norm", "inner/last"}

"""The layer that quantization ruins is the one that is named."""

import functools

import keras
import numpy as np
import pytest

from export.check.verify import NamedLayers, Samples, verify
from export.convert import convert
from export.plan import converted_model
from export.precisions import Precision
from export.settings import ExportSettings

INT8 = ExportSettings(Precision.INT8)
SPOILED = ["stem", "left", "right", "late"]
FACTOR = 1000


def _net(nets, spoiled):
    """A stem, two branches that meet in an Add, and a last convolution, all with a convolution behind them.

    In the spoiled layer one channel is a thousand times the others, and the layers behind it undo that: it
    computes what a good net computes, but 8 bits for the whole tensor leave the other channels none.
    """
    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 128, -1.0, name="pixels")(image)
    stem = nets.conv_bn_relu(x, functools.partial(layers.Conv2D, 8, 3, strides=2), "stem")
    left = nets.conv_bn_relu(stem, functools.partial(layers.DepthwiseConv2D, 3), "left")
    left = nets.conv_bn_relu(left, functools.partial(layers.Conv2D, 8, 1), "left_next")
    right = nets.conv_bn_relu(stem, functools.partial(layers.Conv2D, 8, 3), "right")
    right = nets.conv_bn_relu(right, functools.partial(layers.Conv2D, 8, 1), "right_next")
    x = layers.Add(name="add")([left, right])
    x = nets.conv_bn_relu(x, functools.partial(layers.Conv2D, 8, 3), "late")
    x = nets.conv_bn_relu(x, functools.partial(layers.Conv2D, 8, 1), "late_next")
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    x = layers.Dense(5, name="logits")(x)
    x = layers.Softmax(name="probabilities")(x)
    model = nets.random_statistics(keras.Model(image, x, name="net"), 1)
    if spoiled is not None:
        _spoil(model, spoiled)
    return nets.with_opinions(model, 1)


def _spoil(model, name):
    gamma, beta, mean, variance = model.get_layer(f"{name}_bn").get_weights()
    gamma[0] *= FACTOR
    beta[0] = abs(beta[0]) * FACTOR
    model.get_layer(f"{name}_bn").set_weights([gamma, beta, mean, variance])
    behind = {
        "stem": ["left", "right"],
        "left": ["left_next"],
        "right": ["right_next"],
        "late": ["late_next"],
    }
    for each in behind[name]:
        kernel = model.get_layer(each).get_weights()[0]
        kernel[:, :, 0] /= FACTOR
        model.get_layer(each).set_weights([kernel])


def _verified(nets, model, tmp_path, precision=Precision.INT8):
    images = nets.colourful(60, seed=2)
    path = tmp_path / "model.tflite"
    settings = ExportSettings(precision)
    path.write_bytes(convert(model, settings, pixels=images))
    return verify(
        model,
        path,
        Samples(
            batches=[(images, np.zeros(60, int))], dataset="blocks", dataset_fingerprint="", split="test"
        ),
        layers=NamedLayers(model=converted_model(model, settings)),
    )


@pytest.mark.parametrize("spoiled", SPOILED)
def test_the_layer_that_was_made_hard_to_quantize_is_named(nets, tmp_path, spoiled):
    found = _verified(nets, _net(nets, spoiled), tmp_path)
    assert found.worst_layer == f"{spoiled}_relu"
    errors = {each.layer: each for each in found.layers}
    assert errors[f"{spoiled}_relu"].growth > 0.5
    if spoiled != "stem":
        assert errors["stem_relu"].relative_error < 0.1


def test_a_net_that_nothing_is_wrong_with_grows_little_anywhere(nets, tmp_path):
    found = _verified(nets, _net(nets, None), tmp_path)
    assert max(each.growth for each in found.layers if each.layer != "probabilities") < 0.15


def test_sixteen_bits_spare_the_spoiled_layer(nets, tmp_path):
    found = _verified(nets, _net(nets, "late"), tmp_path, Precision.INT16X8)
    assert found.layers
    assert max(each.growth for each in found.layers if each.layer != "probabilities") < 0.15


def test_every_fused_layer_is_compared_once_at_its_end(net, exported, test_images):
    found = verify(
        net,
        exported("int8"),
        Samples(batches=[(test_images, np.zeros(60, int))], dataset="b", dataset_fingerprint="", split="t"),
        layers=NamedLayers(model=converted_model(net, INT8)),
    )
    assert [each.layer for each in found.layers] == [
        "conv1_relu", "dw2_relu", "expand1", "expand3", "fire", "project", "residual", "pre_relu", "pool",
        "gap", "logits", "probabilities",
    ]  # fmt: skip


def test_errors_are_those_of_the_dequantized_activations(net, exported, test_images):
    """The layer's error worked out by hand from LiteRT's own tensors."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    found = verify(
        net,
        exported("int8"),
        Samples(
            batches=[(test_images[:32], np.zeros(32, int))], dataset="b", dataset_fingerprint="", split="t"
        ),
        layers=NamedLayers(model=converted_model(net, INT8)),
    )
    interpreter = Interpreter(
        model_path=str(exported("int8")),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    tensor = next(
        each for each in interpreter.get_tensor_details() if each["name"].endswith("project_1/convolution1")
    )
    theirs = []
    for image in test_images[:32].astype(int):
        stored = (image[None] - 128).astype(np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored)
        interpreter.invoke()
        scale, zero_point = tensor["quantization"]
        theirs.append(scale * (interpreter.get_tensor(tensor["index"])[0].astype(float) - zero_point))
    part = keras.Model(net.inputs[0], net.get_layer("project").output)
    ours = np.asarray(part(test_images[:32].astype(np.float32), training=False))
    difference = np.sqrt(((np.array(theirs) - ours) ** 2).mean(axis=(0, 1, 2)))
    size = np.sqrt((ours**2).mean(axis=(0, 1, 2)))
    counted = size > 0.01 * np.median(size)
    expected = np.minimum(difference / size, 1)[counted].mean()
    project = next(each for each in found.layers if each.layer == "project")
    assert project.relative_error == pytest.approx(expected, rel=1e-3)


def test_growth_is_the_error_less_that_of_the_worst_layer_that_feeds_it(net, exported, test_images):
    found = verify(
        net,
        exported("int8"),
        Samples(batches=[(test_images, np.zeros(60, int))], dataset="b", dataset_fingerprint="", split="t"),
        layers=NamedLayers(model=converted_model(net, INT8)),
    )
    errors = {each.layer: each for each in found.layers}
    residual = errors["residual"]
    feeding = max(errors["fire"].relative_error, errors["project"].relative_error)
    assert residual.growth == pytest.approx(residual.relative_error - feeding)
    assert errors["conv1_relu"].growth == errors["conv1_relu"].relative_error

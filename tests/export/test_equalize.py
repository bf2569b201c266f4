"""Equalized and bias-corrected models: the same in float, and nearer to it as an int8 file in LiteRT."""

import keras
import numpy as np
import pytest

from export.artifact import Equalization
from export.check.runner import Runner
from export.convert import calibrate_int8, convert
from export.errors import ExportError
from export.precisions import Precision
from export.quantization.equalize import equalize, equalize_freely
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes
from export.tflite.pack import pack

layers = keras.layers
INT8 = ExportSettings(Precision.INT8)
SIZE = 16
UNEVEN = np.geomspace(1 / 30, 1, 16)
"""How much the channels between two layers differ in size."""


def added(x):
    return layers.Add()([layers.DepthwiseConv2D(1, depthwise_initializer="ones")(x), x])


def gated(x):
    """Squeeze-and-excitation, as in MobileNetV3 and EfficientNet."""
    gate = layers.Reshape((1, 1, 6))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(6, 1, activation="sigmoid")(layers.Conv2D(3, 1, activation="relu")(gate))
    return layers.Multiply()([x, gate])


def uneven_net(*, clip=6.0, size=SIZE):
    """Convolution, depthwise, pointwise; channels differ by 30 times in size, and count alike."""
    keras.utils.set_random_seed(4)
    image = keras.Input((size, size, 3), name="image")
    x = layers.Rescaling(1 / 128, -1.0, name="pixels")(image)
    for layer in (
        layers.Conv2D(16, 3, name="conv"),
        layers.BatchNormalization(name="conv_bn"),
        layers.ReLU(max_value=clip, name="conv_relu"),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.ReLU(max_value=clip, name="depthwise_relu"),
        layers.Conv2D(12, 1, name="pointwise"),
        layers.ReLU(max_value=clip, name="pointwise_relu"),
        layers.GlobalAveragePooling2D(name="gap"),
        layers.Dense(5, name="logits"),
    ):
        x = layer(x)
    model = keras.Model(image, x, name="uneven")
    scale(model.get_layer("conv"), UNEVEN)
    read_less(model.get_layer("depthwise"), UNEVEN)
    scale(model.get_layer("depthwise"), UNEVEN[::-1])
    read_less(model.get_layer("pointwise"), UNEVEN[::-1])
    return model


def scale(layer, factor):
    kernel = layer.kernel.numpy()
    layer.kernel.assign(kernel * factor.reshape(-1, 1) if "depthwise" in layer.name else kernel * factor)


def read_less(layer, factor):
    layer.kernel.assign(layer.kernel.numpy() / factor[:, np.newaxis])


def outputs(model, images):
    return np.asarray(model(images.astype(np.float32), training=False), np.float64)


def int8_outputs(nets, folder, model, images):
    """What the int8 file of a model, calibrated with these images, gives for them in LiteRT."""
    path = folder / "model.tflite"
    path.write_bytes(convert(model, ExportSettings(Precision.INT8), pixels=images))
    found, _, gives = nets.litert(path, (images.astype(np.int16) - 128).astype(np.int8))
    factor, zero_point = gives["quantization"]
    return factor * (found.astype(np.float64) - zero_point)


def real_outputs(content, images):
    return Runner(content, inspect_bytes(content, name="file")).outputs(images.astype(np.float32))


def error(found, expected):
    return np.sqrt(np.square(found - expected).mean() / np.square(expected - expected.mean(axis=0)).mean())


@pytest.fixture(scope="module")
def images(nets):
    return nets.colourful(40, seed=2, size=SIZE)


@pytest.mark.parametrize("clip", [6.0, None])
def test_an_equalized_model_computes_the_same_in_float(images, clip):
    model = uneven_net(clip=clip)
    expected = outputs(model, images)
    found = equalize(model, images)
    assert [said.split(":")[0] for said in found.done] == [
        "conv to depthwise",
        "depthwise to pointwise",
        "pointwise to logits",
    ]
    np.testing.assert_allclose(outputs(found.model, images), expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(outputs(model, images), expected)


@pytest.mark.parametrize("clip", [6.0, None])
def test_equalizing_uneven_channels_halves_the_error_of_the_int8_file(nets, images, tmp_path, clip):
    model = uneven_net(clip=clip)
    expected = outputs(model, images)
    stock = error(int8_outputs(nets, tmp_path, model, images), expected)
    equalized = error(int8_outputs(nets, tmp_path, equalize(model, images).model, images), expected)
    assert equalized < stock / 2


def test_before_a_depthwise_layer_every_channel_gets_the_same_range(images):
    model = uneven_net(clip=None)
    found = equalize(model, images)
    activation = keras.Model(found.model.inputs[0], found.model.get_layer("conv_relu").output)
    largest = outputs(activation, images).max(axis=(0, 1, 2))
    assert largest.min() > largest.max() / 2**0.125 * (1 - 1e-4)  # factors are whole eighths of an octave


def test_no_activation_leaves_the_range_it_had(images):
    """So the step of its int8 does not grow."""
    model = uneven_net()
    found = equalize(model, images).model
    for name in ("conv_relu", "depthwise_relu", "pointwise_relu"):
        before, after = (
            outputs(keras.Model(each.inputs[0], each.get_layer(name).output), images).max()
            for each in (model, found)
        )
        assert after <= before * (1 + 1e-5)


def test_headroom_keeps_channels_below_the_clip(images):
    factors = equalize(uneven_net(), images).factors["conv"]
    careful = equalize(uneven_net(), images, headroom=2.0).factors["conv"]
    assert (careful <= factors).all()
    assert careful.min() >= 1
    unlimited = (factors > 2) & (factors < 100)
    np.testing.assert_allclose(careful[unlimited], factors[unlimited] / 2, rtol=1e-6)


def test_a_channel_that_clips_or_is_silent_stays(images):
    model = uneven_net()
    kernel, bias = model.get_layer("conv").get_weights()
    bias[[0, 1]] = 100.0, -100.0  # always at the clip; never above zero
    model.get_layer("conv").set_weights([kernel, bias])
    factors = equalize(model, images).factors["conv"]
    assert factors[0] == factors[1] == 1
    assert factors[2] > 1


@pytest.mark.parametrize(
    "between",
    [
        [layers.Activation("swish"), layers.Conv2D(4, 1)],
        [lambda x: layers.Add()([x, layers.Activation("sigmoid")(x)]), layers.Conv2D(4, 1)],
        [lambda x: layers.Multiply()([x, x]), layers.Conv2D(4, 1)],
        [layers.Activation("sigmoid"), layers.Conv2D(4, 1)],
        [layers.ReLU(), layers.Flatten(), layers.Dense(4)],
        [layers.ReLU(), layers.Conv2D(4, 1, groups=2)],
        [layers.ReLU(threshold=0.1), layers.Conv2D(4, 1)],
        [lambda x: layers.Conv2D(6, 1)(layers.ReLU()(x)) + x],
        [lambda x: layers.Concatenate()([layers.Conv2D(6, 1)(x), layers.Activation("sigmoid")(x)])],
        [lambda x: layers.Concatenate(axis=1)([x, x]), layers.Conv2D(4, 1)],
        [layers.ReLU(), layers.SeparableConv2D(6, 1), layers.Conv2D(4, 1)],
        [layers.ReLU(), layers.SeparableConv2D(9, 3), layers.Conv2D(4, 1)],
        [layers.Conv2DTranspose(6, 3), layers.Conv2D(4, 1)],
        [type("Own", (layers.Conv2D,), {})(6, 1), layers.Conv2D(4, 1)],
        [layers.BatchNormalization(axis=1), layers.ReLU(), layers.Conv2D(4, 1)],
    ],
)
def test_where_a_factor_does_not_pass_through_nothing_is_scaled(images, between):
    model = net_with(between)
    expected = outputs(model, images)
    found = equalize(model, images)
    assert "conv" not in found.factors
    np.testing.assert_allclose(outputs(found.model, images), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "between",
    [
        [layers.ReLU(), layers.Conv2D(4, 1)],
        [layers.Dense(4)],
        [layers.LeakyReLU(), layers.Conv2D(4, 1)],
        [layers.PReLU(alpha_initializer="glorot_uniform", shared_axes=[1, 2]), layers.Conv2D(4, 1)],
        [layers.UpSampling2D(), layers.Cropping2D(2), layers.Conv2D(4, 1)],
        [lambda x: layers.Add()([x, layers.Conv2D(6, 1)(x)]), layers.Conv2D(4, 1)],
        [layers.ReLU(), added, layers.ReLU(), layers.Conv2D(4, 1)],
        [lambda x: layers.Concatenate()([layers.Add()([x, x]), x]), layers.Conv2D(4, 1)],
        [layers.ReLU(), gated, layers.Conv2D(4, 1)],
        [layers.Activation("relu"), layers.DepthwiseConv2D(3, depth_multiplier=2)],
        [lambda x: layers.Conv2D(4, 1)(layers.ReLU()(x)) + layers.Conv2D(4, 1)(x)],
        [lambda x: layers.Concatenate()([x, x]), layers.ZeroPadding2D(), layers.Conv2D(4, 1)],
        [layers.MaxPooling2D(), lambda x: layers.BatchNormalization(scale=False, center=False)(x)],
        [layers.MaxPooling2D(), lambda x: layers.BatchNormalization(center=False)(x), layers.Conv2D(4, 1)],
    ],
)
def test_where_it_does_the_function_stays(images, between):
    model = net_with(between)
    expected = outputs(model, images)
    found = equalize(model, images)
    assert "conv" in found.factors
    np.testing.assert_allclose(outputs(found.model, images), expected, atol=1e-5 * np.abs(expected).max())


def net_with(between):
    """A convolution, with channels of different size, `between`, and the means of what comes out."""
    keras.utils.set_random_seed(8)
    image = x = keras.Input((SIZE, SIZE, 3))
    for layer in [layers.Conv2D(6, 3, name="conv"), *between]:
        x = layer(x)
    model = keras.Model(image, x if len(x.shape) == 2 else layers.GlobalAveragePooling2D()(x))
    scale(model.get_layer("conv"), UNEVEN[::3])
    return model


def test_beside_a_branch_without_clip_a_channel_stays_below_its_own(images):
    image = keras.Input((SIZE, SIZE, 3))
    clipped = layers.ReLU(max_value=6.0, name="clips")(layers.Conv2D(6, 3, name="conv")(image))
    wide = layers.ReLU(name="does_not")(layers.Conv2D(6, 3, name="wide")(image))
    x = layers.DepthwiseConv2D(1)(layers.Concatenate()([clipped, wide]))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    scale(model.get_layer("conv"), np.full(6, 0.01))
    expected = outputs(model, images)
    found = equalize(model, images)
    assert found.factors["conv"].max() > 2
    np.testing.assert_allclose(outputs(found.model, images), expected, atol=1e-5 * np.abs(expected).max())


def fire_net():
    """A squeeze read by two convolutions, whose joint output is pooled and read by the next."""
    keras.utils.set_random_seed(5)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(1 / 128, -1.0, name="pixels")(image)
    x = layers.Conv2D(16, 3, activation="relu", name="squeeze")(x)
    x = layers.Concatenate(name="joint")(
        [
            layers.Conv2D(16, 1, activation="relu", name="expand1x1")(x),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="expand3x3")(x),
        ]
    )
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="gap")(layers.Conv2D(8, 1, activation="relu", name="next")(x))
    model = keras.Model(image, layers.Dense(5, name="logits")(x), name="fire")
    scale(model.get_layer("squeeze"), UNEVEN)
    for name in ("expand1x1", "expand3x3"):
        read_less(model.get_layer(name), UNEVEN)
        scale(model.get_layer(name), UNEVEN)
    read_less(model.get_layer("next"), np.tile(UNEVEN, 2))
    return model


def dense_net():
    """Concatenations of concatenations, read by BatchNorms that no convolution feeds."""
    keras.utils.set_random_seed(7)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(1 / 128, -1.0, name="pixels")(image)
    x = layers.Conv2D(16, 3, use_bias=False, name="stem")(x)
    for number in (1, 2):
        new = layers.ReLU(name=f"relu{number}")(layers.BatchNormalization(name=f"norm{number}")(x))
        new = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"conv{number}")(new)
        x = layers.Concatenate(name=f"joint{number}")([x, new])
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.ReLU(name="last_relu")(layers.BatchNormalization(name="last_norm")(x))
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    model = keras.Model(image, layers.Dense(5, name="logits")(x), name="dense")
    random = np.random.default_rng(0)
    for number, name in enumerate(("norm1", "norm2", "last_norm"), start=1):
        width = 16 * number
        uneven = np.tile(UNEVEN**1.2, number)
        model.get_layer(name).set_weights(
            [
                random.uniform(0.5, 1.5, width),
                random.normal(0, 0.2, width),
                random.normal(0, 0.1, width) * uneven,
                random.uniform(0.5, 1.5, width) * uneven**2,
            ]
        )
    for name in ("stem", "conv1", "conv2"):
        scale(model.get_layer(name), UNEVEN**1.2)
    return model


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (fire_net, ("squeeze to expand1x1 and 1 more", "expand1x1 to next", "expand3x3 to next")),
        (dense_net, ("stem to norm1 and 2 more", "conv1 to norm2 and 1 more", "conv2 to last_norm")),
    ],
    ids=["fire", "dense"],
)
def test_what_is_concatenated_pooled_and_read_by_many_is_equalized(nets, images, tmp_path, net, said):
    model = net()
    expected = outputs(model, images)
    found = equalize(model, images)
    assert set(said) <= {each.split(":")[0] for each in found.done}
    np.testing.assert_allclose(outputs(found.model, images), expected, atol=1e-5 * np.abs(expected).max())
    stock = error(int8_outputs(nets, tmp_path, model, images), expected)
    equalized = error(int8_outputs(nets, tmp_path, found.model, images), expected)
    assert equalized < stock / 2


def test_free_is_what_channelwise_layers_read_and_nothing_clips(nets, images, tmp_path):
    model = dense_net()
    expected = outputs(model, images)
    found = equalize_freely(model, images)
    assert set(found.factors) == {"stem", "conv1", "conv2"}
    assert [each.name for each in found.model.layers] == [each.name for each in model.layers]
    np.testing.assert_allclose(outputs(found.model, images), expected, atol=1e-5 * np.abs(expected).max())
    joint = outputs(keras.Model(found.model.inputs[0], found.model.get_layer("joint2").output), images)
    largest = np.abs(joint).max(axis=(0, 1, 2))
    assert largest.min() > largest.max() / 2**0.125 * (1 - 1e-4)
    stock = error(int8_outputs(nets, tmp_path, model, images), expected)
    assert error(int8_outputs(nets, tmp_path, found.model, images), expected) < stock / 2


@pytest.mark.parametrize("net", [uneven_net, lambda: uneven_net(clip=None), fire_net])
def test_where_anything_is_given_up_nothing_is_free(images, net):
    found = equalize_freely(net(), images)
    assert found.done == ()
    assert found.factors == {}


def test_pairs_inside_a_nested_model_are_equalized_too(images):
    inner = uneven_net()
    image = keras.Input(inner.input_shape[1:])
    model = keras.Model(image, inner(image))
    found = equalize(model, images)
    assert set(found.factors) == {"uneven/conv", "uneven/depthwise", "uneven/pointwise"}
    np.testing.assert_allclose(
        found.factors["uneven/conv"], equalize(inner, images).factors["conv"], rtol=1e-5
    )
    expected = outputs(model, images)
    np.testing.assert_allclose(outputs(found.model, images), expected, atol=1e-5 * np.abs(expected).max())


def rounding_net():
    """Rounding takes 0.3 of a step from each weight, all one way, and inputs are never negative."""
    keras.utils.set_random_seed(6)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(image)
    x = layers.Conv2D(8, 3, padding="same", name="conv")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.GlobalAveragePooling2D(name="gap")(layers.ReLU(name="relu2")(x))
    model = keras.Model(image, layers.Dense(4, name="logits")(x), name="rounding")
    rng = np.random.default_rng(0)
    for name in ("conv", "depthwise", "logits"):
        kernel, bias = model.get_layer(name).get_weights()
        whole = rng.integers(-20, 21, kernel.shape).astype(np.float64)
        largest = np.zeros(kernel.shape, bool)
        largest[(0, 0) if name == "depthwise" else (0,) * (kernel.ndim - 1)] = True
        model.get_layer(name).set_weights([np.where(largest, 127, whole + 0.3) / 127, bias])
    return model


def test_corrected_biases_halve_the_error_of_the_int8_file(images):
    model = rounding_net()
    expected = outputs(model, images)
    found = calibrate_int8(model, INT8, images, Equalization())
    stock, corrected = (
        error(real_outputs(content, images), expected) for content in (found.plain, found.corrected(images))
    )
    assert corrected < stock / 2


def test_the_channels_of_an_int8_layer_get_their_means_in_float(images):
    model = rounding_net()
    content = calibrate_int8(model, INT8, images, Equalization()).corrected(images)
    expected = outputs(keras.Model(model.inputs[0], model.get_layer("conv").output), images)
    contents = inspect_bytes(content, name="file")
    tensor = next(each.outputs[0] for each in contents.graph if each.name == "CONV_2D")
    runner = Runner(content, contents, keeps_activations=True)
    sums = 0.0
    for image in images:
        runner.outputs(image[np.newaxis].astype(np.float32))
        sums = sums + runner.activation(tensor).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(sums / len(images), np.maximum(expected, 0).mean(axis=(0, 1, 2)), atol=0.002)


def test_corrected_biases_take_no_bytes_and_no_operators(images):
    found = calibrate_int8(uneven_net(), INT8, images, Equalization())
    plain, corrected = (pack(content).content for content in (found.plain, found.corrected(images)))
    assert abs(len(corrected) - len(plain)) < 100
    assert inspect_bytes(corrected, name="file").operators == inspect_bytes(plain, name="file").operators


@pytest.mark.parametrize("shape", [(3, 8, 8, 3), (0, SIZE, SIZE, 3)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ExportError, match=rf"Expected uint8 \(n, {SIZE}, {SIZE}, 3\)"):
        equalize(uneven_net(), np.zeros(shape, np.uint8))

"""Rewritten models beside the originals: in Keras, and as files in LiteRT."""

from collections import Counter

import keras
import numpy as np
import pytest

from export.convert import convert
from export.errors import ExportError
from export.graph.equality import check_equal, effect_of_rounding, largest_difference, random_images
from export.graph.probabilities import without_probabilities
from export.graph.rescaling import add_rescaling
from export.graph.rewrite import rewrite, with_depthwise_before_norms
from export.precisions import Precision
from export.rewrites import Rewrite
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes
from models.build import build
from models.registry import FAMILIES

ROUNDING = 1e-4
"""Of the largest output: float32 in another order; 3e-5 is the most that was seen (MobileNetV2)."""
SMALL = {name: family.small for name, family in FAMILIES.items()} | {
    "mobilenet": {"alpha": 0.25, "shallow": True},
    "densenet": {"depth": 22, "growth_rate": 4, "bottleneck": True, "compression": 0.5, "dropout": 0.2},
}
layers = keras.layers


@pytest.fixture(scope="module")
def small(nets):
    """family -> its small net for ten classes with statistics as after a training; nobody changes it."""
    made = {}

    def get(family):
        if family not in made:
            model = build(family, image_size=32, num_classes=10, **SMALL[family])
            made[family] = with_statistics_of(
                nets.random_statistics(model, seed=3), nets.colourful(32, seed=9)
            )
        return made[family]

    return get


def with_statistics_of(model, images):
    """Moving statistics as these images have them, so that no layer's output is the same for all images."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(images.astype(np.float32), training=True)
    return model


def outputs(model, images):
    return np.asarray(model(images.astype(np.float32), training=False))


def assert_same(model, rewritten, images, tolerance=ROUNDING):
    expected = outputs(model, images)
    assert len(images) == 1 or np.ptp(expected, axis=0).max() > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(
        outputs(rewritten, images), expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


def around(nets, *middle, size=16, channels=3):
    """A classifier of the layers with statistics as after a training; `middle` are layers or functions."""
    keras.utils.set_random_seed(7)
    image = x = keras.Input((size, size, channels))
    for each in middle:
        x = each(x)
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    return nets.random_statistics(keras.Model(image, layers.Dense(4, name="logits")(x), name="net"), seed=5)


def kinds(model):
    return Counter(type(layer).__name__ for layer in model.layers)


def operators(content):
    return Counter(operator.name for operator in inspect_bytes(content, name="x").graph)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_the_same(small, test_images, family):
    model = small(family)
    before = [each.numpy() for each in model.weights]
    found = rewrite(model)
    assert found.done
    assert_same(model, found.model, test_images[:8])
    assert found.model.name == model.name
    assert "BatchNormalization" not in kinds(found.model)
    assert "Dropout" not in kinds(found.model)
    assert not {id(each) for each in found.model.weights} & {id(each) for each in model.weights}
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_survive_keep_their_names(small, family):
    model, rewritten = small(family), rewrite(small(family)).model
    gone = {layer.name for layer in model.layers} - {layer.name for layer in rewritten.layers}
    assert gone <= {layer.name for layer in model.layers if layer.name.endswith(("_bn", "dropout"))}


@pytest.mark.parametrize("name", ["MobileNetV2", pytest.param("DenseNet121", marks=pytest.mark.slow)])
def test_networks_of_keras_applications_compute_the_same(nets, test_images, name):
    knobs = {"alpha": 0.35} if name == "MobileNetV2" else {}
    net = getattr(keras.applications, name)
    model = net(input_shape=(32, 32, 3), weights=None, classes=10, **knobs)
    with_statistics_of(nets.random_statistics(model, seed=1), test_images)
    found = rewrite(model)
    assert "BatchNormalization" not in kinds(found.model)
    assert_same(model, found.model, test_images[:4])


WEIGHTED = {
    "convolution": lambda bias: layers.Conv2D(6, 3, padding="same", use_bias=bias, name="layer"),
    "strided": lambda bias: layers.Conv2D(6, 3, strides=2, use_bias=bias, name="layer"),
    "dilated": lambda bias: layers.Conv2D(6, 3, dilation_rate=2, use_bias=bias, name="layer"),
    "grouped": lambda bias: layers.Conv2D(6, 3, groups=3, use_bias=bias, name="layer"),
    "depthwise": lambda bias: layers.DepthwiseConv2D(3, use_bias=bias, name="layer"),
    "depthwise times two": lambda bias: layers.DepthwiseConv2D(
        3, depth_multiplier=2, use_bias=bias, name="layer"
    ),
    "separable": lambda bias: layers.SeparableConv2D(6, 3, use_bias=bias, name="layer"),
    "transposed": lambda bias: layers.Conv2DTranspose(6, 3, strides=2, use_bias=bias, name="layer"),
    "dense": lambda bias: layers.Dense(6, use_bias=bias, name="layer"),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_norm_is_folded_into_each_kind_of_layer(nets, kind, bias):
    norm = layers.BatchNormalization(epsilon=0.3, name="norm")
    model = around(nets, WEIGHTED[kind](bias), norm, layers.ReLU(name="relu"))
    if bias:
        model.get_layer("layer").bias.assign(np.linspace(-1, 1, model.get_layer("layer").bias.shape[0]))
    found = rewrite(model, [Rewrite.FOLD_BATCH_NORM])
    assert found.done == ("norm folded into layer",)
    assert kinds(found.model)["BatchNormalization"] == 0
    assert_same(model, found.model, nets.colourful(4, seed=0, size=16) / 255)


@pytest.mark.parametrize("settings", [{"scale": False}, {"center": False}, {"scale": False, "center": False}])
@pytest.mark.parametrize("wanted", [Rewrite.FOLD_BATCH_NORM, Rewrite.DEPTHWISE_BATCH_NORM])
def test_a_norm_without_gamma_or_beta_is_done_too(nets, settings, wanted):
    norm = layers.BatchNormalization(epsilon=0.3, name="norm", **settings)
    pool = layers.MaxPooling2D(name="pool")
    first = layers.Conv2D(5, 3, name="conv")
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = first(image) if wanted is Rewrite.FOLD_BATCH_NORM else pool(first(image))
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(norm(x))))
    norm.moving_mean.assign(np.linspace(-1, 1, 5))
    norm.moving_variance.assign(np.linspace(0.5, 2, 5))
    found = rewrite(model, [wanted])
    assert len(found.done) == 1
    assert kinds(found.model)["BatchNormalization"] == 0
    assert_same(model, found.model, nets.colourful(4, seed=0, size=16) / 255)


def test_two_norms_in_a_row_and_a_dropout_between_are_folded(nets):
    model = around(
        nets,
        layers.Conv2D(5, 3, name="conv"),
        layers.Dropout(0.3, name="drop"),
        layers.BatchNormalization(name="norm1"),
        layers.BatchNormalization(name="norm2"),
    )
    found = rewrite(model)
    assert found.done == ("drop (Dropout) left out", "norm1 folded into conv", "norm2 folded into conv")
    assert_same(model, found.model, nets.colourful(4, seed=0, size=16) / 255)


def branch(x):
    """A norm and something else read the same convolution."""
    y = layers.Conv2D(4, 3, name="conv")(x)
    return layers.Concatenate(name="concat")([y, layers.BatchNormalization(name="norm")(y)])


LONE = {
    "behind an activation": [layers.Conv2D, {"activation": "relu"}],
    "behind a pooling": [layers.MaxPooling2D, {}],
    "beside another reader": [branch, {}],
}


@pytest.mark.parametrize("place", LONE)
def test_a_lone_norm_becomes_a_depthwise_convolution_of_its_name(nets, place):
    make, settings = LONE[place]
    if make is branch:
        middle = [branch]
    else:
        arguments = (4, 3) if make is layers.Conv2D else ()
        middle = [make(*arguments, name="first", **settings), layers.BatchNormalization(name="norm")]
    model = around(nets, *middle, layers.ReLU(name="relu"))
    images = nets.colourful(4, seed=0, size=16) / 255
    assert rewrite(model, [Rewrite.FOLD_BATCH_NORM]).done == ()
    found = rewrite(model, [each for each in Rewrite if each is not Rewrite.DEPTHWISE_RELU])
    assert found.done == ("norm written as a 1x1 depthwise convolution",)
    assert isinstance(found.model.get_layer("norm"), layers.DepthwiseConv2D)
    assert_same(model, found.model, images)


def twice(x):
    """One convolution and one norm, run at two places."""
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    norm = layers.BatchNormalization(name="norm")
    return norm(conv(norm(conv(x))))


def in_training(x):
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(x), training=True)
    return layers.Dropout(0.5, seed=1, name="drop")(y, training=True)


@pytest.mark.parametrize("middle", [twice, in_training])
def test_what_runs_twice_or_in_training_mode_stays(nets, middle):
    model = around(nets, middle)
    found = rewrite(model)
    assert found.done == ()
    assert kinds(found.model) == kinds(model)
    if middle is twice:
        assert_same(model, found.model, nets.colourful(4, seed=0, size=16) / 255, tolerance=0)


def test_a_norm_over_rows_stays(nets):
    model = around(nets, layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(axis=1, name="norm"))
    assert rewrite(model).done == ()


def test_nothing_wanted_changes_nothing(small, test_images):
    model = small("densenet")
    found = rewrite(model, [])
    assert found.done == ()
    assert kinds(found.model) == kinds(model)
    assert_same(model, found.model, test_images[:4], tolerance=0)


@pytest.mark.parametrize("left_out", Rewrite)
def test_each_rewrite_can_be_left_out(nets, left_out):
    model = around(
        nets,
        layers.Rescaling(1 / 255, name="pixels"),
        layers.Conv2D(4, 7, strides=2, padding="same", use_bias=False, name="stem"),
        layers.BatchNormalization(name="folds"),
        layers.MaxPooling2D(2, strides=1, name="pool"),
        layers.BatchNormalization(name="lone"),
        layers.Dropout(0.1, name="drop"),
        layers.Conv2D(6, 1, name="transition"),
        layers.AveragePooling2D(2, name="average"),
        layers.ZeroPadding2D(1, name="pad"),
        layers.ReLU(name="lone_relu"),
    )
    words = {
        Rewrite.FOLD_BATCH_NORM: "folds folded into stem",
        Rewrite.DEPTHWISE_BATCH_NORM: "lone written as a 1x1 depthwise convolution",
        Rewrite.DROP_IDENTITY: "drop (Dropout) left out",
        Rewrite.POOL_FIRST: "average before transition",
        Rewrite.DEPTHWISE_POOL: "average written as a depthwise convolution",
        Rewrite.DEPTHWISE_RELU: "lone_relu written as a 1x1 depthwise convolution's activation",
        Rewrite.PAIR_COLUMNS: "stem on pairs of columns",
    }
    found = rewrite(model, [each for each in Rewrite if each is not left_out])
    assert set(found.done) == {said for each, said in words.items() if each is not left_out}
    assert_same(model, found.model, nets.colourful(4, seed=0, size=16))


def test_identities_of_all_kinds_are_left_out(nets):
    model = around(
        nets,
        layers.GaussianNoise(0.1, name="noise"),
        layers.Conv2D(4, 3, name="conv"),
        layers.Activation("linear", name="linear"),
        layers.SpatialDropout2D(0.1, name="spatial"),
        layers.Identity(name="identity"),
    )
    found = rewrite(model)
    assert len(found.done) == 4
    assert len(found.model.layers) == len(model.layers) - 4
    assert_same(model, found.model, nets.colourful(4, seed=0, size=16), tolerance=0)


@pytest.mark.parametrize("pool", [{"pool_size": 2}, {"pool_size": 3, "strides": 2, "padding": "same"}])
@pytest.mark.parametrize("as_depthwise", [False, True])
def test_an_average_pooling_goes_before_a_pointwise_convolution(nets, pool, as_depthwise):
    model = around(
        nets,
        layers.Conv2D(6, 1, bias_initializer="normal", name="transition"),
        layers.AveragePooling2D(name="pool", **pool),
        size=15,
    )
    wanted = [Rewrite.POOL_FIRST, Rewrite.DEPTHWISE_POOL][: 1 + as_depthwise]
    found = rewrite(model, wanted)
    order = [layer.name for layer in found.model.layers]
    assert order.index("pool") < order.index("transition")
    assert found.model.get_layer("transition").output.shape == model.get_layer("pool").output.shape
    assert_same(model, found.model, nets.colourful(4, seed=0, size=16)[:, :15, :15] / 255)


@pytest.mark.parametrize(
    "before",
    [
        layers.Conv2D(6, 3, name="wide"),
        layers.Conv2D(6, 1, activation="relu", name="rectified"),
        layers.Conv2D(6, 1, strides=2, name="strided"),
    ],
)
def test_an_average_pooling_stays_behind_any_other_convolution(nets, before):
    model = around(nets, before, layers.AveragePooling2D(2, name="pool"))
    assert rewrite(model, [Rewrite.POOL_FIRST]).done == ()


@pytest.mark.parametrize(
    ("window", "strides", "becomes"),
    [
        (1, 2, "DEPTHWISE_CONV_2D"),
        (2, 2, "DEPTHWISE_CONV_2D"),
        (3, 1, "DEPTHWISE_CONV_2D"),
        (4, 4, "DEPTHWISE_CONV_2D"),
        (5, 5, "DEPTHWISE_CONV_2D"),
        ((2, 12), 2, "DEPTHWISE_CONV_2D"),
        ((2, 13), 2, "AVERAGE_POOL_2D"),
        (6, 6, "AVERAGE_POOL_2D"),
        (7, 7, "AVERAGE_POOL_2D"),
        (8, 8, "AVERAGE_POOL_2D"),
        (14, 14, "AVERAGE_POOL_2D"),
    ],
)
def test_an_int8_pooling_becomes_depthwise_where_xnnpack_has_a_kernel(nets, window, strides, becomes):
    pool = layers.AveragePooling2D(window, strides=strides, name="pool")
    model = around(nets, layers.Conv2D(4, 3, activation="relu"), pool)
    content = convert(model, ExportSettings(Precision.INT8), pixels=nets.colourful(8, seed=2, size=16))
    found = operators(content)
    assert {name for name in found if name in ("AVERAGE_POOL_2D", "DEPTHWISE_CONV_2D")} == {becomes}


def with_two_readers(kind):
    """A value that a ReLU reads, and something else too."""

    def read(x):
        x = layers.Conv2D(4, 3, name="conv")(x)
        return layers.Concatenate(name="both")([x, layers.Activation(kind, name="lone")(x)])

    return read


def norm_of(channels, *, relu):
    """A BatchNormalization that nothing before it takes in."""
    ends = [layers.ReLU(name="relu")] if relu else []
    return [layers.Conv2D(channels, 1), layers.MaxPooling2D(2), layers.BatchNormalization(name="norm"), *ends]


@pytest.mark.parametrize(
    ("precision", "channels", "relu", "is_written"),
    [
        ("float32", 16, False, True),
        ("float32", 64, False, False),
        ("float32", 1024, True, True),
        ("float16", 64, False, False),
        ("float16", 1024, True, True),
        ("dynamic", 64, False, False),
        ("dynamic", 1023, True, True),
        ("dynamic", 1024, True, False),
        ("int8", 1024, False, True),
        ("int8", 1024, True, True),
        ("int16x8", 1024, False, True),
    ],
)
def test_a_lone_norm_becomes_depthwise_where_that_was_measured_to_help(
    nets, precision, channels, relu, is_written
):
    model = around(nets, *norm_of(channels, relu=relu))
    settings = ExportSettings(Precision(precision))
    found = operators(convert(model, settings, pixels=nets.colourful(4, seed=2, size=16)))
    assert ("DEPTHWISE_CONV_2D" in found) == is_written
    assert ("MUL" in found) == (not is_written)


@pytest.mark.parametrize(
    ("precision", "filters", "window", "moves"),
    [
        ("float32", 4, 2, True),
        ("float32", 4, 7, True),
        ("int8", 4, 2, True),  # as a depthwise convolution
        ("int8", 4, 7, False),
        ("int8", 8, 7, True),
    ],
)
def test_a_pooling_goes_first_where_that_was_measured_to_help(nets, precision, filters, window, moves):
    before = [layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(filters, 1, name="transition")]
    model = around(nets, *before, layers.AveragePooling2D(window, name="average"))
    spec = Precision(precision).spec
    assert ("average before transition" in rewrite(model, spec.rewrites, bounds=spec.bounds).done) == moves


LONE_RELUS = {
    "another reads it too": with_two_readers("relu"),
    "another reads it too, ReLU6": with_two_readers("relu6"),
    "behind a concatenation": lambda x: layers.ReLU(name="lone")(
        layers.Concatenate()([layers.Conv2D(4, 3, name="a")(x), layers.Conv2D(4, 3, name="b")(x)])
    ),
}


@pytest.mark.parametrize("kind", LONE_RELUS)
def test_a_relu_that_nothing_takes_in_is_no_operator_of_an_int8_file(nets, kind):
    model = around(nets, LONE_RELUS[kind])
    images = nets.colourful(8, seed=2, size=16)
    assert_same(model, rewrite(model).model, images)
    files = {
        wanted: operators(convert(model, ExportSettings(Precision.INT8, rewrites=wanted), pixels=images))
        for wanted in ((), Precision.INT8.spec.rewrites)
    }
    (stock, ours) = files.values()
    assert {"RELU", "RELU6"} & set(stock)
    assert not {"RELU", "RELU6"} & set(ours)
    assert ours["DEPTHWISE_CONV_2D"] == 1
    assert ours.total() == stock.total()


def residual(x):
    left = layers.Conv2D(4, 3, name="a")(x)
    return layers.ReLU(name="sum_relu")(layers.Add(name="sum")([left, layers.Conv2D(4, 3, name="b")(x)]))


def read_twice(x):
    x = layers.Conv2D(4, 3, name="conv")(x)
    left = layers.Conv2D(4, 1, name="left")(layers.Activation("relu", name="one")(x))
    return layers.Add(name="sum")([left, layers.Conv2D(4, 1, name="right")(layers.ReLU(name="two")(x))])


@pytest.mark.parametrize(
    "body",
    [
        lambda x: layers.ReLU(name="relu")(layers.Conv2D(4, 3, name="conv")(x)),
        lambda x: layers.ReLU(name="relu")(layers.MaxPooling2D(2, name="pool")(x)),
        lambda x: layers.ReLU(2.0, name="relu2")(layers.Concatenate(name="same")([x, x])),
        lambda x: layers.ReLU(negative_slope=0.1, name="leaky")(layers.Concatenate(name="same")([x, x])),
        residual,
        read_twice,
    ],
)
def test_a_relu_that_something_takes_in_stays(nets, body):
    model = around(nets, body)
    assert rewrite(model, [Rewrite.DEPTHWISE_RELU]).done == ()
    content = convert(model, ExportSettings(Precision.INT8), pixels=nets.colourful(8, seed=2, size=16))
    assert not {"DEPTHWISE_CONV_2D"} & set(operators(content))


STEMS = {
    "the DenseNet stem": (32, [layers.ZeroPadding2D(3), layers.Conv2D(8, 7, strides=2)]),
    "SqueezeNet 1.0": (32, [layers.Conv2D(8, 7, strides=2)]),
    "padding same": (32, [layers.Conv2D(8, 7, strides=2, padding="same")]),
    "5x5, same": (32, [layers.Conv2D(8, 5, strides=2, padding="same")]),
    "even kernel": (32, [layers.Conv2D(8, (5, 6), strides=2, padding="same", use_bias=False)]),
    "uneven padding": (32, [layers.ZeroPadding2D(((1, 4), (2, 3))), layers.Conv2D(8, 7, strides=2)]),
}


@pytest.mark.parametrize("stem", STEMS)
def test_a_stem_on_pairs_of_columns_computes_the_same(nets, test_images, stem):
    size, middle = STEMS[stem]
    model = around(nets, layers.Rescaling(1 / 128, -1.0), *middle, size=size)
    found = rewrite(model, [Rewrite.PAIR_COLUMNS])
    assert found.done
    assert_same(model, found.model, test_images[:8])


@pytest.mark.parametrize(
    "conv",
    [
        layers.Conv2D(4, 3, strides=2, padding="same"),
        layers.Conv2D(4, 7, padding="same"),
        layers.Conv2D(4, 7, dilation_rate=2),
    ],
)
def test_a_stem_without_gain_stays(nets, conv):
    assert rewrite(around(nets, conv, size=32), [Rewrite.PAIR_COLUMNS]).done == ()


def test_pairs_of_columns_give_the_very_bytes_of_the_int8_file(nets, tmp_path):
    """Zeros are added to sums of integers, and no scale changes."""
    stem = [layers.ZeroPadding2D(3, name="pad"), layers.Conv2D(8, 7, strides=2, name="stem"), layers.ReLU()]
    model = around(nets, layers.Rescaling(1 / 128, -1.0), *stem, size=32)
    images = nets.colourful(30, seed=4)
    stored = (images.astype(np.int16) - 128).astype(np.int8)
    found = []
    for wanted in ([], [Rewrite.PAIR_COLUMNS]):
        content = convert(model, ExportSettings(Precision.INT8, rewrites=wanted), pixels=images)
        assert ("RESHAPE" in operators(content)) == bool(wanted)
        (tmp_path / "model.tflite").write_bytes(content)
        found.append(nets.litert(tmp_path / "model.tflite", stored)[0])
    np.testing.assert_array_equal(*found)


def test_pairs_of_columns_are_of_the_call_in_this_model(nets, test_images):
    """A layer knows the shapes of its first call, which here is of another model's image."""
    stem = layers.Conv2D(8, 7, strides=2, name="stem")
    stem(keras.Input((64, 48, 3)))
    model = around(nets, layers.ZeroPadding2D(3, name="pad"), stem, size=32)
    found = rewrite(model, [Rewrite.PAIR_COLUMNS])
    assert found.done
    assert_same(model, found.model, test_images[:8] / 255)


def test_no_norm_or_pooling_is_left_of_an_int8_densenet(small, calibration_pixels):
    model = small("densenet")
    stock = operators(convert(model, ExportSettings(Precision.INT8, rewrites=[]), pixels=calibration_pixels))
    found = operators(
        convert(model, ExportSettings(Precision.INT8, rewrites=list(Rewrite)), pixels=calibration_pixels)
    )
    lone = sum("depthwise" in said for said in rewrite(model).done)
    assert stock["MUL"] > 0
    assert stock["AVERAGE_POOL_2D"] > 0
    assert found["MUL"] == found["ADD"] == found["AVERAGE_POOL_2D"] == 0
    assert found["DEPTHWISE_CONV_2D"] == lone
    assert found["CONV_2D"] == stock["CONV_2D"]
    assert found.total() < stock.total()


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_folded_file_is_no_larger_and_computes_the_same(
    nets, small, calibration_pixels, test_images, tmp_path, precision
):
    model = small("mobilenet")
    sizes, found = [], []
    images = test_images[:16]
    stored = (
        (images.astype(np.int16) - 128).astype(np.int8) if precision == "int8" else images.astype(np.float32)
    )
    for wanted in ([], Precision(precision).spec.rewrites):
        content = convert(
            model, ExportSettings(Precision(precision), rewrites=wanted), pixels=calibration_pixels
        )
        (tmp_path / "model.tflite").write_bytes(content)
        sizes.append(len(content))
        result, _, gives = nets.litert(tmp_path / "model.tflite", stored)
        found.append(result.astype(float) * (gives["quantization"][0] or 1))
    assert sizes[1] <= sizes[0]
    # folding in another order moves a weight by a float's last bit, and so now and then by a step of int8
    np.testing.assert_allclose(found[1], found[0], atol=1e-5 if precision == "float32" else 3 / 256)


ENDS = {
    "a layer": [layers.Dense(4, name="logits"), layers.Softmax(name="probabilities")],
    "an activation layer": [
        layers.Dense(4, name="logits"),
        layers.Activation("softmax", name="probabilities"),
    ],
    "a dense layer's activation": [layers.Dense(4, activation="softmax", name="logits")],
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_softmax_of_the_scores_is_the_models_output(nets, end, nested):
    image = x = keras.Input((16, 16, 3))
    for each in [layers.Conv2D(4, 3, name="conv"), layers.GlobalAveragePooling2D(name="gap"), *ENDS[end]]:
        x = each(x)
    model = keras.Model(image, x)
    model = add_rescaling(model, 1 / 255, 0.0) if nested else model
    images = nets.colourful(4, seed=0, size=16)
    scores = outputs(without_probabilities(model), images / 255)
    probabilities = outputs(model, images / 255)
    assert np.abs(scores.sum(axis=1) - 1).max() > 0.01
    np.testing.assert_allclose(
        np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), probabilities, atol=1e-6
    )


def test_a_model_without_softmax_is_refused(nets):
    with pytest.raises(ExportError, match=r"ends in 'logits' \(Dense\), not in a softmax.*unchanged"):
        without_probabilities(around(nets, layers.Conv2D(4, 3)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_convolution_of_ones_before_lone_norms_changes_no_bit(small, test_images, family):
    model = small(family)
    found = with_depthwise_before_norms(model)
    np.testing.assert_array_equal(outputs(found, test_images[:8]), outputs(model, test_images[:8]))
    norms = [layer for layer in found.layers if isinstance(layer, layers.BatchNormalization)]
    for norm in norms:
        before = norm.input._keras_history.operation
        assert isinstance(before, layers.Conv2D | layers.DepthwiseConv2D)
        assert len(before._outbound_nodes) == 1
    added = [layer for layer in found.layers if layer.name.endswith("_bn_depthwise")]
    assert len(added) == len(found.layers) - len(model.layers)
    assert bool(added) == (family == "densenet")
    assert all(layer.trainable_weights and not layer.use_bias for layer in added)
    assert len(with_depthwise_before_norms(found).layers) == len(found.layers)


@pytest.mark.parametrize("wrap", ["sequential", "nested", "sequential in functional"])
def test_nested_and_sequential_models_are_rewritten_inside(nets, test_images, wrap):
    keras.utils.set_random_seed(2)
    middle = [
        layers.Conv2D(4, 3, use_bias=False, name="conv"),
        layers.BatchNormalization(name="conv_bn"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(name="pool"),
        layers.BatchNormalization(name="lone_bn"),
        layers.GlobalAveragePooling2D(name="gap"),
        layers.Dense(3, name="logits"),
    ]
    if wrap == "nested":
        model = add_rescaling(nets.small_net(None), 1.0, 0.0)
    else:
        model = nets.random_statistics(keras.Sequential([keras.Input((32, 32, 3)), *middle], name="inner"), 1)
        model = add_rescaling(model, 1 / 255, 0.0) if wrap == "sequential in functional" else model
    found = rewrite(model)
    assert found.done
    assert_same(model, found.model, test_images[:8])
    inside = [
        layer for layer in found.model._flatten_layers() if isinstance(layer, layers.BatchNormalization)
    ]
    assert inside == []
    assert_same(model, with_depthwise_before_norms(model), test_images[:8], tolerance=0)


def test_a_nested_model_that_runs_in_training_mode_stays(nets):
    inner = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()])
    found = rewrite(around(nets, lambda x: inner(x, training=True)))
    assert found.done == ()


def test_bare_operations_and_adapted_layers_stay_as_they_are(nets, test_images):
    normalization = layers.Normalization(name="pixels")
    normalization.adapt(test_images.astype(np.float32))
    model = around(
        nets,
        normalization,
        lambda x: keras.ops.relu(x * np.float32(0.5) + 0.1),
        layers.Conv2D(4, 3, name="conv"),
        layers.BatchNormalization(name="norm"),
        lambda x: keras.ops.concatenate([x, keras.ops.abs(x)], axis=-1),
        size=32,
    )
    found = rewrite(model)
    assert found.done == ("norm folded into conv",)
    assert_same(model, found.model, test_images[:8])


def test_a_model_of_another_function_is_found_out(small, test_images):
    model = small("mobilenet")
    changed = rewrite(model, []).model
    assert check_equal(model, changed, test_images[:4]) == 0
    kernel = changed.get_layer("conv_pw_3").kernel
    kernel.assign(kernel * 1.05)
    assert largest_difference(model, changed, test_images[:4]) > 1e-3
    with pytest.raises(ExportError, match=r"differs by .* of the largest output.*without rewrites"):
        check_equal(model, changed, test_images[:4])


def test_a_model_that_gives_no_numbers_is_found_out(small, test_images):
    model = small("mobilenet")
    broken = rewrite(model, []).model
    broken.get_layer("logits").bias.assign(np.full(10, np.nan))
    with pytest.raises(ExportError, match="differs by nan"):
        check_equal(model, broken, test_images[:4])


@pytest.mark.parametrize("shape", [(2, 16, 16, 3), (0, 32, 32, 3)])
def test_images_of_another_shape_prove_nothing(small, shape):
    model = small("mobilenet")
    with pytest.raises(ExportError, match=r"Expected \(n, 32, 32, 3\)"):
        check_equal(model, model, np.zeros(shape, np.uint8))


def _magnifying(gain):
    """Convolutions that subtract nearly equal values again and again, so that rounding grows."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    for _ in range(4):
        x = keras.layers.Conv2D(4, 1, use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Activation("tanh")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3)(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = rng.normal(size=layer.kernel.shape)
            layer.set_weights([gain * (kernel - kernel.mean(axis=2, keepdims=True))])
    return model


def test_a_net_that_magnifies_rounding_is_allowed_what_rounding_makes():
    """The bound comes from Keras's own outputs for images whose last bit differs."""
    pixels = np.random.default_rng(1).integers(100, 140, (4, 8, 8, 3)).astype(np.uint8)
    model = _magnifying(60.0)
    assert effect_of_rounding(_magnifying(1.0), pixels) < 1e-5
    assert effect_of_rounding(model, pixels) > 1e-4
    assert check_equal(model, rewrite(model).model, pixels, tolerance=0.0) <= 0.05


def test_a_wrong_weight_is_refused_in_a_net_that_magnifies_rounding():
    pixels = np.random.default_rng(1).integers(100, 140, (4, 8, 8, 3)).astype(np.uint8)
    model = _magnifying(60.0)
    wrong = rewrite(model).model
    *first, bias = wrong.layers[-1].get_weights()
    wrong.layers[-1].set_weights([first[0] * 1.2, bias])
    with pytest.raises(ExportError, match="was expected"):
        check_equal(model, wrong, pixels)


@pytest.mark.parametrize("shape", [(96, 64, 3), (28, 28, 1), (3, 3, 3)])
def test_random_images_are_as_smooth_as_photos_and_use_the_whole_range(shape):
    images = random_images(8, shape)
    assert images.shape == (8, *shape)
    assert images.dtype == np.uint8
    assert images.min() < 40
    assert images.max() > 215
    if min(shape[:2]) > 6:
        neighbours = np.abs(np.diff(images.astype(int), axis=1)).mean()
        assert neighbours < 25  # of white noise 85


def test_a_net_that_is_chaotic_on_noise_alone_can_be_rewritten():
    """Edges as strong as those of noise, which photos and smooth images lack, let _magnifying() decide."""
    laplace = np.asarray([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)[:, :, None, None]
    edges = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)
    image = keras.Input((8, 8, 3))
    strong = keras.layers.ReLU(threshold=3.0)(edges(keras.layers.Rescaling(1 / 255)(image)))
    edges.set_weights([np.repeat(laplace, 3, axis=2)])
    gate = keras.layers.GlobalMaxPooling2D()(strong)
    chaos = _magnifying(3000.0)
    plain = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, plain + 1000.0 * gate * chaos(image))
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    changed = rewrite(model).model
    with pytest.raises(ExportError, match="was expected"):
        check_equal(model, changed, noise)
    assert check_equal(model, changed, random_images(8, (8, 8, 3))) < 1e-5

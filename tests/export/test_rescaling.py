"""Cutting the rescaling off a model, and putting one in: the two halves still give the model's outputs."""

import keras
import numpy as np
import pytest

from export.errors import ExportError
from export.graph.identities import acts_in_training
from export.graph.rescaling import (
    RAW,
    Rescaling,
    add_rescaling,
    folded_rescaling,
    in_one_operator,
    split_rescaling,
    without_rescaling,
)
from keras_graph.walk import named_layers


@pytest.mark.parametrize(
    "rescaling",
    [{"scale": 1 / 128, "offset": -1.0}, {"scale": [1 / 58, 1 / 57, 1 / 56], "offset": [-2.1, -2.0, -1.8]}],
)
def test_rescaling_and_rest_give_the_models_outputs(nets, test_images, rescaling):
    model = nets.small_net(rescaling)
    split = split_rescaling(model)
    images = test_images[:8].astype(np.float32)
    again = split.rest(split.rescaling(images), training=False)
    np.testing.assert_allclose(again, model(images, training=False), atol=1e-6)
    assert split.layers == ("pixels",)


def test_one_operator_gives_the_models_outputs_up_to_the_border(per_channel_net, test_images):
    images = test_images[:8].astype(np.float32)
    replaced = in_one_operator(per_channel_net)
    np.testing.assert_allclose(
        replaced(images, training=False), per_channel_net(images, training=False), atol=1e-5
    )


def test_rescaling_then_normalization_become_one(test_images):
    image = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Normalization(mean=[0.48, 0.45, 0.41], variance=[0.05, 0.06, 0.07])(x)
    model = keras.Model(image, keras.layers.Flatten()(x))
    split = split_rescaling(model)
    assert len(split.layers) == 2
    images = test_images[:2].astype(np.float32)
    np.testing.assert_allclose(split.rescaling(images).reshape(2, -1), model(images), atol=1e-5)


def test_a_sequential_model_is_split_too(test_images):
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    split = split_rescaling(model)
    images = test_images[:2].astype(np.float32)
    np.testing.assert_allclose(split.rest(split.rescaling(images)), model(images), atol=1e-4)


def test_a_model_that_uses_its_raw_input_twice_is_left_whole():
    image = keras.Input((32, 32, 3))
    x = keras.layers.Concatenate()([keras.layers.Rescaling(1 / 255)(image), image])
    model = keras.Model(image, keras.layers.Flatten()(x))
    split = split_rescaling(model)
    assert split.rescaling == RAW
    assert split.rest is model


def test_added_rescaling_lets_a_model_of_zero_to_one_take_raw_pixels(nets, test_images):
    model = nets.small_net(None)
    wrapped = add_rescaling(model, 1 / 255, 0.0)
    images = test_images[:4].astype(np.float32)
    np.testing.assert_allclose(
        wrapped(images, training=False), model(images / 255, training=False), atol=1e-5
    )


def test_added_rescaling_of_two_channels_is_refused(nets):
    with pytest.raises(ExportError, match="2 values as scale, but images of 3 channels"):
        add_rescaling(nets.small_net(None), [1.0, 2.0], 0.0)


def test_plain_arithmetic_as_in_preprocess_input_is_cut_off_too(test_images):
    image = keras.Input((32, 32, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(image)
    model = keras.Model(image, keras.layers.Flatten()(x))
    split = split_rescaling(model)
    assert len(split.layers) == 2
    images = test_images[:2].astype(np.float32)
    np.testing.assert_allclose(split.rescaling(images).reshape(2, -1), model(images), atol=1e-5)


def test_arithmetic_between_two_tensors_is_no_rescaling():
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.Flatten()(keras.ops.multiply(image, image)))
    assert split_rescaling(model).rescaling == RAW


L = keras.layers
BEGINNINGS = {
    "augmentation": lambda: [L.RandomFlip("horizontal"), L.RandomRotation(0.2), L.Rescaling(1 / 127.5, -1)],
    "augmentation in a nested model": lambda: [
        keras.Sequential([L.RandomZoom(0.2), L.RandomContrast(0.2)]),
        L.Rescaling(1 / 127.5, -1),
    ],
    "resized and rescaled in a nested model": lambda: [
        keras.Sequential([L.Resizing(24, 20), L.Rescaling(1 / 127.5, -1)]),
        keras.Sequential([L.RandomFlip(), L.RandomZoom(0.2)]),
    ],
    "all in a nested model": lambda: [
        keras.Sequential([L.Rescaling(1 / 255), L.GaussianNoise(0.1), L.Rescaling(2, -1), L.Conv2D(2, 3)])
    ],
}


@pytest.mark.parametrize("before", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_rescaling_behind_augmentation_or_resizing_is_found(test_images, before):
    conv = L.Conv2D(4, 3, padding="same")
    model = keras.Sequential([keras.Input((32, 32, 3)), *before(), conv, L.Flatten()])
    split = split_rescaling(model)
    assert split.rescaling.scale == pytest.approx([2 / 255] * 3)
    assert split.rescaling.offset == pytest.approx([-1] * 3)
    images = test_images[:4].astype(np.float32)
    again = split.rest(split.rescaling(images), training=False)
    np.testing.assert_allclose(again, model(images, training=False), atol=1e-5)


@pytest.mark.parametrize("before", [L.Resizing(24, 20, pad_to_aspect_ratio=True), L.RandomCrop(20, 20)])
def test_a_rescaling_behind_a_layer_that_does_not_average_stays(before):
    model = keras.Sequential([keras.Input((32, 32, 3)), before, L.Rescaling(1 / 255), L.Flatten()])
    assert split_rescaling(model).rescaling == RAW


def test_added_rescaling_leaves_the_layers_names(test_images):
    outer = keras.Sequential([L.Conv2D(2, 3, name="inner")], name="outer")
    model = keras.Sequential([keras.Input((32, 32, 3)), outer, L.Flatten(name="pixels")])
    wrapped = add_rescaling(model, 1 / 255, 0.0)
    names = [name for name, _ in named_layers(wrapped)]
    assert names[-2:] == ["outer/inner", "pixels"]
    images = test_images[:4].astype(np.float32)
    np.testing.assert_allclose(wrapped(images), model(images / 255), atol=1e-5)


AUGMENTATION = {
    "RandomBrightness": {"factor": 0.5},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "RandAugment": {},
    "MixUp": {},
}


@pytest.mark.parametrize("name", AUGMENTATION)
def test_a_layer_counted_as_acting_in_training_is_an_identity_in_inference(test_images, name):
    layer = getattr(L, name)(**AUGMENTATION[name])
    model = keras.Sequential([keras.Input((32, 32, 3)), layer])
    assert acts_in_training(layer)
    images = test_images[:4].astype(np.float32)
    np.testing.assert_array_equal(model(images, training=False), images)


def _beginnings():
    layers = keras.layers
    return {
        "convolution": lambda x: layers.Conv2D(4, 3, use_bias=False)(x),
        "with activation": lambda x: layers.Conv2D(4, 3, strides=2, activation="tanh")(x),
        "depthwise": lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x),
        "nested": lambda x: keras.Sequential([layers.Input((16, 16, 3)), layers.Conv2D(4, 3)])(x),
    }


@pytest.mark.parametrize("beginning", _beginnings())
def test_half_a_grey_level_goes_into_the_first_convolution(beginning):
    """Keras's own output on raw pixels; without padding the two are equal but for float32's rounding."""
    image = keras.Input((16, 16, 3))
    x = _beginnings()[beginning](keras.layers.Rescaling(1 / 127.5, -1)(image))
    model = keras.Model(image, keras.layers.Flatten()(x))
    on_levels = Rescaling(scale=(1 / 127.5,), offset=(-128 / 127.5,))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.float32)
    rest = without_rescaling(model, on_levels)
    np.testing.assert_allclose(rest(on_levels(pixels)), model(pixels), atol=1e-5)
    assert np.abs(split_rescaling(model).rest(on_levels(pixels)) - model(pixels)).max() > 1e-3


def test_behind_padding_only_the_border_is_off_by_half_a_grey_level():
    image = keras.Input((16, 16, 3))
    x = keras.layers.ZeroPadding2D(1)(keras.layers.Rescaling(1 / 127.5, -1)(image))
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(x))
    on_levels = Rescaling(scale=(1 / 127.5,), offset=(-128 / 127.5,))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.float32)
    off = np.abs(without_rescaling(model, on_levels)(on_levels(pixels)) - model(pixels))
    assert off[:, 1:-1, 1:-1].max() < 1e-5 < 1e-3 < off.max()


def test_an_input_that_two_layers_read_keeps_the_half_level():
    image = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    model = keras.Model(image, keras.layers.Concatenate()([keras.layers.Conv2D(4, 3, padding="same")(x), x]))
    on_levels = Rescaling(scale=(1 / 127.5,), offset=(-128 / 127.5,))
    rest = without_rescaling(model, on_levels)
    np.testing.assert_array_equal(rest.get_weights()[1], model.get_weights()[1])


PER_CHANNEL = {"scale": [1 / 58.4, 1 / 57.1, -1 / 30], "offset": [-2.1, -2.03, 1.8]}
ONE_ZERO = {"scale": [1 / 58, -1 / 57, 1 / 20], "offset": [-100 / 58, 100 / 57, -100 / 20]}
"""The same grey level, 100, is 0 in each channel."""
UNPADDED = {
    "convolution": lambda x: L.Conv2D(4, 3, use_bias=False)(x),
    "with activation": lambda x: L.Conv2D(4, 3, strides=2, activation="tanh", bias_initializer="ones")(x),
    "grouped": lambda x: L.Conv2D(6, 3, groups=3)(x),
    "depthwise": lambda x: L.DepthwiseConv2D(3, depth_multiplier=2)(x),
    "nested": lambda x: keras.Sequential([L.Input((16, 16, 3)), L.Dropout(0.5), L.Conv2D(4, 3)])(x),
    "patches": lambda x: L.Conv2D(4, 4, strides=4, padding="same")(x),
    "pairs of columns": lambda x: L.Conv2D(4, (3, 2), strides=(2, 1))(L.Reshape((16, 8, 6))(x)),
    "zeros of no width": lambda x: L.Conv2D(4, 3)(L.ZeroPadding2D(0)(x)),
}
PADDED = {
    "same": lambda x: L.Conv2D(4, 3, padding="same")(x),
    "both sides": lambda x: L.Conv2D(4, 3, strides=2)(L.ZeroPadding2D(1)(x)),
    "depthwise": lambda x: L.DepthwiseConv2D(3, padding="same")(x),
    "pairs of columns": lambda x: L.Conv2D(4, 3, padding="same")(L.Reshape((16, 8, 6))(x)),
}


def beginning_with(body, rescaling):
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    return keras.Model(image, L.Flatten()(body(L.Rescaling(**rescaling)(image))))


def assert_folded(model):
    instead = folded_rescaling(model)
    assert instead.is_scalar
    zero = -instead.offset[0] / instead.scale[0]
    assert zero == round(zero)
    assert 0 <= zero <= 255
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.float32)
    rest = without_rescaling(model, instead)
    assert not [each for each in rest.layers if isinstance(each, L.Rescaling)]
    np.testing.assert_allclose(rest(instead(pixels)), model(pixels), atol=2e-5)


@pytest.mark.parametrize("body", UNPADDED)
@pytest.mark.parametrize("rescaling", [PER_CHANNEL, ONE_ZERO, {"scale": -1 / 255, "offset": 1.5}])
def test_a_rescaling_per_channel_goes_into_a_convolution_that_pads_nothing(body, rescaling):
    assert_folded(beginning_with(UNPADDED[body], rescaling))


@pytest.mark.parametrize("body", PADDED)
def test_it_goes_into_a_padded_one_where_one_grey_level_is_zero_in_all_channels(body):
    assert_folded(beginning_with(PADDED[body], ONE_ZERO))


@pytest.mark.parametrize("body", PADDED)
def test_it_stays_where_the_zeros_around_the_image_are_another_level_in_each_channel(body):
    assert folded_rescaling(beginning_with(PADDED[body], PER_CHANNEL)) is None


@pytest.mark.parametrize(
    "body",
    [
        lambda x: L.MaxPooling2D(2)(x),
        lambda x: L.Conv2D(4, 3)(L.Reshape((8, 16, 6))(x)),
        lambda x: L.Concatenate()([L.Conv2D(3, 1)(x), x]),
    ],
)
def test_it_stays_where_no_convolution_alone_reads_the_image(body):
    assert folded_rescaling(beginning_with(body, PER_CHANNEL)) is None


def test_a_channel_that_is_left_out_stays():
    model = beginning_with(UNPADDED["convolution"], {"scale": [1.0, 0.0, 1.0], "offset": [0.0, 1.0, 0.0]})
    assert folded_rescaling(model) is None

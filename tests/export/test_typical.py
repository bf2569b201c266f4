"""Which images the ranges are read from: those few are left out that would make the steps coarser for all."""

import keras
import numpy as np
import pytest

from export.quantization.typical import typical_images


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(64, 192, (100, 8, 8, 3)).astype(np.uint8)


def nested_net():
    """Its hidden layer is one of a nested model's: 100 x (red - green) - 50, as in no ordinary image."""
    image = keras.Input((8, 8, 3))
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(1, 1, activation="relu", name="conv")], name="inner"
    )
    x = keras.layers.Rescaling(1 / 255)(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(inner(x)))
    kernel = np.array([100, -100, 0], np.float32).reshape(1, 1, 3, 1)
    inner.get_layer("conv").set_weights([kernel, np.array([-50], np.float32)])
    return model


def test_the_images_that_go_farthest_beyond_the_others_are_left_out(pixels):
    pixels = pixels.copy()
    odd = [3, 40, 41, 77, 99]
    pixels[odd, 2, 2] = 255, 0, 0
    kept = typical_images(nested_net(), pixels)
    assert kept.tolist() == [index for index in range(100) if index not in odd]


def pointwise(values, bias, name):
    """A 1x1 convolution of one channel, with the weights to give it."""
    layer = keras.layers.Conv2D(1, 1, name=name)
    layer.build((None, 8, 8, 3))
    layer.set_weights([np.array(values, np.float32).reshape(1, 1, 3, 1), np.array([bias], np.float32)])
    return layer


def test_what_a_relu_clips_has_no_say(pixels):
    """Below zero all of the convolution's values are fused away; above, red alone goes beyond the others."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.BatchNormalization()(pointwise([1, -100, 0], 0, "conv")(x))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x)))
    pixels = np.maximum(pixels, 100)
    pixels[:, 0, 0] = 100, 0, 0
    pixels[[5, 6, 7], 2, 2] = 0, 255, 0  # far below zero before the ReLU
    pixels[[20, 21, 22, 23, 24], 2, 2] = 255, 0, 0
    assert [index for index in range(100) if index not in typical_images(model, pixels)] == [
        20, 21, 22, 23, 24,
    ]  # fmt: skip


def test_a_side_that_is_empty_for_nearly_all_counts_where_it_widens_the_range(pixels):
    """Of values 0..1, some images go to -0.01, three to -100: these three are left out, and some others."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(pointwise([1, -100, 0], 0, "conv")(x)))
    pixels[:, :, :, 1] = 0
    pixels[[5, 50, 95], 2, 2] = 0, 255, 0
    assert not {5, 50, 95} & set(typical_images(model, pixels).tolist())


def test_one_image_is_kept_of_one(pixels):
    assert typical_images(nested_net(), pixels[:1]).tolist() == [0]


def test_a_layer_that_gives_nothing_but_zeros_has_no_say(pixels):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Rescaling(0.0)(image))
    assert len(typical_images(model, pixels)) == 95

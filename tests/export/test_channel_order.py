"""A model for BGR turned into one for RGB, beside Keras's own output for the reversed image."""

import keras
import numpy as np
import pytest

from export.errors import ExportError
from export.graph.channel_order import with_channels_reversed
from export.graph.rescaling import add_rescaling

L = keras.layers
SIZE = 16


def image():
    return keras.Input((SIZE, SIZE, 3))


def tail(x):
    return L.Dense(4, activation="softmax")(L.GlobalAveragePooling2D()(x))


def plain():
    x = image()
    return keras.Model(x, tail(L.Conv2D(5, 3, activation="relu")(x)))


def padded():
    """As ResNet50 begins."""
    x = image()
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(5, 3, strides=2)(L.ZeroPadding2D(2)(x))))
    return keras.Model(x, tail(y))


def normalized_first():
    x = image()
    return keras.Model(x, tail(L.Conv2D(5, 3)(L.BatchNormalization()(x))))


def nested_behind_arithmetic():
    """As transfer learning has it: augmentation, preprocess_input, a nested model."""
    x = image()
    augment = keras.Sequential([image(), L.RandomFlip(), L.RandomRotation(0.1)])
    return keras.Model(x, plain()(augment(x) / 127.5 - 1.0))


def read_twice():
    x = image()
    left, right = L.Conv2D(5, 3, padding="same")(x), L.Conv2D(5, 1)(L.AveragePooling2D(3, 1, "same")(x))
    return keras.Model(x, tail(L.Concatenate()([left, right])))


def pooled_first():
    x = image()
    return keras.Model(x, tail(x))


def nested_normalization():
    """The nested model gives channels in the other order, which a layer behind it reads."""
    x = image()
    inner = keras.Sequential([image(), L.Rescaling(1 / 255), L.BatchNormalization()])
    return keras.Model(x, tail(inner(x)))


@pytest.mark.parametrize(
    "build",
    [
        plain,
        padded,
        normalized_first,
        nested_behind_arithmetic,
        read_twice,
        pooled_first,
        nested_normalization,
    ],
)
def test_rgb_gives_what_bgr_gave(build):
    model = build()
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights(np.random.default_rng(0).uniform(0.5, 1.5, (4, layer.gamma.shape[0])))
    images = np.random.default_rng(1).uniform(0, 255, (3, SIZE, SIZE, 3)).astype(np.float32)
    expected = np.asarray(model(images[..., ::-1], training=False))
    turned = with_channels_reversed(model)
    np.testing.assert_allclose(np.asarray(turned(images, training=False)), expected, atol=1e-5)
    assert [layer.name for layer in turned.layers[1:]] == [layer.name for layer in model.layers[1:]]
    fed = add_rescaling(model, (0.01, 0.02, 0.03), (-1.0, -0.5, 0.0), channels="bgr")
    values = images[..., ::-1] * np.float32([0.01, 0.02, 0.03]) + np.float32([-1.0, -0.5, 0.0])
    expected = np.asarray(model(values, training=False))
    np.testing.assert_allclose(np.asarray(fed(images, training=False)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "first",
    [
        lambda: L.DepthwiseConv2D(3, name="first"),
        lambda: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 1.0, 1.0], name="first"),
        lambda: L.Conv2D(3, 3, groups=3, name="first"),
        lambda: L.Flatten(name="first"),
    ],
)
def test_another_first_layer_is_refused_by_name(first):
    x = image()
    y = first()(x)
    model = keras.Model(x, L.Dense(4)(y) if y.shape[1:2] == y.shape[1:] else tail(y))
    with pytest.raises(ExportError, match=r"--channels bgr: first \(.*\) reads the image"):
        with_channels_reversed(model)

"""The tf_keras twin: equal to float32's rounding; what tf_keras lacks computes as it is."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from export.plan import int8_plan
from models.registry import FAMILIES
from pipeline.compression.twin import check_equal, make_twin, take_weights, tolerance_of
from pipeline.errors import PipelineError

layers = keras.layers
MOST_STEPS = {"squeezenet": 2, "mobilenet": 2, "densenet": 2}
"""How many steps of a float32 below 1, 6e-8 each, the probabilities of these twins were off by; others may
round a few times more, since Keras and tf_keras compute a BatchNormalization in another order."""


def nested() -> keras.Model:
    """A Sequential model, with a Sequential block in it, in a functional one; names come twice."""

    def block(name: str) -> keras.Model:
        return keras.Sequential(
            [
                layers.Conv2D(4, 3, padding="same", activation="relu", name="conv"),
                layers.MaxPooling2D(name="pool"),
            ],
            name=name,
        )

    image = keras.Input((16, 16, 3), name="image")
    x = block("left")(image)
    x = block("right")(x)
    return keras.Model(image, layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D()(x)))


def shared_layer() -> keras.Model:
    """One convolution that is called twice."""
    image = keras.Input((16, 16, 4))
    conv = layers.Conv2D(4, 3, padding="same", activation="relu", name="both")
    x = layers.Add()([conv(image), conv(conv(image))])
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def every_layer() -> keras.Model:
    """Layers and settings that the families do without."""
    image = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(((1, 0), (0, 1)))(image)
    x = layers.Conv2D(8, (3, 1), dilation_rate=2, padding="same", activation="gelu")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2, activation="silu")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu6", use_bias=False)(x)
    x = layers.BatchNormalization(center=False, scale=False, epsilon=0.1)(x)
    x = layers.ReLU(max_value=5, negative_slope=0.1, threshold=0.2)(x)
    y = layers.LayerNormalization(epsilon=0.01)(layers.ELU(0.5)(x))
    x = layers.Concatenate()([layers.Multiply()([x, y]), layers.Subtract()([x, y])])
    x = layers.AveragePooling2D(3, strides=2, padding="same")(
        layers.UpSampling2D(2, interpolation="bilinear")(x)
    )
    x = layers.SpatialDropout2D(0.5)(layers.Conv2D(8, 1, groups=4)(x))
    x = layers.Reshape((-1,))(layers.GlobalMaxPooling2D(keepdims=True)(x))
    return keras.Model(image, layers.Softmax()(layers.Dense(5, activation="tanh")(x)))


def padded_channels() -> keras.Model:
    """Channels of zeros on both sides: a padding that takes the channels for the width."""
    image = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(((0, 0), (2, 1)), data_format="channels_first")(image)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))))


def unsettled(model: keras.Model) -> keras.Model:
    """With other weights than those that every layer begins with."""
    random = np.random.default_rng(0)
    model.set_weights(
        [weight + 0.1 * np.abs(random.standard_normal(weight.shape)) for weight in model.get_weights()]
    )
    return model


def values(model: keras.Model) -> Any:
    return np.random.default_rng(1).uniform(-1, 1, (8, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_twin_of_a_family_is_equal_to_the_last_bits(family: str, model_of: Any):
    graph = int8_plan(model_of(family)).graph
    twin = make_twin(graph).model
    images = values(graph)
    found, expected = twin(images, training=False), graph(images, training=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=6e-8 * MOST_STEPS.get(family, 8))


@pytest.mark.parametrize("build", [nested, shared_layer, every_layer, padded_channels])
def test_twin_of_a_users_model_is_equal(build: Any):
    model = unsettled(build())
    twin = make_twin(model)
    # both Keras run the same operators; a fused one may round otherwise
    np.testing.assert_allclose(twin.model(values(model)), model(values(model)), rtol=1e-5, atol=1e-6)
    assert check_equal(model, twin, values(model)) < 1e-6


@pytest.mark.parametrize("build", [nested, shared_layer])
def test_weights_go_back_into_the_layers_they_came_from(build: Any):
    model = unsettled(build())
    twin = make_twin(model)
    for variable in twin.model.weights:
        variable.assign(variable * 2)
    take_weights(twin, twin.model)
    np.testing.assert_allclose(model(values(model)), twin.model(values(model)), rtol=1e-5, atol=1e-5)


def test_unequal_twin_is_refused():
    model = unsettled(nested())
    twin = make_twin(model)
    twin.model.weights[0].assign_add(np.full(twin.model.weights[0].shape, 0.01, np.float32))
    with pytest.raises(PipelineError, match="of the largest away from the model's own"):
        check_equal(model, twin, values(model))


class Doubled(layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


def squared(x: Any) -> Any:
    return x * x


def strangers() -> keras.Model:
    """What tf_keras lacks, or defines otherwise: layers with weights and without, operations, activations."""
    image = keras.Input((16, 16, 3))
    inner = keras.Sequential([layers.Conv2DTranspose(4, 3, name="up")], name="inner")
    x = inner(Doubled(name="twice")(image))
    x = layers.Conv2D(4, 1, activation=squared, name="square")(x) + 1
    x = layers.Conv2D(4, 1, activation="celu", name="celu")(x)
    x = layers.Conv2D(4, 1, activation="hard_sigmoid", name="hard")(x)
    x = layers.Rescaling(2, -0.5)(keras.ops.maximum(x, keras.ops.tanh(x)))
    x = layers.Resizing(8, 8)(layers.Activation("hard_swish")(x))
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return keras.Model(image, layers.Dense(3, name="scores")(x))


def test_what_tf_keras_lacks_computes_as_it_is():
    model = unsettled(strangers())
    twin = make_twin(model)
    np.testing.assert_allclose(twin.model(values(model)), model(values(model)), rtol=1e-5, atol=1e-6)
    assert twin.untrained == ("inner/up",)
    assert set(twin.layers) == {"square", "celu", "hard", "scores"}


def augmented() -> keras.Model:
    """The transfer-learning tutorial: augmentation, and a frozen nested network called in inference."""
    norm = layers.BatchNormalization(name="norm")
    base = keras.Sequential([layers.Conv2D(4, 3, name="conv"), norm], name="base")
    base.trainable = False
    flips = [layers.RandomFlip(name="flip"), layers.RandomRotation(0.2, name="turn")]
    image = keras.Input((16, 16, 3))
    x = keras.Sequential(flips, name="augment")(image)
    x = layers.GaussianNoise(0.1, name="noise")(base(x, training=False))
    return keras.Model(image, layers.Dense(3)(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))))


def test_augmentation_is_left_out_and_a_frozen_net_is_trained_but_for_its_norms():
    model = unsettled(augmented())
    twin = make_twin(model)
    assert twin.left_out == ("augment/flip", "augment/turn", "noise")
    assert check_equal(model, twin, values(model)) < 1e-6
    trained = [variable.name for variable in twin.model.trainable_variables]
    assert trained[:2] == ["base/conv/kernel:0", "base/conv/bias:0"]
    assert not any("norm" in name for name in trained)


def test_a_separable_convolution_is_two_layers_whose_weights_go_back_into_it():
    image = keras.Input((16, 16, 3))
    x = layers.SeparableConv2D(8, 3, strides=2, depth_multiplier=2, activation="swish", name="both")(image)
    model = unsettled(keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(x))))
    twin = make_twin(model)
    assert [layer.name for layer in twin.model.layers][1:5] == [
        "both>depthwise",
        "both",
        "both>activation>sigmoid",
        "both>activation",
    ]
    for variable in twin.model.weights:
        variable.assign(variable * 2)
    take_weights(twin, twin.model)
    np.testing.assert_allclose(model(values(model)), twin.model(values(model)), rtol=1e-5, atol=1e-5)


def test_a_deep_nets_twin_may_round_more_than_a_shallow_ones():
    def deep(number: int) -> keras.Model:
        image = keras.Input((8, 8, 3))
        x = image
        for _ in range(number):
            x = layers.Conv2D(3, 1, activation="relu")(x)
        return keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))

    shallow, hundred = tolerance_of(make_twin(deep(1))), tolerance_of(make_twin(deep(100)))
    assert shallow < 2e-5
    assert 5e-5 < hundred < 1e-3  # a wrong weight or epsilon changes scores by percents

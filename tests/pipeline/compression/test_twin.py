"""The tf_keras twin: equal to float32's rounding, for every model of its layers; strangers are named."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from export.plan import int8_plan
from models.registry import FAMILIES
from pipeline.compression.twin import check_equal, make_twin, take_weights
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


def test_all_strangers_are_named_with_what_they_are():
    image = keras.Input((16, 16, 3))
    inner = keras.Sequential([layers.Conv2DTranspose(4, 3, name="up")], name="inner")
    x = inner(Doubled(name="twice")(image))
    x = layers.Conv2D(4, 1, activation=lambda x: x * x, name="square")(x) + 1
    x = layers.Conv2D(4, 1, activation="celu", name="celu")(x)
    x = layers.Conv2D(4, 1, activation="hard_sigmoid", name="hard")(x)
    with pytest.raises(PipelineError) as caught:
        make_twin(keras.Model(image, x))
    message = str(caught.value)
    assert "layer 'twice' is a Doubled" in message
    assert "layer 'inner/up' is a Conv2DTranspose" in message
    assert "layer 'square' has a custom activation" in message
    # Keras 3 and tf_keras define it differently
    assert "layer 'hard' has the activation hard_sigmoid, which tf_keras computes differently" in message
    assert "layer 'celu' has the activation celu, which tf_keras lacks" in message
    assert "is a bare Add, not a layer" in message
    assert "pipeline export --int8" in message

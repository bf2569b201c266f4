"""The faster kernels beside Keras's own operators: same outputs, gradients and moving statistics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.build import build
from models.registry import FAMILIES, family_of
from pipeline.training.fast_layers import fast_layers


def _net(policy: str = "float32", channels: int = 4, **settings: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 5, 3), dtype="float32")
    x = keras.layers.Conv2D(channels, 3, name="conv", dtype=policy)(image)
    x = keras.layers.BatchNormalization(name="norm", dtype=policy, **settings)(x)
    return keras.Model(image, keras.layers.Activation("linear", dtype="float32")(keras.layers.ReLU()(x)))


def _step(
    model: keras.Model, *, training: bool, context: Callable[[keras.Model], Any] = nullcontext
) -> list[np.ndarray]:
    """Outputs, gradients and the moving statistics after a step on images far from mean 0."""
    images = np.random.default_rng(0).normal(3.0, 2.0, (7, 6, 5, 3)).astype(np.float32)

    @tf.function(jit_compile=False)
    def traced() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            outputs = model(images, training=training)
            loss = tf.reduce_sum(outputs**2)
        return outputs, tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    with context(model):
        outputs, gradients = traced()
    return [np.asarray(value) for value in (outputs, *gradients, *model.non_trainable_variables)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"scale": False}, {"center": False}, {"momentum": 0.5, "epsilon": 0.1}]
)
def test_values_gradients_and_statistics_are_those_of_keras(
    settings: dict[str, object], *, training: bool
) -> None:
    expected = _step(_net(**settings), training=training)
    model = _net(**settings)
    found = _step(model, training=training, context=fast_layers)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_agrees_within_its_own_rounding(policy: str, channels: int) -> None:
    expected = _step(_net(policy, channels=channels), training=True)
    model = _net(policy, channels=channels)
    found = _step(model, training=True, context=fast_layers)
    _assert_close(found, expected, eps=2**-7 if policy == "mixed_bfloat16" else 2**-10)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("settings", [{}, {"strides": 2}, {"use_bias": True}, {"dilation_rate": 2}])
def test_depthwise_convolutions_in_bfloat16_agree_within_its_rounding(
    settings: dict[str, object], padding: str
) -> None:
    expected, found = (
        _step(_depthwise(padding=padding, **settings), training=True, context=context)
        for context in (nullcontext, fast_layers)
    )
    assert len(found) == 2 + bool(settings.get("use_bias")) + 1  # outputs, and gradients of each weight
    _assert_close(found, expected, eps=2**-7)


def _depthwise(**settings: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 5, 3), dtype="float32")
    x = keras.layers.Conv2D(4, 1, use_bias=False, dtype="mixed_bfloat16")(image)
    x = keras.layers.DepthwiseConv2D(2, dtype="mixed_bfloat16", **{"use_bias": False, **settings})(x)
    return keras.Model(image, keras.layers.Activation("linear", dtype="float32")(x))


def _assert_close(found: list[np.ndarray], expected: list[np.ndarray], *, eps: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 4 * eps * max(1.0, np.abs(other).max())


def test_frozen_norms_keep_their_statistics() -> None:
    model = _net()
    model.get_layer("norm").trainable = False
    with fast_layers(model):
        before = [np.asarray(value) for value in model.get_layer("norm").weights]
        _step(model, training=True)
    for one, other in zip(model.get_layer("norm").weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_model_is_of_keras_layers_alone(family: str) -> None:
    model = build(family, **family_of(family).tiny)
    with fast_layers(model), pytest.raises(KeyError):
        raise KeyError
    kinds = {type(layer) for layer in model.layers if "Norm" in type(layer).__name__}
    assert kinds <= {keras.layers.BatchNormalization}


def test_the_fused_kernel_is_really_in_the_training_step() -> None:
    model = _net()

    def operators() -> set[str]:
        step = tf.function(lambda images: model(images, training=True), jit_compile=False)
        graph = step.get_concrete_function(tf.TensorSpec((4, 6, 5, 3))).graph
        return {operator.type for operator in graph.get_operations()}

    assert "FusedBatchNormV3" not in operators()
    with fast_layers(model):
        assert "FusedBatchNormV3" in operators()

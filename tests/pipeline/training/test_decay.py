"""Which weights are decayed, and by how much."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from models.build import build
from models.registry import resolve
from pipeline.records.training import TrainConfig
from pipeline.training.decay import set_weight_decay


@pytest.fixture
def net() -> keras.Model:
    return build("mobilenet", alpha=0.1, image_size=32, num_classes=3)


def config(**settings: object) -> TrainConfig:
    knobs = resolve("mobilenet", {"alpha": 0.1, "image_size": 32, "num_classes": 3})
    return dataclasses.replace(TrainConfig(family="mobilenet", knobs=knobs, weight_decay=0.01), **settings)


def kinds(net: keras.Model, paths: list[str]) -> set[str]:
    by_path = {
        variable.path: f"{type(layer).__name__}.{variable.name}"
        for layer in layers_of(net)
        for variable in layer.trainable_weights
    }
    return {by_path[path] for path in paths}


def layers_of(net: keras.Model) -> list[keras.Layer]:
    """The net's layers, those of nested models in their place."""
    return [
        inner
        for layer in net.layers
        for inner in (layers_of(layer) if isinstance(layer, keras.Model) else [layer])
    ]


def test_convolutions_and_dense_kernels_alone_are_decayed(net: keras.Model):
    assert kinds(net, set_weight_decay(net, config())) == {"Conv2D.kernel", "Dense.kernel"}


def test_depthwise_kernels_are_decayed_when_asked(net: keras.Model):
    decayed = kinds(net, set_weight_decay(net, config(decay_depthwise=True)))
    assert decayed == {"Conv2D.kernel", "Dense.kernel", "DepthwiseConv2D.kernel"}


def test_batch_norm_and_biases_are_decayed_when_asked(net: keras.Model):
    decayed = kinds(net, set_weight_decay(net, config(decay_norm_and_bias=True)))
    assert decayed == {
        "Conv2D.kernel",
        "Dense.kernel",
        "Dense.bias",
        "BatchNormalization.gamma",
        "BatchNormalization.beta",
    }


def net_of_all_convolutions() -> keras.Model:
    layers = keras.layers
    sequence = keras.Sequential(
        [
            layers.Conv1D(4, 3, padding="same"),
            layers.Conv1DTranspose(4, 3, padding="same"),
            layers.SeparableConv1D(4, 3, padding="same"),
            layers.DepthwiseConv1D(3, padding="same"),
            layers.EinsumDense("abc,cd->abd", output_shape=(None, 4), bias_axes="d"),
        ],
        name="sequence",
    )
    image = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(4, 3)(image)
    x = layers.Conv2DTranspose(4, 3)(x)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.PReLU()(layers.LayerNormalization()(x))
    x = sequence(layers.Reshape((36, 4))(x))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


KERNELS = {
    "Conv1D.kernel",
    "Conv1DTranspose.kernel",
    "SeparableConv1D.pointwise_kernel",
    "EinsumDense.kernel",
    "SeparableConv2D.pointwise_kernel",
    "Conv2DTranspose.kernel",
    "Dense.kernel",
}
DEPTHWISE = {
    "SeparableConv1D.depthwise_kernel",
    "DepthwiseConv1D.kernel",
    "SeparableConv2D.depthwise_kernel",
    "DepthwiseConv2D.kernel",
}


def test_kernels_of_every_convolution_are_decayed_and_depthwise_ones_when_asked():
    net = net_of_all_convolutions()
    assert kinds(net, set_weight_decay(net, config())) == KERNELS
    net = net_of_all_convolutions()
    assert kinds(net, set_weight_decay(net, config(decay_depthwise=True))) == KERNELS | DEPTHWISE


def test_without_weight_decay_nothing_is_penalised(net: keras.Model):
    assert set_weight_decay(net, config(weight_decay=0.0)) == []
    assert net.losses == []


def test_penalty_is_half_the_coefficient_times_the_sum_of_squares(net: keras.Model):
    # Caffe's and Torch's weight_decay: the gradient gains weight_decay * w
    decayed = set(set_weight_decay(net, config()))
    squares = sum(
        float(np.square(variable.numpy(), dtype=np.float64).sum())
        for variable in net.trainable_variables
        if variable.path in decayed
    )
    penalty = sum(float(loss) for loss in net.losses)
    assert penalty == pytest.approx(0.01 / 2 * squares, rel=1e-5)

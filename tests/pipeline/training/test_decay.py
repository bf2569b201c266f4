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
        for layer in net.layers
        for variable in layer.trainable_weights
    }
    return {by_path[path] for path in paths}


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

"""A file cut at its class scores beside LiteRT's log-probabilities of the whole file."""

import keras
import numpy as np
import pytest

from export.check.runner import Runner
from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.class_scores import up_to_class_scores
from export.tflite.inspect import inspect_bytes

layers = keras.layers


def outputs(content, images):
    return Runner(content, inspect_bytes(content, name="file")).outputs(images.astype(np.float32))


def net(last, num_classes):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, layers.Dense(num_classes, activation=last)(layers.Flatten()(x)))


@pytest.mark.parametrize(("last", "num_classes"), [("softmax", 5), ("sigmoid", 1), ("sigmoid", 3)])
def test_the_probabilities_of_the_scores_are_those_of_the_whole_file(nets, last, num_classes):
    images = nets.colourful(8, seed=1, size=8)
    content = convert(net(last, num_classes), ExportSettings(Precision.FLOAT32))
    scores = outputs(up_to_class_scores(content), images)
    if last == "softmax":
        found = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    else:
        found = 1 / (1 + np.exp(-scores))
    assert np.ptp(scores) > 0.5
    np.testing.assert_allclose(found, outputs(content, images), atol=1e-5)


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
def test_int8_scores_are_finer_than_probabilities(nets, io_dtype):
    images = nets.colourful(40, seed=1, size=8)
    model = net("softmax", 5)
    content = convert(model, ExportSettings(Precision.INT8, io_dtype=io_dtype), pixels=images)
    linear = net("linear", 5)
    linear.set_weights(model.get_weights())
    expected = np.asarray(linear(images.astype(np.float32)))
    scores = outputs(up_to_class_scores(content), images)
    assert np.abs(scores - expected).max() < 0.05 * np.abs(expected).max()


def test_a_file_of_class_scores_is_unchanged():
    content = convert(net("linear", 5), ExportSettings(Precision.FLOAT32))
    assert up_to_class_scores(content) == content

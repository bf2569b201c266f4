"""What `export --int8` does by itself: LiteRT's error beside Keras on held-out images is the smallest."""

import keras
import numpy as np
import pytest

from export.check.runner import Runner
from export.choose_int8 import can_choose, chosen, multiplications
from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes

layers = keras.layers
INT8 = ExportSettings(Precision.INT8)
SIZE = 16


def net(last="softmax", num_classes=5):
    """A wide and a narrow channel between two layers, and weights that are all rounded one way."""
    keras.utils.set_random_seed(3)
    x = image = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 128, -1.0)(x)
    x = layers.Conv2D(8, 3, activation="relu", name="uneven")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="rounded")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(num_classes, activation=last, name="scores")(x))
    factor = np.geomspace(1 / 30, 1, 8)
    kernel, bias = model.get_layer("uneven").get_weights()
    model.get_layer("uneven").set_weights([kernel * factor, bias])
    kernel, bias = model.get_layer("rounded").get_weights()
    model.get_layer("rounded").set_weights([kernel / factor[:, np.newaxis], bias])
    return model


@pytest.fixture(scope="module")
def images(nets):
    return nets.colourful(40, seed=2, size=SIZE)


def error(content, model, images):
    floats = images.astype(np.float32)
    expected = np.asarray(model(floats, training=False))
    found = Runner(content, inspect_bytes(content, name="file")).outputs(floats)
    return np.sqrt(np.square(found - expected).mean())


def test_the_file_is_nearer_to_keras_on_images_that_it_was_not_chosen_by(nets, images):
    model = net("linear")
    others = nets.colourful(40, seed=7, size=SIZE)
    choice = chosen(model, INT8, images)
    done = choice.equalization
    assert done.factors
    assert done.error < done.plain_error / 1.5
    assert done.num_held_out == 10
    plain, best = (convert(model, INT8, pixels=images, equalization=each) for each in (None, done))
    assert error(best, model, others) < error(plain, model, others)
    assert best == choice.content, "the file made again from the sidecar's record is the same"


@pytest.mark.parametrize(("last", "num_classes"), [("softmax", 5), ("sigmoid", 1)])
def test_every_head_can_be_chosen_for(images, last, num_classes):
    done = chosen(net(last, num_classes), INT8, images).equalization
    assert 0 < done.error <= done.plain_error < 1


def test_nothing_is_done_where_nothing_is_gained(images):
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(image))
    dense = layers.Dense(3, name="scores")
    model = keras.Model(image, dense(x))
    dense.set_weights([np.asarray([[127.0, 0, 1], [5, 127, 2], [3, 4, 127]]) / 127, np.zeros(3)])
    done = chosen(model, INT8, images).equalization
    assert not done.factors
    assert (done.error, done.in_words) == (done.plain_error, "calibrated alone")


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        (INT8, 31),
        (ExportSettings(Precision.INT8, equalize=False), 40),
        (ExportSettings(Precision.INT8, rewrites=()), 40),
    ],
    ids=["too few images", "not wanted", "without rewrites"],
)
def test_nothing_is_tried(images, settings, number):
    assert not can_choose(images[:number], settings)


@pytest.mark.parametrize(("alpha", "millions"), [(1.0, 569), (0.25, 41)])
def test_multiplications_are_those_of_the_paper(alpha, millions):
    """MobileNet at 224 pixels: Howard et al. 2017, arXiv:1704.04861, Table 6 (0.25: 41 M, 1.0: 569 M)."""
    model = keras.applications.MobileNet(weights=None, alpha=alpha)
    assert multiplications(model) / 1e6 == pytest.approx(millions, rel=0.02)

"""A batch too large for memory, told before the system ends the process."""

import subprocess
import sys

import keras
import pytest
import tf_keras

from pipeline.data.memory import room_bytes
from pipeline.training.memory import LargeBatchError, alive_bytes, check_fits, fitting_batch, kept_bytes

KEPT = 4 * (64 * 64 * 3 + 62 * 62 * 8 + 8)
"""The inputs of the convolution, the norm and the Dense in float32."""


def _net(framework):
    layers = framework.layers
    body = [layers.Conv2D(8, 3), layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D()]
    return framework.Sequential([layers.Input((64, 64, 3)), *body, layers.Dense(2)])


@pytest.mark.parametrize("framework", [keras, tf_keras])
def test_what_is_kept_are_the_inputs_of_layers_that_are_trained(framework):
    model = _net(framework)
    assert kept_bytes(model) == KEPT
    model.layers[0].trainable = False
    assert kept_bytes(model) == KEPT - 4 * 64 * 64 * 3


def test_a_batch_beyond_the_memory_is_refused_with_one_that_fits():
    model = _net(keras)
    check_fits(model, 64)
    with pytest.raises(LargeBatchError) as told:
        check_fits(model, 2 * room_bytes() // KEPT)
    check_fits(model, told.value.fits)


def test_a_limit_of_the_process_counts():
    code = "import sys; from pipeline.data.memory import room_bytes; print(room_bytes())"
    limited = f"ulimit -v 2000000 && exec {sys.executable} -c '{code}'"
    found = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=True, timeout=60)
    assert 0 < int(found.stdout) < 2_048_000_000


def test_a_model_runs_on_no_more_images_than_fit():
    """As many as asked for of a small one, fewer of one whose first layer alone takes gigabytes an image."""
    small = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    assert alive_bytes(small) == 4 * (8 * 8 * 3 + 8 * 8 * 3 + 6 * 6 * 4)
    assert fitting_batch(small, 64) == 64
    side = int((room_bytes() / 4 / 64 / 10) ** 0.5)  # an image's values are a tenth of what 1 of 64 may take
    large = keras.Sequential([keras.Input((side, side, 3)), keras.layers.Conv2D(64, 3, padding="same")])
    assert 1 <= fitting_batch(large, 64) < 64
    huge = keras.Sequential([keras.Input((10 * side, 10 * side, 3)), keras.layers.Conv2D(64, 3)])
    assert fitting_batch(huge, 64) == 1


def test_nested_models_and_shared_layers_are_measured():
    shared = keras.layers.Dense(10)
    image = keras.Input((4, 4, 3))
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(100, 1)])
    flat = keras.layers.GlobalAveragePooling2D()(inner(image))
    model = keras.Model(image, keras.layers.Add()([shared(flat), shared(2 * flat)]))
    assert alive_bytes(model) == 4 * (48 + 1600 + 100)  # of the pooling, after the convolution's 100 channels

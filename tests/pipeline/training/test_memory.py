"""A batch too large for memory, told before the system ends the process."""

import subprocess
import sys

import keras
import pytest
import tf_keras

from pipeline.data.memory import room_bytes
from pipeline.training.memory import LargeBatchError, check_fits, kept_bytes

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

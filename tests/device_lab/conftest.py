"""The lab's fixtures, and model files for its benchmark tool."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from device_lab.fixtures import lab, phone

__all__ = ["lab", "phone"]

_LOGS = Path(__file__).parents[3] / "shared" / "reference" / "logs" / "litert_2.1.4_x86_64"


def _tensorflow():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow

    return tensorflow


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of the session's model files."""
    return tmp_path_factory.mktemp("device_lab")


@pytest.fixture(scope="session")
def model(folder):
    """A .tflite that XNNPACK takes in two parts around a reshape, like the MobileNet of the logs."""
    tf = _tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="keras_tensor")  # as in the logs, whatever was built before
    x = keras.layers.Conv2D(16, 3, activation="relu")(image)
    x = keras.layers.DepthwiseConv2D(3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Reshape((10,))(keras.layers.Conv2D(10, 1)(x))
    x = keras.layers.Softmax()(x)
    path = folder / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, x)).convert())
    return path


@pytest.fixture(scope="session")
def custom_model(folder):
    """A .tflite with an operator that no runtime has."""
    tf = _tensorflow()
    signature = [tf.TensorSpec([4, 4], tf.float32)]
    function = tf.function(lambda matrix: tf.linalg.svd(matrix, compute_uv=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.allow_custom_ops = True
    path = folder / "custom.tflite"
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="session")
def logs():
    """The folder with the captured output of LiteRT's own tool."""
    if not _LOGS.is_dir():
        pytest.skip("the captured logs in ../shared are not here")
    return _LOGS

"""Small Keras nets with the layers of the families, and their conversions, made once for all tests."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings

SIZE = 32
NUM_CLASSES = 5
EXACT = {"scale": 1 / 128, "offset": -1.0}
"""(x - 128) / 128, which int8 represents exactly."""
PER_CHANNEL = {"scale": [1 / 58.4, 1 / 57.1, 1 / 57.4], "offset": [-2.1, -2.03, -1.8]}
"""Mean and deviation of each colour, as ImageNet models have it."""

_TFLITE_RUNTIME_PROGRAM = """
import sys, numpy, tflite_runtime.interpreter as t
i = t.Interpreter(model_path=sys.argv[1]); i.allocate_tensors()
images = numpy.load(sys.argv[2]); outputs = []
for image in images:
    i.set_tensor(i.get_input_details()[0]["index"], image[None]); i.invoke()
    outputs.append(i.get_tensor(i.get_output_details()[0]["index"])[0])
numpy.save(sys.argv[3], numpy.array(outputs))
"""


def conv_bn_relu(x, layer, name):
    """The layer, then BatchNormalization and ReLU, as all families have them."""
    x = layer(name=name, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def random_statistics(model, seed):
    """Gives every BatchNormalization statistics as after a training."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            num = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, num),
                    rng.normal(0, 0.2, num),
                    rng.normal(0, 0.2, num),
                    rng.uniform(0.5, 1.5, num),
                ]
            )
    return model


def small_net(rescaling=EXACT, *, size=SIZE, num_classes=NUM_CLASSES, seed=0):
    """Convolution, depthwise, fire module, residual, BN before ReLU, pooling, softmax; 32x32 RGB."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    image = x = keras.Input((size, size, 3))
    if rescaling is not None:
        x = layers.Rescaling(**rescaling, name="pixels")(x)
    x = conv_bn_relu(x, functools.partial(layers.Conv2D, 8, 3, strides=2), "conv1")
    x = conv_bn_relu(x, functools.partial(layers.DepthwiseConv2D, 3), "dw2")
    left = layers.Conv2D(8, 1, activation="relu", name="expand1")(x)
    right = layers.Conv2D(8, 3, padding="same", activation="relu", name="expand3")(x)
    x = layers.Concatenate(name="fire")([left, right])
    x = layers.Add(name="residual")([x, layers.Conv2D(16, 1, name="project")(x)])
    x = layers.BatchNormalization(name="pre_bn")(x)
    x = layers.ReLU(name="pre_relu")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.Dense(num_classes, name="logits")(x)
    x = layers.Softmax(name="probabilities")(x)
    return with_opinions(random_statistics(keras.Model(image, x, name="small"), seed), seed)


def with_opinions(model, seed):
    """Sets the logits so that `colourful` images fall into different classes."""
    images = colourful(100, seed=99, size=model.inputs[0].shape[1]).astype(np.float32)
    logits = model.get_layer("logits")
    features = np.asarray(keras.Model(model.inputs[0], logits.input)(images, training=False))
    mixing = np.random.default_rng(seed).normal(0, 1, logits.kernel.shape)
    kernel = 0.3 * mixing / features.std(axis=0).mean()
    logits.set_weights([kernel, -features.mean(axis=0) @ kernel])
    return model


def colourful(num, *, seed, size=SIZE):
    """(num, size, size, 3) uint8 images, each in a colour of its own, so that a net tells them apart."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (num, 1, 1, 3)) + rng.integers(-40, 41, (num, 4, 4, 3))
    images = blocks.repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    return np.clip(images + rng.integers(-20, 21, images.shape), 0, 255).astype(np.uint8)


def _calibration_pixels():
    """100 images, the tested ones among them, so that no activation of these lies beyond the ranges."""
    return np.concatenate([colourful(60, seed=2), colourful(40, seed=1)])


@functools.cache
def _net(per_channel):
    return small_net(PER_CHANNEL if per_channel else EXACT)


@functools.cache
def _converted(precision, io_dtype):
    settings = ExportSettings(Precision(precision), io_dtype=io_dtype if precision == "int8" else None)
    return convert(_net(False), settings, pixels=_calibration_pixels())


@pytest.fixture(scope="session")
def net():
    """The net whose rescaling int8 represents exactly; nobody changes it."""
    return _net(False)


@pytest.fixture(scope="session")
def per_channel_net():
    """The net with a rescaling a channel; nobody changes it."""
    return _net(True)


@pytest.fixture(scope="session")
def calibration_pixels():
    return _calibration_pixels()


@pytest.fixture(scope="session")
def test_images():
    return colourful(60, seed=2)


@pytest.fixture
def exported(tmp_path):
    """(precision, io_dtype) -> the path of `net` in that precision."""

    def write(precision, io_dtype="int8"):
        path = tmp_path / f"{precision}_{io_dtype}.tflite"
        path.write_bytes(_converted(precision, io_dtype))
        return path

    return write


@pytest.fixture(scope="session")
def nets():
    """What builds nets and images: small_net, conv_bn_relu, random_statistics, colourful."""
    return sys.modules[__name__]


def litert(path, stored, *, resolver="AUTO"):
    """What a bare LiteRT loop gives for stored inputs, and the details of its input and output."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=OpResolverType[resolver])
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for image in stored:
        interpreter.set_tensor(takes["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(gives["index"])[0])
    return np.array(outputs), takes, gives


def tflite_runtime(path, stored, folder):
    """What tflite-runtime 2.14 gives, in a process of its own: it shares symbols with LiteRT."""
    pytest.importorskip("tflite_runtime", reason="tflite-runtime has no wheel for this machine")
    np.save(folder / "in.npy", stored)
    command = [sys.executable, "-c", _TFLITE_RUNTIME_PROGRAM, path, folder / "in.npy", folder / "out.npy"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return np.load(folder / "out.npy")


def read_json(path):
    return json.loads(Path(path).read_text())

"""Layer errors beside the float file's own tensors, in nets whose layers are moved, folded and renumbered."""

import re

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.check.layer_errors import compare_layers
from export.convert import convert
from export.plan import converted_model
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect
from models.build import build
from pipeline.compression import quantize
from pipeline.compression.prepare import prepared_of
from pipeline.records.compression import CompressConfig

layers = keras.layers
INT8, FLOAT32 = Precision.INT8, Precision.FLOAT32
SMALL = 0.3
"""No layer of these nets loses more: their weights and ranges are ordinary."""
TOLERANCE = 0.01
"""Float32 rounds otherwise in TFLite than in Keras."""


def default_net(*, nested=False):
    """A residual net of Keras's default names: BatchNorm without ReLU before an Add and behind it, a pool."""
    x = image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 128, -1.0)(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(x)))
    for _ in range(3):
        y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.ReLU()(layers.BatchNormalization()(layers.MaxPooling2D(2)(x)))
    if nested:
        inner = keras.Input(x.shape[1:])
        x = keras.Model(inner, layers.ReLU()(layers.Conv2D(8, 3)(inner)))(x)
    x = layers.Conv2D(12, 1, use_bias=False)(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Softmax()(x))


def mobilenet_v2():
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=5)
    image = keras.Input((32, 32, 3))
    return keras.Model(image, model(layers.Rescaling(1 / 128, -1.0)(image)))


def densenet():
    """Its transitions keep their channels, so that a pooling can be taken for the convolution before it."""
    return build("densenet", depth=16, growth_rate=8, bottleneck=False, compression=1.0, num_classes=5,
                 image_size=32, dropout=0.0)  # fmt: skip


@pytest.fixture(autouse=True)
def same_weights():
    keras.utils.set_random_seed(0)


@pytest.fixture
def trained_like(nets):
    """Gives a net statistics as after a training, and images in which its activations differ."""

    def make(model):
        for each in (model, *(layer for layer in model.layers if isinstance(layer, keras.Model))):
            nets.random_statistics(each, 0)
        return model, nets.colourful(40, seed=2, size=model.inputs[0].shape[1])

    return make


def activations(path, images):
    """Tensor's index -> what a bare LiteRT loop leaves in it for each image, as real values."""
    interpreter = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    takes = interpreter.get_input_details()[0]
    written = {index for each in interpreter._get_ops_details() for index in each["outputs"]}
    details = [each for each in interpreter.get_tensor_details() if each["index"] in written]
    found = {each["index"]: [] for each in details}
    for image in images:
        stored = image - 128 if takes["dtype"] is np.int8 else image
        interpreter.set_tensor(takes["index"], stored[None].astype(takes["dtype"]))
        interpreter.invoke()
        for each in details:
            scale, zero_point = each["quantization"]
            value = interpreter.get_tensor(each["index"])[0].astype(np.float64)
            found[each["index"]].append(scale * (value - zero_point) if scale else value)
    return {index: np.array(values) for index, values in found.items()}


def is_named_after(name, layer):
    if "quant_" in name:
        return f"/quant_{layer}/" in f"/{name}"
    return bool(re.search(rf"/{layer.rpartition('/')[2]}_\d+/", f"/{name}"))


def true_errors(int8, float32, images, names):
    """The error of each layer's last tensor in the int8 file, beside that of the float file."""
    both = []
    for path in (int8, float32):
        graph, values = inspect(path), activations(path, images)
        places = {}
        for operator in graph.graph:
            for layer in list(names)[:-1]:  # the last one's tensor has the output's name
                if is_named_after(graph.tensors[operator.outputs[0]].name, layer):
                    places[layer] = values[operator.outputs[0]]
        both.append(places)
    found = {}
    for layer in both[0].keys() & both[1].keys():
        ours, theirs = (each[layer].reshape(-1, each[layer].shape[-1]) for each in both)
        size = np.sqrt((theirs**2).sum(axis=0))
        counted = size > 0.01 * np.median(size)
        ratio = np.sqrt(((ours - theirs) ** 2).sum(axis=0))[counted] / size[counted]
        found[layer] = np.minimum(ratio, 1).mean()
    return found


def compared(model, settings, path, images, **how):
    found = compare_layers(converted_model(model, settings, **how), path, inspect(path), images)
    return {each.layer: each.relative_error for each in found.all}


@pytest.mark.parametrize("rewrites", [None, ()], ids=["rewritten", "as it is"])
@pytest.mark.parametrize("net", [default_net, mobilenet_v2, densenet])
def test_errors_are_those_between_the_int8_and_the_float_file(trained_like, tmp_path, net, rewrites):
    model, images = trained_like(net())
    int8, float32 = tmp_path / "int8.tflite", tmp_path / "float32.tflite"
    settings = ExportSettings(INT8, rewrites=rewrites)
    int8.write_bytes(convert(model, settings, pixels=images))
    float32.write_bytes(convert(model, ExportSettings(FLOAT32, rewrites=settings.rewrites)))
    some = images[:8].astype(np.float32)
    found = compared(model, settings, int8, some)
    truth = true_errors(int8, float32, some, found)
    assert (
        len(truth) >= len(found) - 2
    )  # the last tensor, and that of the class scores, may be named otherwise
    for layer, error in truth.items():
        assert found[layer] == pytest.approx(error, abs=TOLERANCE), layer
    operators = [
        each for each in inspect(int8).graph if each.name not in ("DEQUANTIZE", "MUL", "PAD", "QUANTIZE")
    ]
    assert len(found) >= 0.9 * len(operators)


def test_a_pooling_that_its_precision_keeps_behind_the_convolution_is_compared_there(trained_like, tmp_path):
    x = image = keras.Input((32, 32, 3))
    x = layers.Conv2D(24, 3, padding="same", activation="relu")(layers.Rescaling(1 / 128, -1.0)(x))
    x = layers.AveragePooling2D(8, name="pool")(layers.Conv2D(6, 1, name="squeeze")(x))
    model, images = trained_like(keras.Model(image, layers.Dense(5)(layers.Flatten()(x))))
    int8, settings = tmp_path / "int8.tflite", ExportSettings(INT8)
    int8.write_bytes(convert(model, settings, pixels=images))
    assert compared(model, settings, int8, images[:8].astype(np.float32)).keys() >= {"squeeze", "pool"}


@pytest.mark.parametrize("nested", [False, True])
def test_a_net_trained_quantized_is_compared_layer_by_layer(trained_like, tmp_path, nested):
    keras.utils.clear_session(free_memory=False)  # from conv2d, which conv2d_7 is not, on
    model, images = trained_like(default_net(nested=nested))
    config = CompressConfig(parent="p", parent_sha256="0" * 64, data="d", qat=True)
    prepared = prepared_of(model, config)
    trained = quantize.quantize(prepared.twin.model, config, input_range=prepared.input_range)
    values = np.asarray(prepared.rescaling(images.astype(np.float32)))
    quantize.observe(trained, values, batch_size=8)
    int8, float32 = tmp_path / "int8.tflite", tmp_path / "float32.tflite"
    settings = ExportSettings(INT8)
    int8.write_bytes(convert(prepared.model, settings, trained=trained))
    float32.write_bytes(convert(prepared.model, ExportSettings(FLOAT32, rewrites=())))
    some = images[:8].astype(np.float32)
    found = compared(prepared.model, settings, int8, some, has_quantizers=True)
    truth = true_errors(int8, float32, some, found)
    for layer, error in truth.items():
        assert found[layer] == pytest.approx(error, abs=TOLERANCE), layer
    assert len(found) == len(inspect(int8).graph)
    assert max(found.values()) < SMALL

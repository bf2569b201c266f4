"""What is read from a file, held against Keras, the models' cost, numpy and the file's own size."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.convert import convert
from export.errors import BadModelFileError
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.layers import layers_of_name, read_layers
from export.tflite.pack import pack
from export.tflite.submodel import Cutter
from models.build import build
from models.cost import cost
from models.registry import FAMILIES

# the bare converter says so of every Keras model
pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")

PRECISIONS = ["float32", "float16", "dynamic", "int8", "int16x8"]


@functools.cache
def family(name):
    return build(name, num_classes=10, **{**FAMILIES[name].tiny, "image_size": 32})


@functools.cache
def family_file(name):
    """As TensorFlow's own converter makes it: nothing is rewritten that would cost other MACs."""
    return tf.lite.TFLiteConverter.from_keras_model(family(name)).convert()


def read(content):
    return read_layers(content, name="a file")


def layer_of(content, name):
    return next(each for each in read(content).layers if each.layer == name and not each.on_loading)


@pytest.mark.parametrize("name", FAMILIES)
def test_macs_are_those_of_the_keras_model(name):
    found = read(family_file(name)).layers
    assert sum(each.macs for each in found) == cost(family(name)).macs


@pytest.mark.parametrize("name", FAMILIES)
def test_macs_of_each_convolution_are_those_of_its_keras_layer(name):
    expected = {each.name: each.macs for each in cost(family(name)).layers if each.macs}
    found = {each.layer: each.macs for each in read(family_file(name)).layers if each.macs}
    assert found == expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_add_up_to_the_files_size(exported, precision):
    content = exported(precision).read_bytes()
    found = read(content)
    parts = found.bytes
    assert parts.weights + parts.quantization + parts.names + parts.rest == len(content)
    assert min(parts.weights, parts.names, parts.rest) > 0
    assert (parts.quantization > 0) == (precision in ("int8", "int16x8"))  # dynamic leaves small weights
    assert sum(each.weight_bytes for each in found.layers) == parts.weights


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_are_all_constants_that_the_schema_lists(exported, precision):
    """The sum over the file's buffers, metadata left out, read with the schema alone."""
    content = exported(precision).read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    used = {tensor.buffer for tensor in model.subgraphs[0].tensors}
    sizes = [len(model.buffers[each].data) for each in used if model.buffers[each].data is not None]
    assert read(content).bytes.weights == sum(sizes)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_parameters_of_a_layer_are_those_of_keras(net, exported, precision):
    content = exported(precision).read_bytes()
    for name in ("expand1", "expand3", "project", "logits"):
        assert layer_of(content, name).num_parameters == net.get_layer(name).count_params(), name


def test_weights_of_float16_stand_with_the_layer_and_not_with_what_unpacks_them(exported):
    layers = read(exported("float16").read_bytes()).layers
    unpacking = [each for each in layers if each.on_loading]
    assert {each.operator for each in unpacking} == {"DEQUANTIZE"}
    assert sum(each.weight_bytes for each in unpacking) == 0
    logits = layer_of(exported("float16").read_bytes(), "logits")
    assert (logits.weights_dtype, logits.dtype, logits.weight_bytes) == (
        "float16",
        "float32",
        2 * (16 * 5 + 5),
    )


def test_zeros_and_distinct_values_are_those_of_the_kernel(nets):
    net = nets.small_net()
    kernel, bias = net.get_layer("project").get_weights()
    kernel = np.round(kernel, 1)
    kernel[..., ::2, :] = 0
    net.get_layer("project").set_weights([kernel, bias])
    found = layer_of(convert(net, ExportSettings(Precision.FLOAT32)), "project")
    assert found.sparsity == pytest.approx(np.mean(kernel == 0))
    assert found.sparsity >= 0.5
    assert found.num_distinct == len(np.unique(kernel))


def test_zeros_of_an_integer_file_are_counted_from_the_zero_point(exported, net):
    """tflite's int8 weights are symmetric: a kernel's zeros stay zeros, and small values join them."""
    kernel = net.get_layer("project").get_weights()[0]
    scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    expected = np.mean(np.round(kernel / scale) == 0)
    found = layer_of(exported("int8").read_bytes(), "project")
    assert found.sparsity == pytest.approx(expected, abs=2 / kernel.size)


def test_scales_a_channel_are_told_from_one_for_the_tensor(exported):
    assert layer_of(exported("int8").read_bytes(), "project").per_channel is True
    assert layer_of(exported("float32").read_bytes(), "project").per_channel is None


def test_fused_layers_are_all_named_and_the_one_with_weights_names_the_operator(exported):
    found = layer_of(exported("int8").read_bytes(), "conv1")
    assert {"conv1", "conv1_relu"} <= set(found.fused_layers)
    assert (found.operator, found.output_shape, found.dtype) == ("CONV_2D", (1, 16, 16, 8), "int8")


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("net_1/conv1_relu_1/Relu6;net_1/conv1_1/convolution", ("conv1_relu", "conv1")),
        ("net_1/conv1_bn_1/batchnorm/mul_1", ("conv1_bn",)),
        ("net_1/base_1/conv1_1/convolution", ("base/conv1",)),
        ("model/dense/BiasAdd", ("dense",)),
        ("MobilenetV1/MobilenetV1/Conv2d_0/Relu6", ("MobilenetV1/Conv2d_0",)),
        ("conv1/Relu", ("conv1",)),
        ("model/norm/moments/mean", ("norm",)),
        ("net/quant_gelu_1/Gelu/mul", ("gelu_1",)),
        ("net/quant_dense/BiasAdd/ReadVariableOp/resource", ("dense",)),
        ("net/quant_base/conv/FakeQuantWithMinMaxVars/ReadVariableOp_1/resource", ("base/conv",)),
        ("net/quant_conv>activation/FakeQuantWithMinMaxVars/ReadVariableOp/resource", ("conv",)),
        ("net/quant_attention/attention_1/query_1/MatMul", ("attention",)),
        ("net/quant_base/norm_1/norm_1_1/moments/variance", ("base/norm_1",)),
        ("PartitionedCall:0", ()),
        ("", ()),
    ],
)
def test_layers_are_read_from_a_tensors_name(name, layers):
    assert layers_of_name(name) == layers


def test_names_that_packing_left_out_are_taken_from_the_sidecars(exported):
    content = exported("int8").read_bytes()
    packed = pack(content)
    named = read_layers(packed.content, name="packed", tensor_names=packed.tensor_names)
    assert [each.layer for each in named.layers] == [each.layer for each in read(content).layers]
    assert not any(each.layer for each in read(packed.content).layers)


def test_a_constant_that_two_operators_share_is_counted_once(nets):
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    model = keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(shared(shared(image)))))
    content = pack(convert(model, ExportSettings(Precision.FLOAT32))).content
    convolutions = [each for each in read(content).layers if each.operator == "CONV_2D"]
    assert [each.weight_bytes > 0 for each in convolutions] == [True, False]
    assert convolutions[0].num_parameters == convolutions[1].num_parameters == 3 * 3 * 3 * 3 + 3


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "dynamic"])
def test_an_operator_cut_out_gives_what_it_gives_in_the_whole_file(exported, test_images, precision):
    path = exported(precision)
    whole = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    whole.allocate_tensors()
    takes = whole.get_input_details()[0]
    image = test_images[0].astype(int) - (128 if takes["dtype"] is np.int8 else 0)
    whole.set_tensor(takes["index"], image[None].astype(takes["dtype"]))
    whole.invoke()
    cutter = Cutter(path.read_bytes())
    layers = read(path.read_bytes()).layers
    assert cutter.num_operators == len(layers)
    for layer in (each for each in layers if not each.on_loading):
        part = cutter.cut(layer.index)
        assert set(part.inputs) == set(layer.inputs)
        alone = Interpreter(
            model_content=part.content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        alone.allocate_tensors()
        for tensor, number in zip(alone.get_input_details(), part.inputs, strict=True):
            alone.set_tensor(tensor["index"], whole.get_tensor(number))
        alone.invoke()
        for tensor, number in zip(alone.get_output_details(), part.outputs, strict=True):
            np.testing.assert_array_equal(alone.get_tensor(tensor["index"]), whole.get_tensor(number))


@pytest.mark.parametrize("content", [b"", b"\x1c\x00\x00\x00TFL3 cut off", b"PK\x03\x04" * 20])
def test_what_is_no_tflite_file_is_refused(content):
    with pytest.raises(BadModelFileError, match="a file"):
        read(content)


def test_a_file_cut_short_anywhere_is_refused_or_read(exported):
    content = exported("int8").read_bytes()
    for length in range(8, len(content), 997):
        try:
            read(content[:length])
        except BadModelFileError:
            continue
        pytest.fail(f"{length} of {len(content)} bytes were taken for a whole file")

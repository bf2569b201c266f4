"""Costs against the papers' tables (typed from them, MACs to the printed digits), TensorFlow's own profiler,
Keras's own counts, and graphs that are small enough to count by hand."""

import keras
import pytest
import tensorflow as tf

from models.build import build
from models.cost import FLOAT32_BYTES, cost
from models.errors import ModelError

SQUEEZENET = [
    # reference table 1.2: version, image size, padding of conv10, parameters, M MACs
    ("1.0", 224, 0, 1_248_424, "818.9"),
    ("1.0", 227, 0, 1_248_424, "832.7"),
    ("1.0", 224, 1, 1_248_424, "847.6"),
    ("1.0", 227, 1, 1_248_424, "861.3"),
    ("1.1", 224, 0, 1_235_496, "349.2"),
    ("1.1", 227, 0, 1_235_496, "387.7"),
    ("1.1", 224, 1, 1_235_496, "377.8"),
    ("1.1", 227, 1, 1_235_496, "418.5"),
]
FIRE_PARAMETERS = {
    # SqueezeNet paper, Table 1, "params before"
    "conv1": 14_208,
    "fire2": 11_920,
    "fire3": 12_432,
    "fire4": 45_344,
    "fire5": 49_440,
    "fire6": 104_880,
    "fire7": 111_024,
    "fire8": 188_992,
    "fire9": 197_184,
    "conv10": 513_000,
}
MOBILENET = [
    # reference table 3.1: alpha, image size, parameters, Keras's total, M MACs
    (1.0, 224, 4_231_976, 4_253_864, "568.7"),
    (1.0, 192, 4_231_976, 4_253_864, "418.1"),
    (1.0, 160, 4_231_976, 4_253_864, "290.7"),
    (1.0, 128, 4_231_976, 4_253_864, "186.4"),
    (0.75, 224, 2_585_560, 2_601_976, "325.4"),
    (0.75, 192, 2_585_560, 2_601_976, "239.3"),
    (0.75, 160, 2_585_560, 2_601_976, "166.4"),
    (0.75, 128, 2_585_560, 2_601_976, "106.8"),
    (0.50, 224, 1_331_592, 1_342_536, "149.5"),
    (0.50, 192, 1_331_592, 1_342_536, "110.0"),
    (0.50, 160, 1_331_592, 1_342_536, "76.5"),
    (0.50, 128, 1_331_592, 1_342_536, "49.2"),
    (0.25, 224, 470_072, 475_544, "41.0"),
    (0.25, 192, 470_072, 475_544, "30.2"),
    (0.25, 160, 470_072, 475_544, "21.1"),
    (0.25, 128, 470_072, 475_544, "13.6"),
]
DENSENET_IMAGENET = [
    # reference table 4.1: variant, parameters, Keras's total where told, G MACs
    ("121", 7_978_856, 8_062_504, "2.834"),
    ("169", 14_149_480, 14_307_880, "3.360"),
    ("201", 20_013_928, 20_242_984, "4.291"),
    ("264", 33_337_704, None, "5.752"),
    ("161", 28_681_000, None, "7.728"),
]
DENSENET_CIFAR = [
    # reference table 4.2: depth, growth rate, BC, parameters, M MACs
    (40, 12, False, 1_019_722, "264.8"),
    (100, 12, False, 6_979_642, "1769.5"),
    (100, 24, False, 27_249_082, "6889"),
    (100, 12, True, 769_162, "287.9"),
    (250, 24, True, 15_324_406, "5419"),
    (190, 40, True, 25_624_430, "9302"),
    (40, 12, True, 176_122, "72.4"),
]


def as_printed(macs: int, printed: str, unit: float) -> str:
    """The MACs in the unit, with as many digits after the point as the printed figure has."""
    return f"{macs / unit:.{len(printed.partition('.')[2])}f}"


@pytest.mark.parametrize(("version", "image_size", "pad", "parameters", "mmacs"), SQUEEZENET)
def test_squeezenet_costs_what_the_table_says(cost_of, version, image_size, pad, parameters, mmacs):
    found = cost_of("squeezenet", version=version, image_size=image_size, conv10_pad=pad)
    assert found.parameters == parameters
    assert as_printed(found.macs, mmacs, 1e6) == mmacs


@pytest.mark.parametrize(
    ("bypass", "parameters", "mmacs"), [("simple", 1_248_424, "818.9"), ("complex", 1_589_672, "1165")]
)
def test_squeezenet_bypass_costs_what_the_table_says(cost_of, bypass, parameters, mmacs):
    found = cost_of("squeezenet", version="1.0", bypass=bypass)
    assert found.parameters == parameters
    assert as_printed(found.macs, mmacs, 1e6) == mmacs


@pytest.mark.parametrize(("module", "parameters"), FIRE_PARAMETERS.items())
def test_each_squeezenet_module_has_the_papers_parameters(cost_of, module, parameters):
    layers = cost_of("squeezenet", version="1.0", image_size=227, conv10_pad=0).layers
    assert sum(layer.parameters for layer in layers if layer.name.split("_")[0] == module) == parameters


@pytest.mark.parametrize(("alpha", "image_size", "parameters", "total", "mmacs"), MOBILENET)
def test_mobilenet_costs_what_the_table_says(cost_of, alpha, image_size, parameters, total, mmacs):
    found = cost_of("mobilenet", alpha=alpha, image_size=image_size)
    assert found.parameters == parameters
    assert found.total_parameters == total
    assert as_printed(found.macs, mmacs, 1e6) == mmacs


def test_full_convolution_mobilenet_costs_what_table_4_says(cost_of):
    found = cost_of("mobilenet", full_conv=True)
    assert as_printed(found.parameters, "29.3", 1e6) == "29.3"
    # the paper's 4866 leaves out the last layer, 1024 x 1000
    assert as_printed(found.macs - 1024 * 1000, "4866", 1e6) == "4866"


def test_shallow_mobilenet_costs_what_table_5_says(cost_of):
    found = cost_of("mobilenet", shallow=True)
    assert as_printed(found.parameters, "2.9", 1e6) == "2.9"
    assert as_printed(found.macs, "307", 1e6) == "307"


@pytest.mark.parametrize(
    ("kinds", "macs_percent", "parameters_percent"),
    [
        # MobileNet paper, Table 2, without BatchNormalization; the paper prints 1.19 for conv1, but its
        # column adds up to 100 with 1.91 only
        ("conv_pw", 94.86, 74.59),
        ("conv_dw", 3.06, 1.06),
        ("conv1", 1.91, 0.02),
        ("logits", 0.18, 24.33),
    ],
)
def test_mobilenet_layers_share_the_cost_as_table_2_says(cost_of, kinds, macs_percent, parameters_percent):
    layers = [
        layer
        for layer in cost_of("mobilenet", alpha=1.0, image_size=224).layers
        if layer.kind in ("Conv2D", "DepthwiseConv2D", "Dense")
    ]
    macs = sum(layer.macs for layer in layers if layer.name.startswith(kinds))
    parameters = sum(layer.parameters for layer in layers if layer.name.startswith(kinds))
    # the paper's own rounding differs by one or two in the last digits
    assert 100 * macs / sum(layer.macs for layer in layers) == pytest.approx(macs_percent, abs=0.05)
    assert 100 * parameters / sum(layer.parameters for layer in layers) == pytest.approx(
        parameters_percent, abs=0.05
    )


@pytest.mark.parametrize(("variant", "parameters", "total", "gmacs"), DENSENET_IMAGENET)
def test_imagenet_densenet_costs_what_the_table_says(cost_of, variant, parameters, total, gmacs):
    found = cost_of("densenet", variant=variant)
    assert found.parameters == parameters
    assert total in (None, found.total_parameters)
    assert as_printed(found.macs, gmacs, 1e9) == gmacs


@pytest.mark.parametrize(("depth", "growth_rate", "bc", "parameters", "mmacs"), DENSENET_CIFAR)
def test_cifar_densenet_costs_what_the_table_says(cost_of, depth, growth_rate, bc, parameters, mmacs):
    found = cost_of("densenet", depth=depth, growth_rate=growth_rate, bottleneck=bc, num_classes=10)
    assert found.parameters == parameters
    assert as_printed(found.macs, mmacs, 1e6) == mmacs


def test_total_parameters_are_those_of_keras_applications(cost_of):
    theirs = keras.applications.MobileNet(weights=None, alpha=0.25, classes=7)
    assert cost_of("mobilenet", alpha=0.25, num_classes=7).total_parameters == theirs.count_params()


def profiled_macs(model: keras.Model) -> int:
    """MACs as TensorFlow's profiler counts them: half its operations of convolutions and matrix products."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:])))
    graph = convert_variables_to_constants_v2(function).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    )
    options = options.with_empty_output().account_displayed_op_only(True)
    options = options.with_node_names(show_name_regexes=[".*"]).build()
    options["account_type_regexes"] = ["Conv2D", "DepthwiseConv2dNative", "MatMul"]
    options["show_type_regexes"] = ["Conv2D", "DepthwiseConv2dNative", "MatMul"]
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    return int(profile.total_float_ops // 2)


def users_own_model() -> keras.Model:
    """Layers that no family of ours has: separable ones, a channel multiplier, a model within a model."""
    layers = keras.layers
    image = keras.Input((24, 20, 3))
    inner_input = keras.Input((12, 10, 8))
    inner = keras.Model(
        inner_input, layers.Conv2D(8, 3, padding="same", name="conv")(inner_input), name="inner"
    )
    x = layers.SeparableConv2D(8, 3, strides=2, padding="same", depth_multiplier=2, name="separable")(image)
    x = inner(x) + x
    x = layers.DepthwiseConv2D((3, 1), depth_multiplier=2, name="depthwise")(x)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, layers.Dense(5, name="dense")(x))


def test_macs_of_a_users_model_are_those_of_tensorflows_profiler():
    model = users_own_model()
    assert cost(model).macs == profiled_macs(model)


def test_grouped_convolution_reads_only_its_group():
    image = keras.Input((12, 10, 8))
    model = keras.Model(image, keras.layers.Conv2D(6, 3, groups=2, padding="same")(image))
    assert cost(model).macs == 12 * 10 * 6 * 3 * 3 * 4


@pytest.mark.parametrize(
    ("family", "knobs"),
    [("squeezenet", {"bypass": "complex"}), ("mobilenet", {"alpha": 0.35}), ("densenet", {"depth": 10})],
)
def test_macs_of_our_families_are_those_of_tensorflows_profiler(family, knobs):
    model = build(family, **knobs, image_size=64, num_classes=10)
    assert cost(model).macs == profiled_macs(model)


def test_nested_models_are_opened_and_their_layers_named_by_path():
    names = [layer.name for layer in cost(users_own_model()).layers]
    assert "inner/conv" in names


def test_transposed_convolution_multiplies_each_input_value_by_the_kernel():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2DTranspose(5, 3, strides=2)])
    assert cost(model).macs == 4 * 4 * 3 * 3 * 3 * 5


def test_peak_of_a_chain_is_its_largest_pair_of_neighbours():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),  # 128 values
            layers.Conv2D(4, 1),  # 256, together 384
            layers.BatchNormalization(),  # in place
            layers.ReLU(),  # in place
            layers.Conv2D(3, 1, strides=2),  # 48, together 304
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    assert cost(model).activation_values == 384
    assert cost(model).activation_bytes == 384 * FLOAT32_BYTES


def test_peak_counts_a_shortcut_until_it_is_read():
    layers = keras.layers
    image = keras.Input((8, 8, 2))  # 128 values
    x = layers.Conv2D(4, 1)(image)  # 256
    y = layers.ReLU()(x)  # 256 of its own, as x is read again
    y = layers.Conv2D(4, 1)(y)  # 256: x, y and this are alive, 768
    y = layers.Add()([x, y])  # 256: both inputs and the sum, 768
    y = layers.Conv2D(1, 8)(y)
    assert cost(keras.Model(image, y)).activation_values == 768


def test_peak_of_mobilenet_is_the_first_pointwise_layers_input_and_output(cost_of):
    found = cost_of("mobilenet", alpha=1.0, image_size=224)
    assert found.activation_values == 112 * 112 * 32 + 112 * 112 * 64
    assert found.activation_bytes == 4 * found.activation_values


def test_layers_add_up_to_the_whole(cost_of):
    found = cost_of("densenet", variant="121")
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    assert sum(layer.macs for layer in found.layers) == found.macs
    conv1 = next(layer for layer in found.layers if layer.name == "conv1")
    assert conv1.output_shape == (112, 112, 64)
    assert conv1.activation_bytes == 112 * 112 * 64 * 4


def test_shared_layer_counts_its_parameters_once_and_its_macs_twice():
    image = keras.Input((8, 8, 4))
    shared = keras.layers.Conv2D(4, 1, use_bias=False)
    found = cost(keras.Model(image, shared(shared(image))))
    assert found.parameters == sum(layer.parameters for layer in found.layers) == 16
    assert found.macs == 2 * 8 * 8 * 4 * 4


def test_layers_whose_macs_cannot_be_counted_are_named():
    image = keras.Input((8, 4))
    model = keras.Model(image, keras.layers.LSTM(3, name="memory")(image))
    assert cost(model).uncounted == ("memory",)
    assert cost(users_own_model()).uncounted == ()


def test_open_image_size_is_refused_with_what_to_do():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image), name="open")
    with pytest.raises(ModelError, match=r"open size.*Build the model for one image size"):
        cost(model)

"""Every family of the registry, built: shapes, names, widths, stems."""

import keras
import numpy as np
import pytest

from models.build import build, build_without_weights
from models.errors import KnobError
from models.registry import FAMILIES, label


@pytest.fixture(autouse=True)
def _forget_models():
    yield
    keras.utils.clear_session(free_memory=False)


@pytest.mark.parametrize("num_classes", [2, 1000])
@pytest.mark.parametrize("image_size", [32, 64, 160, 224])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_builds_at_every_size(family, image_size, num_classes):
    model = build_without_weights(
        family, **FAMILIES[family].small, image_size=image_size, num_classes=num_classes
    )
    assert model.input_shape == (None, image_size, image_size, 3)
    assert model.output_shape == (None, num_classes)
    assert model.get_layer("logits").output.shape == (None, num_classes)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_start_with_pixels_and_end_with_probabilities(family):
    model = build(family, **FAMILIES[family].small)
    image, pixels, *_ = model.layers
    assert isinstance(image, keras.layers.InputLayer)
    assert pixels.name == "pixels"
    assert isinstance(pixels, keras.layers.Rescaling)
    assert model.layers[-1].name == "probabilities"
    assert isinstance(model.layers[-1], keras.layers.Softmax)
    assert model.name == label(family, FAMILIES[family].small)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_are_the_same_at_every_build(family):
    names = [
        [layer.name for layer in build_without_weights(family, **FAMILIES[family].small).layers]
        for _ in range(2)
    ]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])


@pytest.mark.parametrize("image_size", [8, 31, 33, 97, 161, 227])
@pytest.mark.parametrize("family", FAMILIES)
def test_odd_image_sizes_give_probabilities(family, image_size):
    model = build(family, **FAMILIES[family].small, image_size=image_size, num_classes=5)
    pixels = np.random.default_rng(image_size).uniform(0, 255, (2, image_size, image_size, 3))
    probabilities = model(pixels.astype(np.float32), training=False).numpy()
    assert probabilities.shape == (2, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_four_block_densenet_fits_into_32_pixels_even_with_the_imagenet_stem():
    model = build_without_weights("densenet", variant="121", growth_rate=8, image_size=32, stem="imagenet")
    assert model.get_layer("pool").input.shape == (None, 1, 1, 256)


def test_alpha_half_halves_every_width():
    whole = build_without_weights("mobilenet", image_size=64)
    half = build_without_weights("mobilenet", image_size=64, alpha=0.5)
    compared = 0
    for layer in whole.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            assert 2 * half.get_layer(layer.name).output.shape[-1] == layer.output.shape[-1], layer.name
            compared += 1
    assert compared == 27


@pytest.mark.parametrize("alpha", [0.35, 0.7, 1.3, 1e-4])
def test_odd_alphas_round_channels_down_as_keras_does_but_never_to_none(alpha):
    model = build_without_weights("mobilenet", image_size=32, alpha=alpha)
    widths = [layer.filters for layer in model.layers if type(layer) is keras.layers.Conv2D]
    paper = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    assert widths == [max(1, int(channels * alpha)) for channels in paper]


def last_features(model: keras.Model) -> tuple[int, int]:
    """Height and width of what the last pooling, over all places, reads."""
    (pool,) = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    return pool.input.shape[1:3]


@pytest.mark.parametrize(
    ("family", "knobs", "sizes"),
    [
        ("mobilenet", {"alpha": 0.25}, {32: 2, 64: 4, 96: 6, 97: 4, 224: 7}),
        ("squeezenet", {}, {32: 4, 64: 8, 96: 12, 97: 6, 224: 13}),
        ("densenet", {}, {48: 6, 96: 6, 224: 7}),
        ("densenet", {"depth": 10, "bottleneck": True}, {32: 8, 64: 8, 96: 12, 224: 14}),
    ],
)
def test_small_stem_keeps_the_resolution_its_docstring_states(family, knobs, sizes):
    for image_size, expected in sizes.items():
        model = build_without_weights(family, **knobs, image_size=image_size)
        assert last_features(model) == (expected, expected), image_size


@pytest.mark.parametrize("family", FAMILIES)
def test_stem_can_be_chosen_against_the_image_size(family):
    imagenet, automatic, small = (
        last_features(build_without_weights(family, **FAMILIES[family].small, image_size=64, stem=stem))
        for stem in ("imagenet", "auto", "small")
    )
    assert imagenet < automatic == small


def test_default_pixels_are_exactly_what_int8_with_scale_1_128_stores():
    model = build("mobilenet", alpha=0.25, image_size=32)
    pixels = keras.Model(model.input, model.get_layer("pixels").output)
    grey = np.arange(256, dtype=np.float32)
    image = np.broadcast_to(grey[:, None, None, None], (256, 32, 32, 3))
    scaled = pixels(image).numpy()[:, 0, 0, 0]
    assert (scaled == (grey - 128) / 128).all()


def test_pixels_take_a_scale_and_an_offset_for_each_channel():
    model = build("squeezenet", image_size=32, scale=(1.0, 2.0, 3.0), offset=[0.5, 0.0, -1.0])
    pixels = keras.Model(model.input, model.get_layer("pixels").output)
    scaled = pixels(np.full((1, 32, 32, 3), 10, np.float32)).numpy()[0, 0, 0]
    np.testing.assert_array_equal(scaled, [10.5, 20.0, 29.0])


@pytest.mark.parametrize(("activation", "max_value"), [("relu6", 6.0), ("relu", None)])
def test_mobilenet_activation_is_the_chosen_one_everywhere(activation, max_value):
    model = build_without_weights("mobilenet", alpha=0.25, image_size=32, activation=activation)
    found = [layer.max_value for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
    assert found == [max_value] * 27


@pytest.mark.parametrize(
    ("family", "knobs", "num_dropouts"),
    [
        ("squeezenet", {}, 1),
        ("mobilenet", {"alpha": 0.25}, 1),
        # every convolution but the first: 6 layers of two convolutions, 2 transitions
        ("densenet", {"depth": 16, "bottleneck": True, "dropout": 0.2}, 14),
        ("densenet", {"depth": 16, "bottleneck": True}, 0),
        ("squeezenet", {"dropout": 0.0}, 0),
    ],
)
def test_dropout_stands_where_the_papers_had_it(family, knobs, num_dropouts):
    model = build_without_weights(family, **knobs, image_size=32)
    assert sum(isinstance(layer, keras.layers.Dropout) for layer in model.layers) == num_dropouts


@pytest.mark.parametrize("family", FAMILIES)
def test_model_comes_back_whole_from_a_keras_file(family, tmp_path):
    model = build(family, **FAMILIES[family].small, image_size=32, num_classes=3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(image).numpy(), again(image).numpy())


def test_unknown_knob_is_refused_before_anything_is_built():
    with pytest.raises(KnobError, match="Did you mean 'alpha'"):
        build("mobilenet", alfa=0.5)


def test_model_without_weights_has_the_same_layers_and_parameters():
    whole = build("mobilenet", alpha=0.25, image_size=32)
    shapes = build_without_weights("mobilenet", alpha=0.25, image_size=32)
    assert shapes.get_config() == whole.get_config()
    assert [weight.shape for weight in shapes.weights] == [weight.shape for weight in whole.weights]

"""ResNet for CIFAR: the shortcut without parameters, as the paper's option A has it."""

import keras
import numpy as np
import pytest

from models.build import build

SHORTCUTS = {"stage2_block1": 16, "stage3_block1": 32}
"""Block -> the channels that it reads."""


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build("resnet", depth=14)


@pytest.mark.parametrize(("block", "channels"), SHORTCUTS.items())
@pytest.mark.parametrize("size", [8, 7])
def test_shortcut_takes_every_second_place_and_adds_channels_of_zeros(block, channels, size):
    model = build("resnet", depth=8, image_size=4 * size)
    read = model.get_layer(f"{block}_pad").input
    shortcut = keras.Model(read, model.get_layer(f"{block}_shortcut_zeros").output)
    images = np.random.default_rng(0).normal(size=(2, *read.shape[1:])).astype(np.float32)
    expected = np.pad(images[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (channels // 2, channels // 2)))
    np.testing.assert_array_equal(shortcut(images), expected)
    assert shortcut.count_params() == 0


def test_no_layer_of_a_shortcut_has_weights(model):
    assert [layer for layer in model.layers if "shortcut" in layer.name and layer.weights] == []


def test_strided_convolution_is_centred_on_the_places_that_the_shortcut_takes(model):
    pad, conv = model.get_layer("stage2_block1_pad"), model.get_layer("stage2_block1_conv1")
    kernel = np.zeros(conv.kernel.shape, np.float32)
    kernel[1, 1, :, :16] = np.eye(16)
    conv.kernel.assign(kernel)
    images = np.random.default_rng(0).normal(size=(1, *pad.input.shape[1:])).astype(np.float32)
    found = keras.Model(pad.input, conv.output)(images)
    np.testing.assert_allclose(found[..., :16], images[:, ::2, ::2], rtol=1e-6)

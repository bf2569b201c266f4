"""MobileNet v1: depthwise separable convolutions, thinner by alpha, smaller by image_size.

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv:1704.04861. ReLU6 is the default, because every published checkpoint has it; the paper's text says ReLU
(activation="relu"). The paper's Table 1 prints stride 2 for the last depthwise layer, but its sizes, and all
checkpoints, have stride 1. BatchNormalization epsilon 1e-3 and dropout 0.001 are the published code's. With
padding="both_sides" a strided convolution pads as PyTorch's does, which its weights need.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from models import blocks

STEM_FILTERS = 32
BODY = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
"""(output channels at alpha 1, stride) of each block: the paper's Table 1."""
SHALLOW_BODY = BODY[:6] + BODY[11:]
"""Table 5: without the five blocks of 512 channels and stride 1."""


def mobilenet(
    pixels: keras.KerasTensor,
    *,
    stem: str,
    num_classes: int,
    alpha: float,
    shallow: bool,
    full_conv: bool,
    activation: str,
    padding: str,
    epsilon: float,
    dropout: float,
) -> keras.KerasTensor:
    """Class scores (b, num_classes) from scaled pixels (b, h, w, 3).

    The first convolution has stride 2 in the imagenet stem (last features h / 32 wide) and stride 1 in the
    small stem (h / 16 wide: 2x2 for 32 pixels, 6x6 for 96).
    Channels are int(alpha * channels), at least 1, as in keras.applications.
    """
    net = _Net(max_value=6.0 if activation == "relu6" else None, padding=padding, epsilon=epsilon)
    block = _conv_block if full_conv else _separable_block
    filters = width(STEM_FILTERS, alpha)
    x = _conv(pixels, filters, net=net, strides=2 if stem == "imagenet" else 1, name="conv1")
    for index, (channels, strides) in enumerate(SHALLOW_BODY if shallow else BODY, start=1):
        x = block(x, width(channels, alpha), index=index, strides=strides, net=net)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = blocks.dropout(x, dropout, name="dropout")
    return keras.layers.Dense(num_classes, name="logits")(x)


def width(channels: int, alpha: float) -> int:
    """Channels at `alpha` of a layer with `channels` at alpha 1; exact, since these are powers of two."""
    return max(1, int(channels * alpha))


@dataclass(frozen=True, kw_only=True)
class _Net:
    """What all layers of a net share."""

    max_value: float | None
    padding: str
    epsilon: float


def _separable_block(
    x: keras.KerasTensor, filters: int, *, index: int, strides: int, net: _Net
) -> keras.KerasTensor:
    """3x3 on each channel alone, then 1x1: (b, h, w, c) -> (b, h / strides, w / strides, filters)."""
    name = f"conv_dw_{index}"
    x, padding = _padded(x, strides=strides, net=net, name=name)
    x = keras.layers.DepthwiseConv2D(3, strides=strides, padding=padding, use_bias=False, name=name)(x)
    x = blocks.batch_norm_relu(x, name=name, epsilon=net.epsilon, max_value=net.max_value)
    x = blocks.conv(x, filters, 1, name=f"conv_pw_{index}")
    return blocks.batch_norm_relu(x, name=f"conv_pw_{index}", epsilon=net.epsilon, max_value=net.max_value)


def _conv_block(
    x: keras.KerasTensor, filters: int, *, index: int, strides: int, net: _Net
) -> keras.KerasTensor:
    """A full 3x3 convolution (Table 4): (b, h, w, c) -> (b, h / strides, w / strides, filters)."""
    return _conv(x, filters, net=net, strides=strides, name=f"conv_{index}")


def _conv(x: keras.KerasTensor, filters: int, *, net: _Net, strides: int, name: str) -> keras.KerasTensor:
    x, padding = _padded(x, strides=strides, net=net, name=name)
    x = blocks.conv(x, filters, 3, strides=strides, padding=padding, name=name)
    return blocks.batch_norm_relu(x, name=name, epsilon=net.epsilon, max_value=net.max_value)


def _padded(x: keras.KerasTensor, *, strides: int, net: _Net, name: str) -> tuple[keras.KerasTensor, str]:
    """The input of a 3x3 convolution, and the padding that it is left with."""
    if strides == 1 or net.padding == "same":
        return x, "same"
    return keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x), "valid"

"""ResNet for CIFAR: pairs of 3x3 convolutions, each pair added to its input.

He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2: three stages of
(depth - 2) / 6 pairs with 16, 32 and 64 channels. Where channels double and the size halves, the shortcut
takes every second position and adds channels of zeros (option A), without parameters. A convolution of stride
2 is padded by one pixel on every side, as in Torch, to be centred on the positions that the shortcut takes.
Weights are initialized as in arXiv:1502.01852; BatchNormalization epsilon is 1e-5 as in Torch.
"""

from __future__ import annotations

import keras

from models import blocks

STAGES = (16, 32, 64)
"""Channels of each stage."""
EPSILON = 1e-5
INITIALIZER = "he_normal"


def resnet(pixels: keras.KerasTensor, *, stem: str, num_classes: int, depth: int) -> keras.KerasTensor:
    """Class scores (b, num_classes) from scaled pixels (b, h, w, 3).

    The small stem is the paper's for CIFAR, a 3x3 convolution with stride 1: the last features are h / 4
    wide. The imagenet stem is that of the paper's ImageNet nets (Table 1), a 7x7 convolution with stride 2
    and a max pooling: the last features are h / 16 wide.
    """
    x = _stem(pixels, stem)
    for stage, filters in enumerate(STAGES, start=1):
        for block in range(1, (depth - 2) // 6 + 1):
            strides = 2 if block == 1 and stage > 1 else 1
            x = _block(x, filters, strides=strides, name=f"stage{stage}_block{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dense(num_classes, kernel_initializer=INITIALIZER, name="logits")(x)


def _stem(pixels: keras.KerasTensor, stem: str) -> keras.KerasTensor:
    if stem == "small":
        x = _conv(pixels, STAGES[0], 3, name="conv1")
        return blocks.batch_norm_relu(x, name="conv1", epsilon=EPSILON)
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(pixels)
    x = _conv(x, STAGES[0], 7, name="conv1", strides=2, padding="valid")
    x = blocks.batch_norm_relu(x, name="conv1", epsilon=EPSILON)
    return blocks.max_pool(x, name="pool1")


def _block(x: keras.KerasTensor, filters: int, *, strides: int, name: str) -> keras.KerasTensor:
    """Two 3x3 convolutions, added to their input: (b, h, w, c) -> (b, h / strides, w / strides, filters)."""
    y = x
    if strides > 1:
        y = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(y)
    y = _conv(
        y, filters, 3, name=f"{name}_conv1", strides=strides, padding="valid" if strides > 1 else "same"
    )
    y = blocks.batch_norm_relu(y, name=f"{name}_conv1", epsilon=EPSILON)
    y = _conv(y, filters, 3, name=f"{name}_conv2")
    y = keras.layers.BatchNormalization(momentum=blocks.MOMENTUM, epsilon=EPSILON, name=f"{name}_conv2_bn")(y)
    if strides > 1:
        x = _shortcut(x, filters, strides=strides, name=f"{name}_shortcut")
    x = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _shortcut(x: keras.KerasTensor, filters: int, *, strides: int, name: str) -> keras.KerasTensor:
    """Every second position, with channels of zeros added: (b, h, w, c) -> (b, h / 2, w / 2, filters).

    A 1x1 max pooling keeps the values and their int8 scale. Keras has no layer that pads channels;
    data_format "channels_first" makes ZeroPadding2D pad the last two axes, here width and channels.
    """
    x = keras.layers.MaxPooling2D(1, strides=strides, name=f"{name}_places")(x)
    zeros = (filters - x.shape[-1]) // 2
    return keras.layers.ZeroPadding2D(
        ((0, 0), (zeros, zeros)), data_format="channels_first", name=f"{name}_zeros"
    )(x)


def _conv(
    x: keras.KerasTensor, filters: int, kernel: int, *, name: str, **settings: object
) -> keras.KerasTensor:
    return blocks.conv(x, filters, kernel, name=name, kernel_initializer=INITIALIZER, **settings)

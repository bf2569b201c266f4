"""DenseNet: each layer reads the outputs of all earlier layers of its block.

Huang et al. 2016, "Densely Connected Convolutional Networks", arXiv:1608.06993: the four-block ImageNet nets
(Table 1; `variant`) and the three-block CIFAR nets (section 4; `depth`). DenseNet-BC has a bottleneck and a
compression of 0.5. Weights are initialized as in He et al. 2015.
"""

from __future__ import annotations

import keras

from models import blocks
from models.densenet.family import BLOCKS

INITIALIZER = "he_normal"
LARGEST_UNSHRUNK_IMAGE = 48
"""The small stem keeps the size of images up to this many pixels, and halves larger ones."""


def densenet(
    pixels: keras.KerasTensor,
    *,
    stem: str,
    num_classes: int,
    variant: str | None,
    depth: int | None,
    growth_rate: int,
    bottleneck: bool,
    compression: float,
    epsilon: float,
    dropout: float,
) -> keras.KerasTensor:
    """Class scores (b, num_classes) from scaled pixels (b, h, w, 3).

    The imagenet stem is a 7x7 convolution with stride 2 and a max pooling, down to h / 4. The small stem is
    the paper's for CIFAR, one 3x3 convolution: stride 1 up to 48 pixels, stride 2 above. A transition halves
    the size after each block but the last: three transitions for a variant, two for a depth.
    """
    layers = block_layers(variant=variant, depth=depth, bottleneck=bottleneck)
    wide = variant is not None or (bottleneck and compression < 1)
    x = _stem(pixels, stem, filters=2 * growth_rate if wide else 16, epsilon=epsilon)
    for block, num_layers in enumerate(layers, start=1):
        if block > 1:
            x = _transition(
                x, name=f"transition{block - 1}", compression=compression, epsilon=epsilon, dropout=dropout
            )
        for layer in range(1, num_layers + 1):
            x = _dense_layer(
                x,
                name=f"block{block}_layer{layer}",
                growth_rate=growth_rate,
                bottleneck=bottleneck,
                epsilon=epsilon,
                dropout=dropout,
            )
    x = blocks.batch_norm_relu(x, name="final", epsilon=epsilon)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dense(num_classes, name="logits")(x)


def block_layers(*, variant: str | None, depth: int | None, bottleneck: bool) -> tuple[int, ...]:
    """Layers in each dense block: the variant's four, or three equal ones that add up to the depth."""
    if variant is not None:
        return BLOCKS[variant]
    if depth is None:
        raise ValueError("neither variant nor depth is given; models.registry.resolve() fills one of them")
    return ((depth - 4) // (6 if bottleneck else 3),) * 3


def _stem(pixels: keras.KerasTensor, stem: str, *, filters: int, epsilon: float) -> keras.KerasTensor:
    if stem == "small":
        strides = 1 if pixels.shape[1] <= LARGEST_UNSHRUNK_IMAGE else 2
        return _conv(pixels, filters, 3, name="conv1", strides=strides)
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(pixels)
    x = _conv(x, filters, 7, name="conv1", strides=2, padding="valid")
    x = blocks.batch_norm_relu(x, name="conv1", epsilon=epsilon)
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="pool1")(x)


def _dense_layer(
    x: keras.KerasTensor, *, name: str, growth_rate: int, bottleneck: bool, epsilon: float, dropout: float
) -> keras.KerasTensor:
    """BN-ReLU-conv, concatenated with its input: (b, h, w, c) -> (b, h, w, c + growth_rate). Section 3."""
    y = x
    if bottleneck:
        y = blocks.batch_norm_relu(y, name=f"{name}_bottleneck", epsilon=epsilon)
        y = _conv(y, 4 * growth_rate, 1, name=f"{name}_bottleneck")
        y = blocks.dropout(y, dropout, name=f"{name}_bottleneck_dropout")
    y = blocks.batch_norm_relu(y, name=name, epsilon=epsilon)
    y = _conv(y, growth_rate, 3, name=name)
    y = blocks.dropout(y, dropout, name=f"{name}_dropout")
    return keras.layers.Concatenate(name=f"{name}_concat")([x, y])


def _transition(
    x: keras.KerasTensor, *, name: str, compression: float, epsilon: float, dropout: float
) -> keras.KerasTensor:
    """BN-ReLU-1x1 convolution-2x2 average: (b, h, w, c) -> (b, h / 2, w / 2, int(c * compression))."""
    filters = max(1, int(x.shape[-1] * compression))
    x = blocks.batch_norm_relu(x, name=name, epsilon=epsilon)
    x = _conv(x, filters, 1, name=name)
    x = blocks.dropout(x, dropout, name=f"{name}_dropout")
    return keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def _conv(
    x: keras.KerasTensor, filters: int, kernel: int, *, name: str, **settings: object
) -> keras.KerasTensor:
    return blocks.conv(x, filters, kernel, name=name, kernel_initializer=INITIALIZER, **settings)

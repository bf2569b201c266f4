"""SqueezeNet: fire modules squeeze channels with 1x1 convolutions before they expand with 1x1 and 3x3.

Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
arXiv:1602.07360; version 1.1 is in the authors' repository. Weights are initialized as in He et al. 2015, the
last convolution's too: the authors' 0.01, chosen for 1000 classes, passes too little gradient back with ten
(digits, five epochs: 27% against 62%).
The paper's sizes (111x111 after conv1) hold for 227 pixels; 224 gives 109x109.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from models import blocks

INITIALIZER = "he_uniform"
FIRES = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
"""Fire module -> (squeeze 1x1, expand 1x1 = expand 3x3) channels: the paper's Table 1."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """The settings that differ between versions 1.0 and 1.1."""

    conv1_filters: int
    conv1_kernel: int
    pools_after: tuple[int, ...]
    """Layers that a max pooling follows; 1 is conv1."""


VERSIONS = {
    "1.0": Version(conv1_filters=96, conv1_kernel=7, pools_after=(1, 4, 8)),
    "1.1": Version(conv1_filters=64, conv1_kernel=3, pools_after=(1, 3, 5)),
}


def squeezenet(
    pixels: keras.KerasTensor,
    *,
    stem: str,
    num_classes: int,
    version: str,
    bypass: str,
    conv10_pad: int,
    conv1_padding: str,
    pooling: str,
    dropout: float,
) -> keras.KerasTensor:
    """Class scores (b, num_classes) from scaled pixels (b, h, w, 3).

    The imagenet stem is the version's conv1 with stride 2 and no padding: the last features are about h / 16
    wide. The small stem is a padded 3x3 convolution with stride 1 and the same channels: the last features
    are h / 8 wide (4x4 for 32 pixels, 12x12 for 96). There is no dense layer: the scores are the average of
    conv10's output over all positions.
    """
    net = VERSIONS[version]
    pool = blocks.max_pool if pooling == "ceil" else _floor_pool
    x = _conv1(pixels, net, stem, padding=conv1_padding)
    x = pool(x, name="pool1")
    for index, (squeeze, expand) in FIRES.items():
        x = _bypassed_fire(x, index=index, squeeze=squeeze, expand=expand, bypass=bypass)
        if index in net.pools_after:
            x = pool(x, name=f"pool{index}")
    x = blocks.dropout(x, dropout, name="dropout")
    if conv10_pad:
        x = keras.layers.ZeroPadding2D(conv10_pad, name="conv10_pad")(x)
    x = _conv_relu(x, num_classes, 1, name="conv10")
    return keras.layers.GlobalAveragePooling2D(name="logits")(x)


def fire(x: keras.KerasTensor, *, name: str, squeeze: int, expand: int) -> keras.KerasTensor:
    """Squeeze with 1x1, then expand with 1x1 and 3x3 side by side: (b, h, w, c) -> (b, h, w, 2 * expand).

    Iandola et al. 2016, section 3.1.
    """
    x = _conv_relu(x, squeeze, 1, name=f"{name}_squeeze1x1")
    left = _conv_relu(x, expand, 1, name=f"{name}_expand1x1")
    right = _conv_relu(x, expand, 3, name=f"{name}_expand3x3")
    return keras.layers.Concatenate(name=f"{name}_concat")([left, right])


def _bypassed_fire(
    x: keras.KerasTensor, *, index: int, squeeze: int, expand: int, bypass: str
) -> keras.KerasTensor:
    """A fire module whose input is added to its output if `bypass` asks for it (section 6, Figure 2)."""
    name = f"fire{index}"
    y = fire(x, name=name, squeeze=squeeze, expand=expand)
    same_channels = x.shape[-1] == y.shape[-1]
    if bypass == "none" or (bypass == "simple" and not same_channels):
        return y
    if not same_channels:
        x = keras.layers.Conv2D(2 * expand, 1, kernel_initializer=INITIALIZER, name=f"{name}_bypass1x1")(x)
    return keras.layers.Add(name=f"{name}_add")([x, y])


def _floor_pool(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """3x3 max pooling with stride 2 with no window beyond the edge: (b, n, n, c) -> (b, m, m, c).

    m = (n - 1) // 2; below 3 pixels one window covers the image.
    """
    padding = "valid" if x.shape[1] >= 3 else "same"
    return keras.layers.MaxPooling2D(3, strides=2, padding=padding, name=name)(x)


def _conv1(pixels: keras.KerasTensor, net: Version, stem: str, *, padding: str) -> keras.KerasTensor:
    if stem == "small":
        return _conv_relu(pixels, net.conv1_filters, 3, name="conv1")
    return _conv_relu(pixels, net.conv1_filters, net.conv1_kernel, name="conv1", strides=2, padding=padding)


def _conv_relu(
    x: keras.KerasTensor, filters: int, kernel: int, *, name: str, **settings: object
) -> keras.KerasTensor:
    """A convolution with bias and its ReLU: (b, h, w, c) -> (b, h / strides, w / strides, filters)."""
    settings = {"kernel_initializer": INITIALIZER, "use_bias": True} | settings
    x = blocks.conv(x, filters, kernel, name=name, **settings)
    return keras.layers.ReLU(name=f"{name}_relu")(x)

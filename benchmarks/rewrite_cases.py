"""The nets of benchmarks/rewrites.py: small nets in many shapes for each rewrite, and whole nets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import keras

from export.rewrites import Rewrite
from models.build import build

layers = keras.layers
CHANNELS = (16, 64, 256, 1024)
SMALL = 32
"""Image size of the nets for small images: MLPerf Tiny and CIFAR."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A net's name and builder."""

    name: str
    make: Callable[[], keras.Model]


def shapes(rewrite: Rewrite) -> list[Case]:
    """Small nets that the rewrite changes."""
    return list(_SHAPES[rewrite]())


def _net(name: str, height: int, width: int, body: Callable[[Any], Any]) -> Case:
    """An input image, the body, and a classifier of four classes."""

    def make() -> keras.Model:
        keras.utils.set_random_seed(0)
        image = keras.Input((height, width, 3))
        x = layers.GlobalAveragePooling2D()(body(image))
        return keras.Model(image, layers.Dense(4)(x), name="net")

    return Case(name=name, make=make)


def _folds() -> Iterator[Case]:
    kinds: dict[str, Callable[[int], list[keras.Layer]]] = {
        "3x3": lambda c: [layers.Conv2D(c, 3, use_bias=False)],
        "1x1": lambda c: [layers.Conv2D(c, 3, strides=2), layers.Conv2D(c, 1, use_bias=False)],
        "depthwise": lambda c: [layers.Conv2D(c, 1), layers.DepthwiseConv2D(3, use_bias=False)],
        "separable": lambda c: [layers.Conv2D(c, 1), layers.SeparableConv2D(c, 3, use_bias=False)],
        "transposed": lambda c: [layers.Conv2D(c, 1), layers.Conv2DTranspose(c, 3, strides=2)],
    }
    for (kind, before), channels in product(kinds.items(), (16, 64)):

        def body(x: Any, before: Any = before, channels: int = channels) -> Any:  # noqa: ANN401
            for layer in [*before(channels), layers.BatchNormalization(), layers.ReLU()]:
                x = layer(x)
            return x

        yield _net(f"{kind}, {channels} channels, 16x16", 16, 16, body)


def _norms() -> Iterator[Case]:
    for channels, size, relu in product((16, 32, 64, 256, 1024), (4, 14, 56), (True, False)):
        if size * size * channels > 1 << 20:
            continue

        def body(x: Any, channels: int = channels, relu: bool = relu) -> Any:  # noqa: ANN401
            x = layers.Concatenate()([layers.Conv2D(channels // 2, 1)(x) for _ in range(2)])
            x = layers.BatchNormalization()(x)
            return layers.ReLU()(x) if relu else layers.Conv2D(8, 1)(x)

        name = f"{size}x{size}x{channels}, {'ReLU' if relu else 'no ReLU'} behind"
        yield _net(name, size, size, body)


def _identities() -> Iterator[Case]:
    def body(x: Any) -> Any:  # noqa: ANN401
        for layer in (layers.Conv2D(16, 3), layers.Activation("linear"), layers.Dropout(0.5)):
            x = layer(x)
        return x

    yield _net("linear activation and dropout", 16, 16, body)


def _pools_first() -> Iterator[Case]:
    for taken, given, window, out in product((16, 64, 256, 1024), (8, 32, 128, 512), (2, 3, 7), (4, 14)):
        size = out * window
        if not 1 / 8 <= given / taken <= 8 or size * size * max(taken, given) > 1 << 20:
            continue

        def body(x: Any, taken: int = taken, given: int = given, window: int = window) -> Any:  # noqa: ANN401
            x = layers.Conv2D(taken, 1, activation="relu")(x)
            return layers.AveragePooling2D(window)(layers.Conv2D(given, 1)(x))

        yield _net(f"{taken} to {given} channels, {window}x{window} to {out}x{out}", size, size, body)


def _pools() -> Iterator[Case]:
    windows = ((1, 2), (2, 2), (3, 1), (3, 2), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (14, 14))
    for (window, stride), out, channels in product(windows, (1, 7), CHANNELS):
        size = (out - 1) * stride + window
        if size * size * channels > 1 << 21:
            continue

        def body(x: Any, window: int = window, stride: int = stride, channels: int = channels) -> Any:  # noqa: ANN401
            x = layers.Conv2D(channels, 1, activation="relu")(x)
            return layers.AveragePooling2D(window, strides=stride)(x)

        name = f"{window}x{window} by {stride} to {out}x{out}x{channels}"
        yield _net(name, size, size, body)


def _relus() -> Iterator[Case]:
    for channels, size, kind in product(CHANNELS, (4, 14, 56), ("relu", "relu6")):
        if size * size * channels > 1 << 20:
            continue

        def body(x: Any, channels: int = channels, kind: str = kind) -> Any:  # noqa: ANN401
            x = layers.Conv2D(channels, 1)(x)
            return layers.Add()([x, layers.DepthwiseConv2D(1)(layers.Activation(kind)(x))])

        yield _net(f"{kind}, {size}x{size}x{channels}", size, size, body)


def _pairs() -> Iterator[Case]:
    for kernel, filters, size in product((5, 7, 11), (8, 16, 32, 64, 96), (32, 96, 224)):

        def body(x: Any, kernel: int = kernel, filters: int = filters) -> Any:  # noqa: ANN401
            return layers.Conv2D(filters, kernel, strides=2, padding="same", activation="relu")(x)

        yield _net(f"{kernel}x{kernel}, {filters} filters, {size}x{size}", size, size, body)


_SHAPES: dict[Rewrite, Callable[[], Iterator[Case]]] = {
    Rewrite.FOLD_BATCH_NORM: _folds,
    Rewrite.DEPTHWISE_BATCH_NORM: _norms,
    Rewrite.DROP_IDENTITY: _identities,
    Rewrite.POOL_FIRST: _pools_first,
    Rewrite.DEPTHWISE_POOL: _pools,
    Rewrite.DEPTHWISE_RELU: _relus,
    Rewrite.PAIR_COLUMNS: _pairs,
}


def _application(name: str, size: int) -> Case:
    def make() -> keras.Model:
        keras.utils.set_random_seed(0)
        return getattr(keras.applications, name)(input_shape=(size, size, 3), weights=None)

    return Case(name=f"{name} {size}", make=make)


def _resnet8() -> keras.Model:
    """MLPerf Tiny's image classifier, with a pooling of 8x8: Banbury et al. 2021, arXiv:2106.07597."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SMALL, SMALL, 3))
    x = _conv_norm(image, 16, 3, 1, relu=True)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = _conv_norm(x, filters, 3, stride, relu=True)
        y = _conv_norm(y, filters, 3, 1, relu=False)
        x = layers.Conv2D(filters, 1, strides=stride, padding="same")(x) if stride > 1 else x
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x), name="resnet8")


def _conv_norm(x: Any, filters: int, kernel: int, stride: int, *, relu: bool) -> Any:  # noqa: ANN401
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same")(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if relu else x


def _resnet20() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("resnet", depth=20, image_size=SMALL, num_classes=10)


NETS = {
    "resnet8": Case(name="ResNet-8 (MLPerf Tiny) 32", make=_resnet8),
    "resnet20": Case(name="ResNet-20 32", make=_resnet20),
    "mobilenet": _application("MobileNet", 96),
    "mobilenetv2": _application("MobileNetV2", 96),
    "mobilenetv3small": _application("MobileNetV3Small", 96),
    "efficientnetb0": _application("EfficientNetB0", 96),
    "resnet50v2": _application("ResNet50V2", 96),
    "densenet121": _application("DenseNet121", 96),
    "nasnetmobile": _application("NASNetMobile", 96),
}

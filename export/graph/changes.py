"""Changes to the layers of a Keras model, and the new model with them made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.graph.column_pairs import ColumnPairs
from keras_graph.walk import functional, is_graph, structure

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Affine:
    """value -> value * factor + shift, one of each per channel."""

    factor: Floats
    shift: Floats

    def then(self, other: Affine) -> Affine:
        """This one, followed by the other."""
        return Affine(factor=self.factor * other.factor, shift=self.shift * other.factor + other.shift)


@dataclass(frozen=True, kw_only=True)
class Depthwise:
    """A depthwise convolution without padding that replaces a layer and keeps its name."""

    kernel: Floats
    """(h, w, channels, 1)."""
    bias: Floats | None = None
    strides: tuple[int, int] = (1, 1)
    activation: str | None = None
    trainable: bool = True

    def layer(self, name: str) -> keras.layers.DepthwiseConv2D:
        """The layer, without its weights."""
        size = self.kernel.shape[:2]
        use_bias = self.bias is not None
        return keras.layers.DepthwiseConv2D(
            size,
            strides=self.strides,
            use_bias=use_bias,
            activation=self.activation,
            trainable=self.trainable,
            name=name,
        )

    @property
    def weights(self) -> list[Floats]:
        """The layer's weights."""
        return [self.kernel] if self.bias is None else [self.kernel, self.bias]


@dataclass
class Changes:
    """The changes by id(layer); other layers are copied.

    Each changed layer must be called once, except removed ones.
    """

    removed: set[int] = field(default_factory=set)
    folded: dict[int, Affine] = field(default_factory=dict)
    """Convolution or Dense -> the affine function folded into it."""
    read_through: dict[int, Affine] = field(default_factory=dict)
    """Conv2D or DepthwiseConv2D -> the affine function of its input channels folded into it."""
    depthwise: dict[int, Depthwise] = field(default_factory=dict)
    """Layer -> the depthwise convolution that replaces it."""
    ones_before: dict[int, str] = field(default_factory=dict)
    """Layer -> the name of a depthwise convolution of ones inserted before it."""
    moved_behind: dict[int, int] = field(default_factory=dict)
    """Layer -> the layer before it that is moved after it."""
    paired: dict[int, ColumnPairs] = field(default_factory=dict)
    """Convolution -> how it reads two columns as one."""
    linear: set[int] = field(default_factory=set)
    """Layers that lose their activation."""
    reversed_inputs: set[int] = field(default_factory=set)
    """Convolutions, Dense and BatchNormalizations that read their channels in reverse order."""
    done: list[str] = field(default_factory=list)
    """In words."""

    def carried_out(self, model: keras.Model) -> keras.Model:
        """A new functional model with its own weights; nested models are new too."""
        copying = _Copying(self)
        graph = keras.Model(structure(model, "inputs"), structure(model, "outputs"), name=model.name)
        clone = keras.models.clone_model(graph, clone_function=copying.copy, call_function=copying.call)
        copying.fill()
        return clone

    def called_on(self, model: keras.Model, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """The output for another input of new layers like the model's, with their own weights."""
        copying = _Copying(self)
        output = functional(model)._run_through_graph(tensor, operation_fn=copying.copy, call_fn=copying.call)
        copying.fill()
        return output

    def copied(self, operation: keras.Operation) -> keras.Operation:
        """A changed copy of a layer or a nested model; a layer's weights are filled in later."""
        if is_graph(operation):
            return self.carried_out(operation)
        key = id(operation)
        if key in self.depthwise:
            return self.depthwise[key].layer(operation.name)
        config = operation.get_config()
        if key in self.folded or key in self.read_through:
            config["use_bias"] = True
        if key in self.paired:
            config |= self.paired[key].config
        if key in self.linear:
            config["activation"] = "linear"
        return type(operation).from_config(config)

    def fill(self, made: keras.Layer, origin: keras.Layer) -> None:
        """Sets the new layer's weights."""
        key = id(origin)
        if key in self.depthwise:
            made.set_weights(self.depthwise[key].weights)
            return
        weights = folded_weights(origin, self.folded[key]) if key in self.folded else origin.get_weights()
        if key in self.read_through:
            weights = _reading_weights(origin, weights, self.read_through[key])
        if key in self.paired:
            weights[0] = self.paired[key].kernel(weights[0])
        if key in self.reversed_inputs:
            weights = _reversed(origin, weights)
        made.set_weights(weights)
        if isinstance(made, keras.layers.Normalization) and made.built:
            made.finalize_state()  # its mean and variance are read from the weights once


class _Copying:
    """The copies made of one graph's operations."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._copies: dict[int, keras.Operation] = {}
        self._origins: dict[int, keras.Operation] = {}

    def copy(self, operation: keras.Operation) -> keras.Operation:
        """The one copy of an operation."""
        key = id(operation)
        if key not in self._copies:
            made = self._changes.copied(operation)
            self._copies[key], self._origins[id(made)] = made, operation
        return self._copies[key]

    def call(self, made: keras.Operation, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Keras carries no types
        """Calls a copy, with the layers before and after it that the changes add."""
        changes, key = self._changes, id(self._origins[id(made)])
        if key in changes.removed or key in changes.moved_behind.values():
            return args[0]
        if key in changes.paired:
            return made(changes.paired[key].prepare(args[0], made.name))
        if key in changes.ones_before:
            args = (_ones(changes.ones_before[key])(args[0]), *args[1:])
        if key in changes.depthwise:
            # without a BatchNormalization's mask=None, or the number in `tensor / number`
            args, kwargs = args[:1], {}
        x = made(*args, **kwargs)
        return self._copies[changes.moved_behind[key]](x) if key in changes.moved_behind else x

    def fill(self) -> None:
        """Sets the weights of the copies, when all are built."""
        for key, made in self._copies.items():
            if key not in self._changes.removed and isinstance(made, keras.Layer) and not is_graph(made):
                self._changes.fill(made, self._origins[id(made)])


def folded_weights(layer: keras.Layer, affine: Affine) -> list[npt.NDArray[Any]]:
    """The weights, bias last, with `affine` folded into a convolution or Dense."""
    weights = [np.asarray(each, np.float64) for each in layer.get_weights()]
    factor, shift = affine.factor, affine.shift
    bias = weights.pop() if layer.use_bias else np.zeros_like(factor)
    *others, kernel = weights  # a SeparableConv2D's last is the 1x1 one
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = kernel * factor.reshape(kernel.shape[-2:])
    elif isinstance(layer, keras.layers.Conv2DTranspose):
        kernel = kernel * factor[:, np.newaxis]
    else:
        kernel = kernel * factor
    return [each.astype(np.float32) for each in (*others, kernel, bias * factor + shift)]


def _reading_weights(
    layer: keras.Layer, weights: list[npt.NDArray[Any]], affine: Affine
) -> list[npt.NDArray[Any]]:
    """The weights, bias last, with `affine` folded into a convolution that reads its input through it.

    Exact where nothing is padded.
    """
    kernel, *bias = (np.asarray(each, np.float64) for each in weights)
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    groups = 1 if is_depthwise else layer.groups
    # (channels of a group, filters): a filter reads the channels of its group alone
    repeats = 1 if is_depthwise else kernel.shape[-1] // groups
    factor, shift = (each.reshape(groups, -1).T.repeat(repeats, 1) for each in (affine.factor, affine.shift))
    added = (kernel * shift).sum(axis=(0, 1) if is_depthwise else (0, 1, 2)).ravel()
    return [each.astype(np.float32) for each in (kernel * factor, added + (bias[0] if bias else 0))]


def _ones(name: str) -> keras.layers.DepthwiseConv2D:
    return keras.layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer="ones", name=name)


def _reversed(layer: keras.Layer, weights: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """A layer's weights for its input channels in reverse order."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [each[::-1] for each in weights]
    return [weights[0][..., ::-1, :], *weights[1:]]

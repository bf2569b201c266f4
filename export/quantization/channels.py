"""Which layers of a graph write and read each channel, and which factors channels can be scaled by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.graph.calls import CallGraph
from export.quantization.scaled_layers import (
    Floats,
    Numbers,
    Reader,
    Writer,
    can_be_scaled,
    clip_of,
    has_kernel,
    reads_channels,
    squared_steps,
)
from keras_graph.nodes import Node, Tensor
from keras_graph.walk import num_channels
from spelling import some

STEPS_PER_OCTAVE = 8
"""Factors are whole steps, 2 ** (n / 8), so that a sidecar holds them in a character each."""
_LARGEST_FACTOR = 100.0
"""A channel that is nearly zero on the given images may not be on others."""
_ROUNDS = 10
_IMAGES = 4
"""Axes of a tensor of images."""
_ACTIVATION_STEPS = 255
_PASSED = (
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
)
"""Layers that commute with a positive factor per channel."""
_HOMOGENEOUS = (keras.layers.LeakyReLU, keras.layers.PReLU)
"""Layers that commute too, and whose output is a tensor of the file besides their input."""


class Channels:
    """Which layers of one graph write and read each channel."""

    def __init__(self, model: keras.Model, prefix: str, *, only_free: bool) -> None:
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        self._followers: list[Writer] = []
        """Layers without weights, whose outputs have the factors of what they read."""
        self._follow = not only_free
        self._tie: Numbers = np.empty(0, np.int64)
        """Of each channel, the number of its tie; channels of one number have one factor."""
        self._prefix = prefix
        self._calls = CallGraph(model)
        self._clip: Floats = np.empty(0)
        self._fixed: npt.NDArray[np.bool_] = np.empty(0, bool)
        self._range: Numbers = np.empty(0, np.int64)
        """Of each channel, the number of its range; channels of one number share a scale in the file."""
        self._channels: dict[int, Numbers] = {}
        for node in self._calls.nodes:
            self._visit(node)
        self._fix(model.outputs)
        self._fixed = self._tied(np.maximum, self._fixed)
        if only_free:
            self._fixed |= np.isfinite(self._clip)
            for reader in self.readers:
                self._fixed[reader.channels] |= not isinstance(reader.layer, keras.layers.BatchNormalization)

    def needed(self) -> set[str]:
        """The layers whose output ranges and mean squares are needed."""
        ranges = self._range[~self._fixed]
        written = [*self.writers, *self._followers]
        writers = [each for each in written if np.isin(self._range[each.channels], ranges).any()]
        mixing = [each for each in self.readers if not each.is_channelwise]
        mixing = [each for each in mixing if not self._fixed[each.channels].all()]
        return {each.activation for each in writers} | {each.read for each in mixing}

    def factors(
        self,
        largest: Mapping[str, Floats],
        squares: Mapping[str, Floats],
        *,
        headroom: float,
    ) -> Floats:
        """The factor of each channel: 1 if it clips, is nearly zero, or is read by other layers.

        A factor s multiplies the noise in a reader's output from rounding the activation by 1/s, and that
        from rounding the reader's weights by s, as long as other channels set these weights' scale. The sum
        is smallest at s^4 = steps(activation)^2 * sum (w / step(w))^2 / (number of w * mean square of x),
        summed over the readers. A channelwise reader has one scale per channel, so the largest factor within
        the range is best.
        """
        values = np.zeros(len(self._range))
        for writer in (*self.writers, *self._followers):
            values[writer.channels] = largest.get(writer.activation, 0.0)
        top = np.zeros_like(values)
        np.maximum.at(top, self._range, np.minimum(values, self._clip))
        top = top[self._range]
        free = ~self._fixed & (values > 0) & (values * headroom < self._clip)
        most = np.ones_like(values)
        room = np.minimum(top, self._clip)[free] / (values[free] * headroom)
        most[free] = np.clip(room, 1.0, _LARGEST_FACTOR)
        most, top = self._tied(np.minimum, most), self._tied(np.maximum, top)
        factor = np.ones_like(values)
        for _ in range(_ROUNDS):
            gain, cost = np.zeros_like(values), np.zeros_like(values)
            for reader in self.readers:
                np.add.at(gain, reader.channels, squared_steps(reader, factor))
                if not reader.is_channelwise and reader.read in squares:
                    np.add.at(cost, reader.channels, squares[reader.read])
            gain, cost = self._tied(np.add, gain), self._tied(np.add, cost)
            with np.errstate(divide="ignore", invalid="ignore"):
                best = ((top / _ACTIVATION_STEPS) ** 2 * gain / cost) ** 0.25
            factor = np.clip(np.nan_to_num(best, nan=1.0), 1.0, most)
        return _in_steps(factor)

    def scale(self, factors: Mapping[str, Floats]) -> None:
        """Scales the writers named, and undoes it in the readers."""
        found = np.ones(len(self._range))
        for writer in self.writers:
            if writer.name in factors:
                found[self._tie[writer.channels]] = factors[writer.name]
                writer.scale(factors[writer.name])
        found = found[self._tie]
        for reader in self.readers:
            if np.any(found[reader.channels] != 1):
                reader.scale(found[reader.channels])

    def in_words(self, writer: Writer, factor: Floats) -> str:
        """Describes the scaling of a layer's channels."""
        readers = [
            each.name
            for each in self.readers
            if np.isin(self._tie[writer.channels], self._tie[each.channels]).any()
        ]
        scaled = int(np.sum(factor != 1))
        return (
            f"{writer.name} to {some(readers, most=1)}: {scaled} of {factor.size} channels "
            f"by up to {factor.max():.3g}"
        )

    def _visit(self, node: Node) -> None:
        layer = node.operation
        read = [self._channels.get(id(tensor)) for tensor in node.input_tensors]
        known = [each for each in read if each is not None]
        if _is_plain_concatenation(layer, node) and self._calls.is_called_once(layer):
            if len(known) == len(read):
                self._join(node, known)
                return
        elif type(layer) in (keras.layers.Add, keras.layers.Multiply) and self._calls.is_called_once(layer):
            if self._follow and self._combines(node, read):
                return
        elif self._calls.is_called_once(layer) and self._calls.runs_plainly(layer):
            if self._is_weighted(node):
                self._visit_weighted(node)
                return
            if known and self._follow and type(layer) in _HOMOGENEOUS:
                self._follows(node, known)
                return
            if known and self._passes(node):
                self._channels[id(node.outputs[0])] = known[0]
                return
        self._fix(node.input_tensors)

    def _visit_weighted(self, node: Node) -> None:
        layer, (tensor,) = node.operation, node.input_tensors
        name, channels = self._prefix + layer.name, self._channels.get(id(tensor))
        folds = isinstance(layer, keras.layers.BatchNormalization) and self._calls.weighted_before(node)
        if folds or not reads_channels(layer):
            self._fix([tensor])  # if it folds, the convolution's own output is not in the file
        elif channels is not None and (writer := self._calls.writer(node)) is not None:
            read = self._prefix + writer.operation.name
            self.readers.append(Reader(layer=layer, name=name, channels=channels, read=read))
        clip = clip_of(layer)
        if clip is None or not can_be_scaled(layer):
            return
        self.writers.append(self._written(node, clip))

    def _written(self, node: Node, clip: float) -> Writer:
        """A call that writes a tensor with a range of its own."""
        name = self._prefix + node.operation.name
        first, number = len(self._range), num_channels(node.outputs[0])
        channels = np.arange(first, first + number)
        self._channels[id(node.outputs[0])] = channels
        self._clip = np.append(self._clip, np.full(number, clip))
        self._fixed = np.append(self._fixed, np.zeros(number, bool))
        self._range = np.append(self._range, np.full(number, first))
        self._tie = np.append(self._tie, channels)
        return Writer(layer=node.operation, name=name, channels=channels, activation=name)

    def _follows(self, node: Node, parts: Sequence[Numbers]) -> None:
        """The output of a call has the factors of all that it reads, which are one."""
        follower = self._written(node, np.inf)
        self._followers.append(follower)
        for part in parts:
            for mine, other in zip(follower.channels, part, strict=True):
                self._tie[self._tie == self._tie[other]] = self._tie[mine]

    def _combines(self, node: Node, read: Sequence[Numbers | None]) -> bool:
        """Whether factors pass through an Add, or through the larger part of a Multiply by a gate."""
        shapes = [tuple(tensor.shape) for tensor in node.input_tensors]
        parts = [each for each in read if each is not None]
        if type(node.operation) is keras.layers.Add:
            if len(parts) < len(read) or len(set(shapes)) > 1:
                return False
            self._follows(node, parts)
            return True
        whole = [place for place, shape in enumerate(shapes) if shape == tuple(node.outputs[0].shape)]
        if len(shapes) != 2 or not whole or (channels := read[whole[0]]) is None:
            return False
        self._fix([node.input_tensors[1 - whole[0]]])
        self._follows(node, [channels])
        return True

    def _tied(self, combine: np.ufunc, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The values combined over the channels of each tie."""
        found = np.zeros_like(values) if combine is np.add else values.copy()
        combine.at(found, self._tie, values)
        return found[self._tie]

    def _is_weighted(self, node: Node) -> bool:
        layer: keras.Layer = node.operation
        (tensor,) = node.input_tensors
        if type(layer) is keras.layers.BatchNormalization:
            # with other shapes it becomes a multiplication by a constant with one scale
            return len(tensor.shape) == _IMAGES and layer.axis in (-1, _IMAGES - 1)
        return self._calls.is_plainly_weighted(layer) and has_kernel(layer)

    def _passes(self, node: Node) -> bool:
        """Whether a factor passes through this call; records clipping and fusing."""
        layer, (tensor,) = node.operation, node.input_tensors
        if type(layer) in _PASSED:
            return getattr(layer, "data_format", None) != "channels_first"
        if type(layer) in (keras.layers.Reshape, keras.layers.Flatten):
            return num_channels(tensor) == num_channels(node.outputs[0])
        clip = clip_of(layer) if type(layer) in (keras.layers.ReLU, keras.layers.Activation) else None
        if clip is None:
            return False
        channels = self._channels[id(tensor)]
        self._clip[channels] = np.minimum(self._clip[channels], clip)
        writer = self._calls.writer(node)
        for each in (*self.writers, *self._followers):
            if writer is not None and writer.operation is each.layer and self._calls.is_only_reader(node):
                each.activation = self._prefix + layer.name
        return True

    def _join(self, node: Node, parts: list[Numbers]) -> None:
        joined = np.concatenate(parts)
        self._channels[id(node.outputs[0])] = joined
        self._range[np.isin(self._range, self._range[joined])] = self._range[joined[0]]

    def _fix(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            self._fixed[self._channels.get(id(tensor), np.empty(0, np.int64))] = True


def _in_steps(factor: Floats) -> Floats:
    """The largest whole steps that are no larger."""
    steps = np.floor(np.log2(factor) * STEPS_PER_OCTAVE + 1e-6)
    whole: Floats = 2.0 ** (steps / STEPS_PER_OCTAVE)
    return whole


def _is_plain_concatenation(layer: keras.Operation, node: Node) -> bool:
    if type(layer) is not keras.layers.Concatenate:
        return False
    return layer.axis in (-1, len(node.outputs[0].shape) - 1)

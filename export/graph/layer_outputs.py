"""The outputs of a Keras model's layers, those of nested models included, and which layers feed which."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from keras_graph.walk import calls_once, is_graph

Floats = npt.NDArray[np.float32]

_AT_ONCE = 8
"""Images per batch: their activations are in memory together."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A layer that is called once; `name` is 'outer/inner' for a layer of a nested model."""

    name: str
    shape: tuple[int | None, ...]
    feeds_on: tuple[str, ...]


class LayerOutputs:
    """Runs a model and returns the outputs of the layers asked for."""

    def __init__(self, model: keras.Model, wanted: Collection[str], prefix: str = "") -> None:
        """`wanted` are names from network_steps(); `prefix` comes before the names in a nested model."""
        named = [(prefix + node.operation.name, node.operation, node) for node in calls_once(model)]
        outputs = {name: node.outputs[0] for name, _, node in named if name in wanted}
        nested = [(f"{name}/", operation, node) for name, operation, node in named if is_graph(operation)]
        nested = [each for each in nested if any(name.startswith(each[0]) for name in wanted)]
        outputs |= {start: node.input_tensors[0] for start, _, node in nested}
        self._nested = {start: LayerOutputs(operation, wanted, start) for start, operation, _ in nested}
        self._extractor = keras.Model(model.inputs[0], outputs) if outputs else None

    def __call__(self, images: Floats) -> dict[str, Floats]:
        """Layer -> its output for images (batch, height, width, channels)."""
        if self._extractor is None:
            return {}
        found = {name: np.asarray(value) for name, value in self._extractor(images, training=False).items()}
        for start, nested in self._nested.items():
            found.update(nested(found.pop(start)))
        return found

    def in_batches(self, pixels: npt.NDArray[np.uint8]) -> Iterator[dict[str, Floats]]:
        """The same for raw pixels (n, height, width, channels), a few images at a time."""
        for start in range(0, len(pixels), _AT_ONCE):
            yield self(pixels[start : start + _AT_ONCE].astype(np.float32))


def network_steps(model: keras.Model, prefix: str = "") -> Iterator[Step]:
    """The layers of a model that are called once, in topological order, nested models expanded.

    Layers that are called several times are not among a step's sources.
    """
    sources: dict[int, tuple[str, ...]] = {}
    for node in calls_once(model):
        operation = node.operation
        feeds_on = tuple(name for tensor in node.input_tensors for name in sources.get(id(tensor), ()))
        name = prefix + operation.name
        if is_graph(operation):
            for step in network_steps(operation, f"{name}/"):
                name = step.name
                yield Step(name=name, shape=step.shape, feeds_on=step.feeds_on or feeds_on)
        else:
            yield Step(name=name, shape=tuple(node.outputs[0].shape), feeds_on=feeds_on)
        for tensor in node.outputs:
            sources[id(tensor)] = (name,)

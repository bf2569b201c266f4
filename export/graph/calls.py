"""The calls of one Keras graph: who writes a tensor, who reads it, also after calls were left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from export.graph.layer_outputs import is_graph

__all__ = ["CallGraph", "graphs_within", "is_graph", "structure"]

_WEIGHTED = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


class CallGraph:
    """The calls of a functional or Sequential model; a nested model is one call."""

    def __init__(self, model: keras.Model) -> None:
        self.nodes = _nodes(model)
        self._calls: dict[int, list[Any]] = {}
        self._writer: dict[int, Any] = {}
        self._readers: dict[int, list[Any]] = {id(tensor): [None] for tensor in model.outputs}
        self._source: dict[int, int] = {}
        for node in self.nodes:
            self._calls.setdefault(id(node.operation), []).append(node)
            for tensor in node.outputs:
                self._writer[id(tensor)] = node
            for tensor in node.input_tensors:
                self._readers.setdefault(id(tensor), []).append(node)

    def writer(self, node: Any) -> Any:  # noqa: ANN401 - Keras carries no types
        """The call that writes what this call of one input reads; None for the model's input."""
        return self._writer.get(self._from(node.input_tensors[0]))

    def is_only_reader(self, node: Any) -> bool:  # noqa: ANN401
        """Whether nothing else, not the model's output either, reads what this call reads."""
        return self._readers[self._from(node.input_tensors[0])] == [node]

    def remove(self, node: Any) -> None:  # noqa: ANN401
        """Lets the readers of a call of one input and one output read its input."""
        source, target = self._from(node.input_tensors[0]), id(node.outputs[0])
        self._source[target] = source
        self._readers[source].remove(node)
        self._readers[source] += self._readers.get(target, [])

    def is_called_once(self, operation: keras.Operation) -> bool:
        """Whether the graph runs a layer at one place only."""
        return len(self._calls[id(operation)]) == 1

    def runs_plainly(self, operation: keras.Operation) -> bool:
        """Whether each call of a layer takes one tensor and nothing that makes it train, mask or the like."""
        return all(
            len(call.arguments.args) == 1
            and len(call.input_tensors) == 1
            and len(call.outputs) == 1
            and all(value in (None, False) for value in call.arguments.kwargs.values())
            for call in self._calls[id(operation)]
        )

    def weighted_before(self, node: Any) -> Any:  # noqa: ANN401
        """The convolution or Dense without activation that this call alone reads, or None."""
        writer = self.writer(node)
        if writer is None or not self.is_only_reader(node):
            return None
        layer = writer.operation
        plain = self.is_plainly_weighted(layer) and layer.activation is keras.activations.linear
        return layer if plain else None

    def is_plainly_weighted(self, layer: keras.Operation) -> bool:
        """Whether a layer is a convolution or Dense that runs once, channels last, on float weights."""
        return (
            type(layer) in _WEIGHTED
            and self.is_called_once(layer)
            and self.runs_plainly(layer)
            and getattr(layer, "data_format", "channels_last") == "channels_last"
            and not getattr(layer, "lora_enabled", False)
            and getattr(layer, "quantization_mode", None) is None
        )

    def _from(self, tensor: keras.KerasTensor) -> int:
        source = id(tensor)
        while source in self._source:
            source = self._source[source]
        return source


def graphs_within(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Model]]:
    """What layers' names begin with -> the model's graph, and those nested in it that run at one place.

    The names are those of LayerOutputs: "" before the model's own layers, "outer/" before a nested model's.
    """
    yield prefix, model
    calls = CallGraph(model)
    for node in calls.nodes:
        layer = node.operation
        if is_graph(layer) and calls.runs_plainly(layer) and calls.is_called_once(layer):
            yield from graphs_within(layer, f"{prefix}{layer.name}/")


def structure(model: keras.Model, which: str) -> Any:  # noqa: ANN401 - Keras carries no types
    """A model's "inputs" or "outputs", as it takes and gives them."""
    return getattr(_graph(model), f"_{which}_struct")


def _nodes(model: keras.Model) -> list[Any]:
    """The calls of a graph in the order they run, without its inputs."""
    by_depth = _graph(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def _graph(model: keras.Model) -> Any:  # noqa: ANN401
    return model._functional if isinstance(model, keras.Sequential) else model

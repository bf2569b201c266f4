"""The calls of one Keras graph: which writes a tensor and which read it, also after calls are removed."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from keras_graph.nodes import Node, Operation, Tensor
from keras_graph.walk import calls, is_graph

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
        self.nodes = calls(model)
        self._calls: dict[int, list[Node]] = {}
        self._writer: dict[int, Node] = {}
        self._readers: dict[int, list[Node | None]] = {id(tensor): [None] for tensor in model.outputs}
        self._source: dict[int, int] = {}
        for node in self.nodes:
            self._calls.setdefault(id(node.operation), []).append(node)
            for tensor in node.outputs:
                self._writer[id(tensor)] = node
            for tensor in node.input_tensors:
                self._readers.setdefault(id(tensor), []).append(node)

    def writer(self, node: Node) -> Node | None:
        """The call that writes the only input of this call; None for the model's input."""
        return self._writer.get(self._from(node.input_tensors[0]))

    def readers(self, node: Node) -> list[Node | None]:
        """The calls that read this call's input, itself included; None for the model's output."""
        return self.readers_of(node.input_tensors[0])

    def readers_of(self, tensor: Tensor) -> list[Node | None]:
        """The calls that read a tensor; None for the model's output."""
        return self._readers[self._from(tensor)]

    def is_only_reader(self, node: Node) -> bool:
        """Whether nothing else, including the model's output, reads this call's input."""
        return self.readers(node) == [node]

    def remove(self, node: Node) -> None:
        """Removes a call of one input and one output: its readers then read its input."""
        source, target = self._from(node.input_tensors[0]), id(node.outputs[0])
        self._source[target] = source
        self._readers[source].remove(node)
        self._readers[source] += self._readers.get(target, [])

    def is_called_once(self, operation: Operation) -> bool:
        """Whether the graph calls a layer exactly once."""
        return len(self._calls[id(operation)]) == 1

    def runs_plainly(self, operation: Operation) -> bool:
        """Whether each call of a layer takes one tensor and no arguments such as training or mask."""
        return all(
            len(call.arguments.args) == 1
            and len(call.input_tensors) == 1
            and len(call.outputs) == 1
            and all(value in (None, False) for value in call.arguments.kwargs.values())
            for call in self._calls[id(operation)]
        )

    def weighted_before(self, node: Node) -> keras.Layer | None:
        """The convolution or Dense without activation that only this call reads, or None."""
        writer = self.writer(node)
        if writer is None or not self.is_only_reader(node):
            return None
        layer: keras.Layer = writer.operation
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

    def _from(self, tensor: Tensor) -> int:
        source = id(tensor)
        while source in self._source:
            source = self._source[source]
        return source


def graphs_within(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Model]]:
    """(prefix of layer names, graph): the model's own, then those of nested models that are called once.

    Prefixes are as in LayerOutputs: "" for the model's own layers, "outer/" for a nested model's.
    """
    yield prefix, model
    graph = CallGraph(model)
    for node in graph.nodes:
        layer = node.operation
        if is_graph(layer) and graph.runs_plainly(layer) and graph.is_called_once(layer):
            yield from graphs_within(layer, f"{prefix}{layer.name}/")

"""Layers of a Keras model that stay in float in an int8 file, and the operators that compute them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import keras

from export.errors import ExportError
from export.graph.layer_names import FUSED, LayerNames, layer_named
from export.graph.layer_outputs import Step, network_steps
from export.graph.probabilities import is_probabilities
from export.tflite.content import FileContents, Operator
from export.tflite.output import CONVERSIONS, PROBABILITIES, network_output
from spelling import did_you_mean, some

_MOST_NAMED = 10


def check_names(model: keras.Model, names: Collection[str]) -> None:
    """Raises ExportError, with the nearest known name, for a name that is no layer of the model."""
    known = [step.name for step in network_steps(model)]
    for name in names:
        if name not in known:
            raise ExportError(
                f"'{model.name}' has no layer '{name}' to keep in float. "
                f"{did_you_mean(name, known)}Expected one of its layers: "
                f"{some(known, most=_MOST_NAMED)}."
            )


def operators_to_keep(
    contents: FileContents, model: keras.Model, names: Collection[str]
) -> tuple[Operator, ...]:
    """The operators that compute the named layers, in execution order.

    `contents` must have the converter's tensor names. An operator that several layers are fused into computes
    each of them. Raises ExportError for a layer without an operator.
    """
    found: list[Operator] = []
    for name in names:
        own = operators_of(contents, model, name)
        if not own:
            raise ExportError(
                f"the layer '{name}' of '{model.name}' has no operator in the int8 file, so there "
                "is nothing to keep in float. Name a layer that computes, such as a convolution."
            )
        found += own
    return tuple(operator for operator in contents.graph if operator in found)


def operators_of(contents: FileContents, model: keras.Model, name: str) -> tuple[Operator, ...]:
    """The operators that compute a layer; empty for one without a trace in the file, such as a Dropout."""
    steps = {step.name: step for step in network_steps(model)}
    done_by = dict(_layers_done(contents, model, steps))
    for each in (name, _weighted(model, steps, name)):
        if own := [index for index, layers in done_by.items() if each in layers]:
            return tuple(contents.graph[index] for index in own)
    return ()


def layers_in_float(contents: FileContents, model: keras.Model) -> tuple[str, ...]:
    """The layers whose operators compute in float, in the network's order.

    Raises ExportError for such an operator of no layer.
    """
    steps = {step.name: step for step in network_steps(model)}
    order, found = list(steps), set()
    for index, layers in _layers_done(contents, model, steps):
        output = contents.tensors[contents.graph[index].outputs[0]]
        if output.dtype == "float32":
            if not layers:
                raise ExportError(
                    f"{contents.graph[index].name} at {output.name} computes in float in an int8 file of "
                    f"'{model.name}', and belongs to no layer of it. Expected a layer, to leave it in float."
                )
            found.add(max(layers, key=order.index))
    return tuple(sorted(found, key=order.index))


def layers_around(contents: FileContents, model: keras.Model, name: str) -> tuple[str, ...]:
    """The layer and those that read its output: with all of them in float, its output is not rounded."""
    steps = {step.name: step for step in network_steps(model)}
    order = list(steps)
    done_by = dict(_layers_done(contents, model, steps))
    written = {tensor for operator in operators_of(contents, model, name) for tensor in operator.outputs}
    readers = [
        max(done_by[index], key=order.index)
        for index, operator in enumerate(contents.graph)
        if written & set(operator.inputs) and done_by.get(index)
    ]
    return tuple(dict.fromkeys([name, *readers]))


def _weighted(model: keras.Model, steps: Mapping[str, Step], name: str) -> str:
    while isinstance(layer_named(model, name), FUSED) and len(steps[name].feeds_on) == 1:
        name = steps[name].feeds_on[0]
    return name


def _layers_done(
    contents: FileContents, model: keras.Model, steps: Mapping[str, Step]
) -> Iterator[tuple[int, set[str]]]:
    """Number of an operator -> the layers that it computes."""
    names, last_tensor = LayerNames(model), network_output(contents)
    for index, operator in enumerate(contents.graph):
        if operator.name in CONVERSIONS:
            continue
        layers = names.layers(contents.tensors[operator.outputs[0]].name)
        if operator.outputs[0] == last_tensor:
            layers.add(_last_layer(operator, model, steps))  # its tensor has the output's name
        yield index, layers


def _last_layer(operator: Operator, model: keras.Model, steps: Mapping[str, Step]) -> str:
    """The layer that the file's last operator computes; a file of class scores lacks the last of all."""
    last = list(steps)[-1]
    without = operator.name not in PROBABILITIES and is_probabilities(layer_named(model, last))
    return _weighted(model, steps, steps[last].feeds_on[0]) if without else last

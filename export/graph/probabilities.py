"""A model's last softmax or sigmoid: whether there is one, what it says, and the class scores before it."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from export.graph.changes import Changes
from export.head import Head, head_of
from keras_graph.walk import is_graph, last_call, structure

Floats = npt.NDArray[np.float32]


def ends_in(model: keras.Model) -> str | None:
    """'softmax' or 'sigmoid' if that is the model's last layer or its activation; None for class scores."""
    last = _innermost_last(model)
    return _of_its_own(last) or _as_activation(last)


def is_probabilities(operation: keras.Operation) -> bool:
    """Whether a layer is a softmax or sigmoid and nothing else."""
    return _of_its_own(operation) is not None


def head_of_model(model: keras.Model) -> Head:
    """What the model's outputs mean."""
    return head_of(int(model.outputs[0].shape[-1]), has_sigmoid=ends_in(model) == "sigmoid")


def without_probabilities(model: keras.Model) -> keras.Model:
    """The model up to its class scores, without its last softmax or sigmoid, a layer or an activation.

    Raises ExportError if it ends in something else.
    """
    changes = Changes()
    last = _innermost_last(model)
    if _of_its_own(last):
        changes.removed.add(id(last))
    elif _as_activation(last):
        changes.linear.add(id(last))
    else:
        raise ExportError(
            f"'{model.name}' ends in '{last.name}' ({type(last).__name__}), not in a softmax or sigmoid. "
            "Expected such a layer or activation as its last: if it gives class scores already, export it "
            "unchanged."
        )
    return changes.carried_out(model)


def class_scores(model: keras.Model) -> Callable[[Floats], Floats]:
    """What gives the class scores of images; of a model without a last softmax or sigmoid, its outputs.

    The model's own layers compute them, since a copy takes its time.
    """
    last = last_call(model)
    layer: keras.Layer = last.operation
    if _of_its_own(layer):
        return _running(keras.Model(structure(model, "inputs"), last.input_tensors[0]))
    if is_graph(layer) or not _as_activation(layer):
        return _running(without_probabilities(model) if ends_in(model) else model)
    features = _running(keras.Model(structure(model, "inputs"), last.input_tensors[0]))
    linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    linear.build(last.input_tensors[0].shape)
    linear.set_weights(layer.get_weights())
    return lambda images: np.asarray(linear(features(images)))


def _running(model: keras.Model) -> Callable[[Floats], Floats]:
    return lambda images: np.asarray(model(images, training=False))


def _innermost_last(model: keras.Model) -> keras.Operation:
    last: keras.Operation = last_call(model).operation
    while is_graph(last):
        last = last_call(last).operation
    return last


def _as_activation(operation: keras.Operation) -> str | None:
    """'softmax' or 'sigmoid' if that is a layer's activation."""
    kinds = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    activation = getattr(operation, "activation", None)
    return next((name for function, name in kinds.items() if activation is function), None)


def _of_its_own(operation: keras.Operation) -> str | None:
    """'softmax' or 'sigmoid' if an operation does nothing else."""
    if isinstance(operation, keras.layers.Activation):
        return _as_activation(operation)
    return {"Softmax": "softmax", "Sigmoid": "sigmoid"}.get(type(operation).__name__)

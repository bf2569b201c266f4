"""A tf_keras model as a Keras 3 model of the same layers and names, proven equal on images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from export.errors import BadModelFileError
from export.source.carried_layers import cannot_carry, carried_layers, take_weights
from export.source.carried_ops import OP_LAYERS, carried_op

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-5
"""Share of the largest output: both versions of Keras run the same TensorFlow operators, mostly bit-equal."""
_NUM_IMAGES = 2
"""Of each range of values."""


@dataclass(frozen=True)
class _Pair:
    """A layer's output in both models."""

    layer: Any
    """The tf_keras layer."""
    theirs: Any
    ours: Any


@dataclass
class _Carried:
    """Both models, and the outputs of their layers in the order of computing."""

    theirs: Any
    ours: keras.Model
    pairs: list[_Pair] = field(default_factory=list)


def carry_over(model: Any) -> keras.Model:
    """The Keras 3 model of a functional or Sequential tf_keras model.

    Layers keep their names, but for a '/', which Keras 3 does not allow and '_' replaces. Raises
    BadModelFileError with the name of a layer that cannot be carried over, or gives other outputs.
    """
    carrying = _Carrying()
    try:
        ours = carrying.model(model)
    except (TypeError, ValueError, AttributeError, KeyError) as error:  # of a configuration that is damaged
        raise BadModelFileError(
            f"its graph is not one that Keras 3 can build ({type(error).__name__}: "
            f"{' '.join(str(error).split())}). Copy it again from where it came, or save the model again."
        ) from error
    _prove(carrying, model)
    return ours


class _Carrying:
    """Carries each layer and each nested model over once, even if it is called several times."""

    def __init__(self) -> None:
        self.done: dict[int, _Carried] = {}
        self._layers: dict[int, list[keras.Layer]] = {}

    def model(self, theirs: Any) -> keras.Model:
        """The Keras 3 model of a tf_keras model."""
        if id(theirs) in self.done:
            return self.done[id(theirs)].ours
        tensors: dict[int, Any] = {}
        for tensor, name in zip(theirs.inputs, theirs.input_names, strict=True):
            image = keras.Input(tuple(tensor.shape[1:]), dtype=tensor.dtype.name, name=_name(name))
            tensors[id(tensor)] = image
        pairs = []
        for node in _calls(theirs):
            made = self._called(node, tensors)
            for before, after in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(made), strict=True):
                tensors[id(before)] = after
                pairs.append(_Pair(node.layer, before, after))
        inputs, outputs = (
            _alone([tensors[id(each)] for each in side]) for side in (theirs.inputs, theirs.outputs)
        )
        ours = keras.Model(inputs, outputs, name=_name(theirs.name))
        self.done[id(theirs)] = _Carried(theirs, ours, pairs)
        return ours

    def _called(self, node: Any, tensors: dict[int, Any]) -> Any:
        """The outputs of one call of a layer."""
        layer, name = node.layer, _name(node.layer.name)
        args, kwargs = tf.nest.map_structure(
            lambda value: tensors.get(id(value), value), (list(node.call_args), dict(node.call_kwargs))
        )
        if type(layer).__name__ in OP_LAYERS:
            # a second call of the same operation would have the same name
            again = id(layer) in self._layers
            self._layers[id(layer)] = []
            return carried_op(layer, f"{name}_again" if again else name, args, kwargs)
        given = {key: value for key, value in kwargs.items() if value is not None}
        if _is_model(layer):
            return self.model(layer)(*args, **given)
        first, *others = self._made(layer, name)
        try:
            x = first(*args, **given)
            for each in others:
                x = each(x)
        except (TypeError, ValueError, AttributeError) as error:
            why = " ".join(str(error).split())
            raise cannot_carry(layer, f"called as Keras 3 refuses it ({why})") from error
        take_weights(first, layer)
        return x

    def _made(self, layer: Any, name: str) -> list[keras.Layer]:
        if id(layer) not in self._layers:
            self._layers[id(layer)] = carried_layers(layer, name)
        return self._layers[id(layer)]


def _alone(values: list[Any]) -> Any:
    """The only value of a list, or the list."""
    return values[0] if len(values) == 1 else values


def _calls(model: Any) -> list[Any]:
    """The calls of a tf_keras model's layers in the order of computing."""
    by_depth = model._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in nodes if not node.is_input]


def _is_model(layer: Any) -> bool:
    if not isinstance(layer, tf_keras.Model):
        return False
    if not getattr(layer, "_is_graph_network", False):
        raise cannot_carry(layer, "a model of its own class")
    return True


def _name(name: str) -> str:
    return name.replace("/", "_")


def _prove(carrying: _Carrying, theirs: Any) -> None:
    """Raises BadModelFileError, with the first layer that differs, unless both models give the same."""
    carried = carrying.done[id(theirs)]
    images = _images(tuple(theirs.inputs[0].shape[1:]), theirs.inputs[0].dtype.as_numpy_dtype)
    try:
        expected, found = (_outputs(each, images) for each in (theirs, carried.ours))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise BadModelFileError(
            f"it cannot be run on a batch of images ({' '.join(str(error).split())}). Expected a model that "
            "classifies any number of images: save it with batch None."
        ) from error
    if all(_difference(*pair) <= TOLERANCE for pair in zip(expected, found, strict=True)):
        return
    name, difference = _first_difference(carrying, carried, images)
    raise BadModelFileError(
        f"the layer '{name}' computes something else in Keras 3 than in the Keras 2 that it was saved by: "
        f"its outputs differ by {difference:.2g} of the largest, and at most {TOLERANCE:g} was expected. "
        "Replace it by another layer, or save the model with Keras 3."
    )


def _first_difference(carrying: _Carrying, carried: _Carried, images: Any) -> tuple[str, float]:
    """The first layer, 'outer/inner' in a nested model, whose outputs differ, and by how much."""
    theirs, ours = carried.theirs, carried.ours
    expected = _outputs(tf_keras.Model(theirs.inputs, [pair.theirs for pair in carried.pairs]), images)
    found = _outputs(keras.Model(_alone(ours.inputs), [pair.ours for pair in carried.pairs]), images)
    sides = zip(carried.pairs, expected, found, strict=True)
    differences = [(pair.layer, _difference(before, after)) for pair, before, after in sides]
    layer, difference = next(
        (each for each in differences if not each[1] <= TOLERANCE), (differences[-1][0], differences[-1][1])
    )
    nested = carrying.done.get(id(layer))
    if nested is None:
        return layer.name, difference
    fed = _fed_to(carried, layer, images)
    name, difference = _first_difference(carrying, nested, fed)
    return f"{layer.name}/{name}", difference


def _fed_to(carried: _Carried, layer: Any, images: Any) -> Any:
    """What the tf_keras model feeds to a nested model at its first call."""
    node = next(node for node in _calls(carried.theirs) if node.layer is layer)
    return _alone(_outputs(tf_keras.Model(carried.theirs.inputs, node.keras_inputs), images))


def _outputs(model: Callable[..., Any], images: Any) -> list[Floats]:
    return [np.asarray(each, np.float32) for each in tf.nest.flatten(model(images, training=False))]


def _difference(expected: Floats, found: Floats) -> float:
    """The largest difference as a share of the largest output; infinite where only one is no number."""
    if expected.shape != found.shape or not np.array_equal(np.isfinite(expected), np.isfinite(found)):
        return float("inf")
    known = np.isfinite(expected)
    if not known.any():
        return 0.0
    return float(np.abs(expected[known] - found[known]).max() / max(np.abs(expected[known]).max(), 1e-12))


def _images(shape: tuple[int | None, ...], dtype: Any) -> npt.NDArray[Any]:
    """Random images of raw pixels, of 0 to 1 and of -1 to 1: a model learnt on one of them."""
    random = np.random.default_rng(0)
    sizes = [(_NUM_IMAGES, *(96 if size is None else size for size in shape))] * 3
    raw, to_one, around_zero = (random.uniform(0, 255, size).astype(np.float32) for size in sizes)
    images: npt.NDArray[Any] = np.concatenate([raw, to_one / 255, around_zero / 127.5 - 1])
    return images.astype(dtype)

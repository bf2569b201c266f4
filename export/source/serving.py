"""A SavedModel with nothing but a serving function, as a Keras model of one layer that calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export import native_output
from export.errors import BadModelFileError, ExportError
from export.source.container import in_one_line
from spelling import counted

_DEFAULT = "serving_default"
_NAME = "serving_function"
_ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
"""TensorFlow's operations that end a classifier, and Keras's names of them."""
_NUM_IMAGES = 4
_TOLERANCE = 1e-5


class ServingFunction(keras.layers.Layer):
    """Calls a SavedModel's serving function; it has no weights and no layers that could be seen."""

    def __init__(self, function: Callable[[Any], Any], **settings: Any) -> None:
        """`function`: images (batch, height, width, channels) -> class scores (batch, classes)."""
        super().__init__(**settings)
        self._function = function

    def call(self, images: Any) -> Any:
        """The class scores."""
        return self._function(images)

    def get_config(self) -> dict[str, Any]:
        """The function itself: a copy of the layer calls the same one."""
        return {**super().get_config(), "function": self._function}


def is_serving_function(model: keras.Model) -> bool:
    """Whether a model is a SavedModel's serving function, perhaps behind a rescaling."""
    return any(isinstance(layer, ServingFunction) for layer in model.layers)


def load_serving_function(path: Path) -> keras.Model:
    """The model of one layer.

    Raises BadModelFileError for a damaged folder, and ExportError if no signature takes images and returns
    class scores, or several could be meant.
    """
    try:
        with native_output.captured():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # whatever a damaged graph makes TensorFlow raise
        raise BadModelFileError(
            f"{path} is not a SavedModel that this version can load ({in_one_line(error)}). "
            "Copy the whole folder again, or save the model again."
        ) from error
    function = _signature(loaded.signatures, path)
    with native_output.captured():
        return _model(_Served.of(function, path, loaded), path)


def _signature(signatures: Mapping[str, Any], path: Path) -> Any:
    """The signature that classifies images."""
    if not signatures:
        raise ExportError(
            f"{path} has no serving function. Expected a signature that takes images: save it with "
            "tf.saved_model.save(model, folder, signatures=function)."
        )
    taking = {name: each for name, each in signatures.items() if _takes_images(each)}
    if _DEFAULT in taking:
        return taking[_DEFAULT]
    if len(taking) == 1:
        return next(iter(taking.values()))
    found = "; ".join(f"{name} takes {_inputs_in_words(each)}" for name, each in signatures.items())
    if taking:
        raise ExportError(
            f"{path} has several signatures that take images: {', '.join(sorted(taking))}. "
            f"Expected one of them to be named {_DEFAULT}: save it again with that one."
        )
    raise ExportError(
        f"{path} has no signature that takes one batch of images: {found}. "
        "Expected one input (batch, height, width, 3 or 1): save it with such a signature."
    )


def _inputs(function: Any) -> dict[str, tf.TensorSpec]:
    return dict(function.structured_input_signature[1])


def _takes_images(function: Any) -> bool:
    specs = list(_inputs(function).values())
    if len(specs) != 1 or specs[0].shape.rank != 4:
        return False
    return bool(specs[0].dtype.is_floating or specs[0].dtype.is_integer)


def _inputs_in_words(function: Any) -> str:
    specs = _inputs(function).items()
    return ", ".join(f"{name} {spec.dtype.name} {_shape_in_words(spec.shape)}" for name, spec in specs)


def _shape_in_words(shape: tf.TensorShape) -> str:
    return "of any shape" if shape.rank is None else str(tuple(shape.as_list()))


@dataclass(frozen=True, kw_only=True)
class _Served:
    """A signature with one image input, and the output that is meant."""

    function: Any
    input: tf.TensorSpec
    input_name: str
    output: str
    loaded: Any
    """The whole SavedModel, which owns the variables."""

    @classmethod
    def of(cls, function: Any, path: Path, loaded: Any) -> _Served:
        ((input_name, spec),) = _inputs(function).items()
        output = _output(function, spec, input_name, path)
        return cls(function=function, input=spec, input_name=input_name, output=output, loaded=loaded)

    @property
    def batch(self) -> int | None:
        """The number of images that it takes at once; None for any."""
        size: int | None = self.input.shape.as_list()[0]
        return size

    def __call__(self, images: Any) -> Any:
        """The class scores of images in any number type, as many as the signature takes."""
        fed = tf.cast(images, self.input.dtype)
        return self.function(**{self.input_name: fed})[self.output]


def _model(served: _Served, path: Path) -> keras.Model:
    """The function as a model, named as the folder; a final softmax or sigmoid becomes a layer."""
    rebuilt = _rebuilt(served)
    if rebuilt is not None and (rebuilt.activation or served.batch not in (None, 1)):
        called, activation = rebuilt.function, rebuilt.activation
    elif served.batch is None:
        called, activation = served, None
    elif served.batch == 1:
        called, activation = _one_by_one(served), None
    else:
        raise ExportError(
            f"{path} takes exactly {counted(served.batch, 'image')} at once, and its graph depends on it. "
            "Expected any number, or one: save it with a signature of batch None."
        )
    image = keras.Input(tuple(served.input.shape.as_list()[1:]), name="image")
    scores = ServingFunction(called, name=_NAME)(image)
    if activation is not None:
        scores = keras.layers.Activation(activation, name=activation)(scores)
    return keras.Model(image, scores, name=path.absolute().name)


def _output(function: Any, spec: tf.TensorSpec, input_name: str, path: Path) -> str:
    """The name of the output with the class scores: of several, the one that is another's softmax.

    Raises ExportError if that is not clear.
    """
    gives: dict[str, Any] = dict(function.structured_outputs)
    scores = [name for name, each in gives.items() if each.dtype.is_floating and each.shape.rank in (2, None)]
    if len(scores) == 1:
        return scores[0]
    if len(scores) > 1:
        images = tf.cast(_images(spec), spec.dtype)
        values = {name: np.asarray(each) for name, each in function(**{input_name: images}).items()}
        pairs = [(name, other) for name in scores for other in scores if name != other]
        probabilities = {name for name, other in pairs if _is_softmax(values[name], of=values[other])}
        if len(probabilities) == 1:
            return probabilities.pop()
    found = ", ".join(f"{name} {_shape_in_words(each.shape)}" for name, each in gives.items())
    raise ExportError(
        f"{path} gives {found or 'nothing'}. Expected one output (batch, classes): "
        "save it with a signature that returns the class scores alone."
    )


def _is_softmax(values: npt.NDArray[Any], *, of: npt.NDArray[Any]) -> bool:
    return values.shape == of.shape and np.allclose(values, tf.nn.softmax(of), atol=_TOLERANCE)


def _images(spec: tf.TensorSpec) -> npt.NDArray[np.float32]:
    """Random raw images of the size, and the number, that a signature takes."""
    batch, *size = spec.shape.as_list()
    shape = (batch or _NUM_IMAGES, *(96 if each is None else each for each in size))
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Rebuilt:
    """The same graph with constant weights, for any number of images, up to its last softmax or sigmoid."""

    function: Callable[[Any], Any]
    activation: str | None


def _rebuilt(served: _Served) -> _Rebuilt | None:
    """The signature's graph built again; None if that does not give the same."""
    try:
        frozen = convert_variables_to_constants_v2(served.function)
        flat = sorted(served.function.structured_outputs)  # the order in which outputs are flattened
        tensor = frozen.outputs[flat.index(served.output)]
        while tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        activation = _ACTIVATIONS.get(tensor.op.type)
        scores = tensor if activation is None else tensor.op.inputs[0]
        found = _Rebuilt(function=_without_batch_size(served, frozen, scores), activation=activation)
        equal = _gives_the_same(found, served)
    except (ValueError, IndexError, tf.errors.OpError):  # a graph that needs its batch size, or tables
        return None
    return found if equal else None


def _without_batch_size(served: _Served, frozen: Any, scores: Any) -> Callable[[Any], Any]:
    graph, fed = frozen.graph.as_graph_def(), frozen.inputs[0].name

    def classify(images: Any) -> Any:
        return tf.import_graph_def(graph, input_map={fed: images}, return_elements=[scores.name])[0]

    spec = tf.TensorSpec((None, *served.input.shape[1:]), served.input.dtype)
    function = tf.compat.v1.wrap_function(classify, [spec])
    return lambda images: function(tf.cast(images, served.input.dtype))


def _gives_the_same(rebuilt: _Rebuilt, served: _Served) -> bool:
    """Whether single images give what they give in the signature's batch."""
    images = _images(served.input)
    expected = np.asarray(served(images))
    activation = keras.activations.get(rebuilt.activation)
    for each in (0, len(images) - 1):
        found = np.asarray(activation(rebuilt.function(images[[each]])))
        if found.shape != expected[[each]].shape or not _close(found, expected[[each]]):
            return False
    return True


def _one_by_one(served: _Served) -> Callable[[Any], Any]:
    """A function of any number of images from one of a single image."""

    def classify(images: Any) -> Any:
        if images.shape[0] == 1:
            return served(images)
        single = tf.TensorSpec(served.function.structured_outputs[served.output].shape[1:], tf.float32)
        return tf.map_fn(lambda image: served(image[tf.newaxis])[0], images, fn_output_signature=single)

    return classify


def _close(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    return np.allclose(found, expected, rtol=0, atol=_TOLERANCE * max(float(np.abs(expected).max()), 1e-12))

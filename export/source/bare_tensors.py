"""A model that takes one bare tensor of floats and gives one, whatever it was saved with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from export.errors import ExportError
from export.source.half_precision import rebuilt
from keras_graph.walk import is_graph, structure

_WHOLE = ("int", "uint")
_NUM_PROVEN = 4
_TOLERANCE = 1e-5
"""Share of the largest output."""


def with_bare_tensors(model: keras.Model) -> keras.Model:
    """The same layers and weights, called with a float32 tensor (batch, ...), giving a tensor.

    A dictionary or list of one input or output becomes that tensor, and an input of whole numbers, such as
    uint8, one of float32. The model itself if it is so already, or has several inputs or outputs. Raises
    ExportError if it computes something else with floats, as integers that overflow.
    """
    if not is_graph(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        return model
    if any(keras.tree.is_nested(structure(model, which)) for which in ("inputs", "outputs")):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return _with_float_input(model) if _is_whole(model.inputs[0].dtype) else model


def _with_float_input(model: keras.Model) -> keras.Model:
    floats: keras.Model = rebuilt(model, _without_whole_inputs(model.get_config()))
    _, *shape = (size or 1 for size in model.inputs[0].shape)
    pixels = np.random.default_rng(0).integers(0, 256, (_NUM_PROVEN, *shape), np.uint8)
    expected = np.asarray(model(pixels.astype(model.inputs[0].dtype), training=False))
    found = np.asarray(floats(pixels.astype(np.float32), training=False))
    if not np.allclose(found, expected, rtol=0, atol=_TOLERANCE * float(np.abs(expected).max())):
        raise ExportError(
            f"'{model.name}' computes with {model.inputs[0].dtype} pixels what it does not with floats. "
            "Expected a Rescaling, or a cast to float32, right after its input. Add one and save it again."
        )
    return floats


def _without_whole_inputs(config: Any) -> Any:
    """A configuration in which each InputLayer of whole numbers takes float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "InputLayer" and _is_whole(config["config"].get("dtype")):
            return {**config, "config": {**config["config"], "dtype": "float32"}}
        return {key: _without_whole_inputs(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_without_whole_inputs(value) for value in config)
    return config


def _is_whole(dtype: Any) -> bool:
    return isinstance(dtype, str) and dtype.startswith(_WHOLE)

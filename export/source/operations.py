"""Keras 3's bare operations, such as `x / 255`, in HDF5 files, which name their class and no module."""

from __future__ import annotations

from typing import Any

import keras
from keras.src import ops

_MODULES = (ops.core, ops.image, ops.math, ops.nn, ops.numpy)


def operation_classes() -> dict[str, Any]:
    """Class name -> the operation's class, or what tells it from the layer of the same name, such as Add."""
    classes = [each for module in _MODULES for each in vars(module).values() if isinstance(each, type)]
    operations = {each.__name__: each for each in classes if issubclass(each, keras.Operation)}
    return {name: _told_from_layer(name, each) for name, each in operations.items()}


def _told_from_layer(name: str, operation: Any) -> Any:
    layer = getattr(keras.layers, name, None)
    if layer is None:
        return operation

    def from_config(config: dict[str, Any]) -> Any:
        # a layer's configuration says whether it is trainable, an operation's does not
        return (layer if "trainable" in config else operation).from_config(config)

    return type(name, (), {"from_config": staticmethod(from_config)})

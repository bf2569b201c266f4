"""Models trained in half or mixed precision, rebuilt to compute in float32 with the same variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_HALF = ("float16", "bfloat16")
_HALF_POLICIES = (*_HALF, *(f"mixed_{each}" for each in _HALF))
_POLICY_CLASSES = ("Policy", "PolicyV1", "DTypePolicy", "FloatDTypePolicy")


def half_policy(model: Any) -> str | None:
    """The dtype policy of the layers that compute in half precision, such as mixed_float16; else None."""
    for layer in _layers(model):
        policy = getattr(getattr(layer, "dtype_policy", None), "name", None)
        if policy in _HALF_POLICIES:
            return str(policy)
    return None


def in_float32(model: Any) -> Any:
    """The same layers and names with float32 as their policy, and the model's weights.

    Mixed precision keeps its variables in float32, so that nothing is rounded. Takes a functional or
    Sequential model of Keras 3 or tf_keras.
    """
    return rebuilt(model, _without_half(model.get_config()))


def rebuilt(model: Any, config: Any) -> Any:
    """The model that a changed configuration describes, with the weights of the given one."""
    changed = type(model).from_config(config)
    if not changed.built:
        changed.build(model.input_shape)
    changed.set_weights(model.get_weights())
    for layer in _layers(changed):
        if type(layer).__name__ == "Normalization" and layer.built:
            layer.finalize_state()  # its mean and variance are read from the weights once
    return changed


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def _without_half(config: Any) -> Any:
    """A configuration in which each half or mixed precision is float32."""
    if isinstance(config, dict):
        if config.get("class_name") in _POLICY_CLASSES and config["config"].get("name") in _HALF_POLICIES:
            return "float32"
        return {
            key: "float32" if _is_half(key, value) else _without_half(value) for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_without_half(value) for value in config)
    return config


def _is_half(key: Any, value: Any) -> bool:
    return isinstance(value, str) and value in _HALF_POLICIES and "dtype" in str(key)

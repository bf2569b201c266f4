"""TensorFlow operations inside a functional Keras 2 model, as Keras 3 layers or operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from export.errors import BadModelFileError

OP_LAYERS = ("TFOpLambda", "SlicingOpLambda")
"""The tf_keras layers that stand for one TensorFlow function each."""


def carried_op(layer: Any, name: str, args: list[Any], kwargs: Mapping[str, Any]) -> Any:
    """The output of the function that an operation layer stands for, given Keras 3 tensors.

    Arithmetic with numbers becomes a Rescaling. Raises BadModelFileError with the layer's name for a function
    that is not known here.
    """
    symbol = str(layer.get_config()["function"])
    carried = _FUNCTIONS.get(symbol.rpartition(".")[2])
    if carried is None:
        raise _unknown(layer, symbol)
    given = {key: _plain(value) for key, value in kwargs.items() if key not in ("name", "data_format")}
    try:
        return carried(name, *map(_plain, args), **given)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise _unknown(layer, f"{symbol} with these arguments ({' '.join(str(error).split())})") from error


def _unknown(layer: Any, symbol: str) -> BadModelFileError:
    return BadModelFileError(
        f"the layer '{layer.name}' computes tf.{symbol}, which cannot be carried over to Keras 3. "
        "Replace it by a layer and save the model again."
    )


def _plain(value: Any) -> Any:
    """Constants as numbers or NumPy arrays, slices as slices."""
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else list(map(_plain, value))
    if _is_tensor(value) or not hasattr(value, "numpy"):
        return value
    array = value.numpy()
    return array.item() if np.ndim(array) == 0 else array


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _per_channel(value: Any, tensor: Any) -> Any:
    """A constant as one number or one per channel, as Rescaling takes it; None if it is neither."""
    array = np.asarray(value, np.float64)
    if array.size == 1:
        return float(array.ravel()[0])
    if array.size == tensor.shape[-1] and array.shape[-1] == array.size:
        return array.ravel().tolist()
    return None


def _affine(name: str, tensor: Any, *, scale: Any = 1.0, offset: Any = 0.0) -> Any:
    factor, shift = _per_channel(scale, tensor), _per_channel(offset, tensor)
    if factor is not None and shift is not None and "float" in str(tensor.dtype):
        return keras.layers.Rescaling(factor, shift, name=name)(tensor)
    return tensor * np.asarray(scale, np.float32) + np.asarray(offset, np.float32)


def _add(name: str, x: Any, y: Any) -> Any:
    if _is_tensor(x) and _is_tensor(y):
        return keras.layers.Add(name=name)([x, y]) if len(x.shape) == len(y.shape) else keras.ops.add(x, y)
    return _affine(name, x, offset=y) if _is_tensor(x) else _affine(name, y, offset=x)


def _subtract(name: str, x: Any, y: Any) -> Any:
    if _is_tensor(x) and _is_tensor(y):
        same = len(x.shape) == len(y.shape)
        return keras.layers.Subtract(name=name)([x, y]) if same else keras.ops.subtract(x, y)
    if _is_tensor(x):
        return _affine(name, x, offset=-np.asarray(y, np.float64))
    return _affine(name, y, scale=-1.0, offset=x)


def _multiply(name: str, x: Any, y: Any) -> Any:
    if _is_tensor(x) and _is_tensor(y):
        same = len(x.shape) == len(y.shape)
        return keras.layers.Multiply(name=name)([x, y]) if same else keras.ops.multiply(x, y)
    return _affine(name, x, scale=y) if _is_tensor(x) else _affine(name, y, scale=x)


def _divide(name: str, x: Any, y: Any) -> Any:
    if _is_tensor(x) and not _is_tensor(y):
        return _affine(name, x, scale=1 / np.asarray(y, np.float64))
    return keras.ops.divide(x, y)


def _bias_add(name: str, value: Any, bias: Any) -> Any:
    return _add(name, value, bias)


def _relu6(name: str, features: Any) -> Any:
    return keras.layers.ReLU(6.0, name=name)(features)


def _leaky_relu(name: str, features: Any, alpha: float = 0.2) -> Any:
    return keras.layers.LeakyReLU(negative_slope=alpha, name=name)(features)


def _gelu(name: str, features: Any, approximate: bool = False) -> Any:
    if approximate:
        return keras.ops.gelu(features, approximate=True)
    return keras.layers.Activation("gelu", name=name)(features)


def _softmax(name: str, logits: Any, axis: int | None = None) -> Any:
    return keras.layers.Softmax(axis=-1 if axis is None else axis, name=name)(logits)


def _clip(name: str, t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    if not clip_value_min:
        return keras.layers.ReLU(float(clip_value_max), name=name)(t)
    return keras.ops.clip(t, clip_value_min, clip_value_max)


def _mean(name: str, input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
    if _over_positions(input_tensor, axis):
        return keras.layers.GlobalAveragePooling2D("channels_last", bool(keepdims), name=name)(input_tensor)
    return keras.ops.mean(input_tensor, axis=axis, keepdims=bool(keepdims))


def _max(name: str, input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
    if _over_positions(input_tensor, axis):
        return keras.layers.GlobalMaxPooling2D("channels_last", bool(keepdims), name=name)(input_tensor)
    return keras.ops.max(input_tensor, axis=axis, keepdims=bool(keepdims))


def _sum(name: str, input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: ARG001
    return keras.ops.sum(input_tensor, axis=axis, keepdims=bool(keepdims))


def _over_positions(tensor: Any, axis: Any) -> bool:
    rank = len(tensor.shape)
    return rank == 4 and isinstance(axis, list | tuple) and sorted(each % rank for each in axis) == [1, 2]


def _concat(name: str, values: Any, axis: int) -> Any:
    return keras.layers.Concatenate(axis=axis, name=name)(values)


def _reshape(name: str, tensor: Any, shape: Any) -> Any:
    batch, *rest = shape
    if _is_tensor(batch) or batch != -1 or not all(isinstance(each, int) for each in rest):
        raise ValueError("the batch must be the first, as -1")
    return keras.layers.Reshape(rest, name=name)(tensor)


def _cast(name: str, x: Any, dtype: Any) -> Any:  # noqa: ARG001
    word = getattr(dtype, "name", dtype)
    return x if str(x.dtype) == word else keras.ops.cast(x, word)


def _identity(name: str, input: Any) -> Any:
    return keras.layers.Identity(name=name)(input)


def _getitem(name: str, tensor: Any, slice_spec: Any) -> Any:  # noqa: ARG001
    return tensor[slice_spec]


def _transpose(name: str, a: Any, perm: Any = None, conjugate: bool = False) -> Any:  # noqa: ARG001
    return keras.ops.transpose(a, perm)


def _resize(name: str, images: Any, size: Any, method: str = "bilinear", antialias: bool = False) -> Any:  # noqa: ARG001
    height, width = (int(each) for each in size)
    return keras.ops.image.resize(images, (height, width), interpolation=method, antialias=bool(antialias))


def _activation(word: str) -> Callable[..., Any]:
    def carried(name: str, x: Any = None, features: Any = None) -> Any:
        return keras.layers.Activation(word, name=name)(features if x is None else x)

    return carried


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose arguments have the same order in Keras 3 and in TensorFlow."""

    def carried(name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return function(*args, *kwargs.values())

    return carried


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": _plainly(keras.ops.abs),
    "add": _add,
    "bias_add": _bias_add,
    "cast": _cast,
    "clip_by_value": _clip,
    "concat": _concat,
    "divide": _divide,
    "elu": _activation("elu"),
    "exp": _plainly(keras.ops.exp),
    "expand_dims": _plainly(keras.ops.expand_dims),
    "gelu": _gelu,
    "getitem": _getitem,
    "identity": _identity,
    "leaky_relu": _leaky_relu,
    "maximum": _plainly(keras.ops.maximum),
    "minimum": _plainly(keras.ops.minimum),
    "multiply": _multiply,
    "negative": _plainly(keras.ops.negative),
    "pow": _plainly(keras.ops.power),
    "reduce_max": _max,
    "reduce_mean": _mean,
    "reduce_sum": _sum,
    "relu": _activation("relu"),
    "relu6": _relu6,
    "reshape": _reshape,
    "resize": _resize,
    "rsqrt": _plainly(keras.ops.rsqrt),
    "selu": _activation("selu"),
    "sigmoid": _activation("sigmoid"),
    "silu": _activation("silu"),
    "softmax": _softmax,
    "softplus": _activation("softplus"),
    "sqrt": _plainly(keras.ops.sqrt),
    "square": _plainly(keras.ops.square),
    "squeeze": _plainly(keras.ops.squeeze),
    "stack": _plainly(keras.ops.stack),
    "subtract": _subtract,
    "swish": _activation("silu"),
    "tanh": _activation("tanh"),
    "transpose": _transpose,
    "truediv": _divide,
}
"""By the last word of TensorFlow's name; arguments are named as TensorFlow names them."""

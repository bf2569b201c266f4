"""The devices of this machine that a training is spread over."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import tensorflow as tf


def scope(at_most: int) -> AbstractContextManager[Any]:
    """A model made within it is trained on the GPUs of this machine, each with its part of a batch.

    On `at_most` of them; without a GPU, on logical CPUs, of which TensorFlow has one unless told otherwise.
    Each step ends with one set of weights, those that one device would have got, but for rounding and for
    dropout's draws.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = tuple(device.name for device in devices[:at_most])
    return _mirrored(names).scope() if len(names) > 1 else nullcontext()


@functools.cache
def _mirrored(names: tuple[str, ...]) -> tf.distribute.Strategy:
    """One for the whole process: TensorFlow mixes up the sums over devices of a second one."""
    return tf.distribute.MirroredStrategy(names)


def replicas_of(model: keras.Model) -> int:
    """The number of devices that a model is trained on; each batch must have an image for each.

    TensorFlow's convolution of no image, where it takes oneDNN, has the wrong number of channels.
    """
    return int(model.distribute_strategy.num_replicas_in_sync)


def size_without_small_rest(batch_size: int, *, num_images: int, replicas: int) -> int:
    """The size nearest below `batch_size`, or above, whose last batch has an image for each device."""
    sizes = [*range(batch_size, replicas - 1, -1), *range(batch_size + 1, num_images + 1)]
    found: int = next(size for size in sizes if not 0 < num_images % size < replicas)
    return found


def num_replicas() -> int:
    """The number of devices that the code being traced is for."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def of_all_images(losses: Any) -> Any:  # noqa: ANN401 - TensorFlow carries no types
    """Losses (b,) of one device, with gradients that add up to those of the mean over all devices' images.

    Keras takes the mean over devices of their means, which counts images of a smaller part more.
    """
    replicas, context = num_replicas(), tf.distribute.get_replica_context()
    if replicas == 1 or context is None:
        return losses
    ours = tf.cast(tf.shape(losses)[0], tf.float32)
    share = replicas * ours / context.all_reduce(tf.distribute.ReduceOp.SUM, ours)
    scaled = losses * share
    return scaled + tf.stop_gradient(losses - scaled)

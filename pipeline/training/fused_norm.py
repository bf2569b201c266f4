"""Runs Keras's BatchNormalization by TensorFlow's fused kernel while a model is trained.

Keras 3 computes moments, scaling and their gradients with a dozen elementwise operators, each of which reads
the whole tensor. TensorFlow's FusedBatchNormV3, which tf_keras uses too, reads it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from keras_graph.walk import named_layers


@contextmanager
def fused_norms(model: keras.Model) -> Iterator[None]:
    """Within it, the model's BatchNormalizations use the fused kernel; afterwards they are plain again.

    A function traced within it keeps the kernel. Layers with a mask, renorm, another axis than the last or a
    rank other than 4 compute as before.
    """
    changed = [layer for _, layer in named_layers(model) if type(layer) is keras.layers.BatchNormalization]
    for layer in changed:
        layer.__class__ = _Fused
    try:
        yield
    finally:
        for layer in changed:
            layer.__class__ = keras.layers.BatchNormalization


class _Fused(keras.layers.BatchNormalization):
    """The same layer, variables and configuration."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401
        frozen = bool(training) and not self.trainable
        # no deterministic gradient on a GPU with frozen statistics, so these take Keras's own operators
        if mask is not None or self.renorm or frozen or self.axis not in (-1, 3) or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        inputs = tf.convert_to_tensor(inputs)
        size = inputs.shape[-1]
        gamma = tf.cast(self.gamma, tf.float32) if self.scale else tf.ones(size)
        beta = tf.cast(self.beta, tf.float32) if self.center else tf.zeros(size)
        if not training:
            outputs, _, _ = tf.compat.v1.nn.fused_batch_norm(
                inputs,
                gamma,
                beta,
                mean=tf.cast(self.moving_mean, tf.float32),
                variance=tf.cast(self.moving_variance, tf.float32),
                epsilon=self.epsilon,
                is_training=False,
            )
            return tf.cast(outputs, self.compute_dtype)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)
        # the kernel gives the unbiased variance, Keras keeps the biased one
        count = tf.cast(tf.size(inputs) // size, tf.float32)
        self._keep(self.moving_mean, mean)
        self._keep(self.moving_variance, variance * (count - 1.0) / count)
        return tf.cast(outputs, self.compute_dtype)

    def _keep(self, variable: keras.Variable, value: Any) -> None:  # noqa: ANN401
        variable.assign(variable * self.momentum + value * (1.0 - self.momentum))

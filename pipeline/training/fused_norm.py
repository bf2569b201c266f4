"""BatchNormalization by TensorFlow's fused kernel.

Keras 3 computes moments, scaling and their gradients with a dozen elementwise operators, each of which reads
the whole tensor. TensorFlow's FusedBatchNormV3, which tf_keras uses too, reads it twice.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from pipeline.training.devices import num_replicas

_WIDTH = {tf.bfloat16: 16, tf.float32: 8}
"""oneDNN's fast kernels take whole vectors of channels; others go to one that is up to ten times slower."""
_PADDED_TO = 16


class FusedNorm(keras.layers.BatchNormalization):
    """Keras's layer, variables and configuration; a mask, renorm or a rank other than 4 compute as there."""

    synchronized: bool

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401
        frozen = bool(training) and not self.trainable
        if training and not frozen and num_replicas() > 1:
            return self._over_all_devices(inputs, mask)
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
        outputs, mean, variance = _normalised(inputs, gamma, beta, self.epsilon)
        # the kernel gives the unbiased variance, Keras keeps the biased one
        count = tf.cast(tf.size(inputs) // size, tf.float32)
        self._keep(self.moving_mean, mean)
        self._keep(self.moving_variance, variance * (count - 1.0) / count)
        return tf.cast(outputs, self.compute_dtype)

    def _over_all_devices(self, inputs: Any, mask: Any) -> Any:  # noqa: ANN401
        """By the statistics of the whole batch, not of this device's part of it."""
        kept, self.synchronized = self.synchronized, True
        try:
            return super().call(inputs, training=True, mask=mask)
        finally:
            self.synchronized = kept

    def _keep(self, variable: keras.Variable, value: Any) -> None:  # noqa: ANN401
        variable.assign(variable * self.momentum + value * (1.0 - self.momentum))


def _normalised(inputs: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """Outputs, the batch's means and its unbiased variances."""
    size = inputs.shape[-1]
    if not size % _WIDTH.get(inputs.dtype, 1) or tf.config.list_logical_devices("GPU"):
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=epsilon)
        return outputs, mean, variance
    outputs, mean, variance = _padded(inputs, gamma, beta, -size % _PADDED_TO, epsilon)
    return outputs, mean, variance


def _padded(inputs: Any, gamma: Any, beta: Any, missing: int, epsilon: float) -> Any:  # noqa: ANN401
    """The same with `missing` channels of zeros beside the others; a slice's own gradient would be slow."""
    size = inputs.shape[-1]
    zeros = tf.zeros([*tf.unstack(tf.shape(inputs)[:-1]), missing], inputs.dtype)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def padded(inputs: Any, gamma: Any, beta: Any) -> Any:  # noqa: ANN401
        wide, scale = tf.concat([inputs, zeros], -1), tf.pad(gamma, [[0, missing]])
        found = tf.raw_ops.FusedBatchNormV3(
            x=wide, scale=scale, offset=tf.pad(beta, [[0, missing]]), mean=[], variance=[], epsilon=epsilon
        )

        def gradient(by_output: Any, *_: Any) -> Any:  # noqa: ANN401
            by_input, by_gamma, by_beta, _, _ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=tf.concat([by_output, zeros], -1),
                x=wide,
                scale=scale,
                reserve_space_1=found.reserve_space_1,
                reserve_space_2=found.reserve_space_2,
                reserve_space_3=found.reserve_space_3,
                epsilon=epsilon,
            )
            return by_input[..., :size], by_gamma[:size], by_beta[:size]

        return (found.y[..., :size], found.batch_mean[:size], found.batch_variance[:size]), gradient

    return padded(inputs, gamma, beta)

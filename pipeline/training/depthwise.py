"""Depthwise convolutions in bfloat16 on a CPU, with the gradient by the input in float32.

TensorFlow 2.21 has no fast bfloat16 kernel for it on CPUs: it took half of a MobileNet's training step.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Depthwise(keras.layers.DepthwiseConv2D):
    """Keras's layer, variables and configuration; bias, dilation and other layouts compute as there."""

    def call(self, inputs: Any) -> Any:  # noqa: ANN401
        is_plain = not self.use_bias and self.activation is keras.activations.linear
        is_plain = is_plain and self.data_format == "channels_last" and set(self.dilation_rate) == {1}
        if self.compute_dtype != "bfloat16" or not is_plain or tf.config.list_logical_devices("GPU"):
            return super().call(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        return _convolved(inputs, kernel, strides=[1, *self.strides, 1], padding=self.padding.upper())


def _convolved(inputs: Any, kernel: Any, *, strides: list[int], padding: str) -> Any:  # noqa: ANN401
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolved(inputs: Any, kernel: Any) -> Any:  # noqa: ANN401
        def gradient(by_output: Any) -> Any:  # noqa: ANN401
            by_input = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(inputs),
                tf.cast(kernel, tf.float32),
                tf.cast(by_output, tf.float32),
                strides,
                padding,
            )
            by_kernel = tf.nn.depthwise_conv2d_backprop_filter(
                inputs, kernel.shape, by_output, strides, padding
            )
            return tf.cast(by_input, inputs.dtype), by_kernel

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, padding), gradient

    return convolved(inputs, kernel)

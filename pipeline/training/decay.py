"""Sets weight decay on a model's weights."""

from __future__ import annotations

import keras

from keras_graph.walk import named_layers
from pipeline.records.training import TrainConfig

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def set_weight_decay(model: keras.Model, config: TrainConfig) -> list[str]:
    """Sets the L2 penalty on the weights that the settings ask for, and returns their paths.

    Convolution and dense kernels are always decayed; depthwise kernels, BatchNorm's gamma and beta, and
    biases only if the settings say so. Adds weight_decay / 2 * sum(w**2) to the loss, as in the papers
    (Caffe, Torch), unlike a decoupled optimizer such as AdamW.
    """
    if config.weight_decay == 0.0:
        return []
    penalty = keras.regularizers.L2(config.weight_decay / 2)
    decayed = []
    for _, layer in named_layers(model):
        for variable in layer.trainable_weights:
            if _is_decayed(layer, variable, config):
                variable.regularizer = penalty
                decayed.append(variable.path)
    return decayed


def _is_decayed(layer: keras.Layer, variable: keras.Variable, config: TrainConfig) -> bool:
    # SeparableConv2D has a depthwise_kernel and a pointwise_kernel
    if not variable.name.endswith("kernel"):
        return config.decay_norm_and_bias
    if isinstance(layer, _DEPTHWISE) or variable.name == "depthwise_kernel":
        return config.decay_depthwise
    return True

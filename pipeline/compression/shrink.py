"""Pruning and clustering of a tf_keras twin by TensorFlow Model Optimization, and the results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_wrapper

from pipeline.compression.preserve import MOST_CLUSTERS
from pipeline.errors import PipelineError
from pipeline.records.compression import PAPER_PRESET, CompressConfig, LayerReached, paper_sparsities
from spelling import did_you_mean, some

_KERNELS: Mapping[str, str] = {
    "Conv2D": "kernel",
    "Dense": "kernel",
}
"""The layers that TFMOT prunes and clusters, and their weight. Depthwise kernels are left out."""

_PRUNED = 0.05
"""A kernel with at least this share of zeros was pruned: training leaves no weight exactly zero."""
_BLOCK = (1, 16)
"""(input, output) channels: 16 outputs ignore the same input."""
_FREQUENCY = 10
"""Steps between updates of the masks: still thousands of updates per training, at a tenth of the cost."""


def asked_sparsities(model: tf_keras.Model, config: CompressConfig) -> dict[str, float]:
    """Layer -> share of zeros to reach. One share for all leaves the first convolution unpruned.

    That layer has few weights and reads every pixel; Deep Compression and the SqueezeNet paper do not prune
    it. Raises PipelineError for an unknown layer, or one that cannot be pruned in the given pattern.
    """
    kernels = kernels_of(model)
    _check_names(model, kernels, [*config.prune_layers, *config.skip_layers], skipped=config.skip_layers)
    asked = dict(config.prune_layers)
    if config.prune is not None:
        first = next(iter(kernels), None)
        for name in kernels:
            if name not in asked and name != first and name not in config.skip_layers:
                asked[name] = config.prune
    if config.prune_pattern == "1x16":
        asked = _only_matrices(asked, kernels, named=config.prune_layers)
    if "prune" in config.steps and not asked:
        raise PipelineError(
            f"'{model.name}' has no layer that can be pruned: convolutions and Dense after the first, "
            "none of them skipped, were expected."
        )
    return asked


def prune(model: tf_keras.Model, config: CompressConfig, *, end_step: int) -> tf_keras.Model:
    """The twin with pruning wrappers: the shares of zeros rise as a cubic until step `end_step`."""
    asked = asked_sparsities(model, config)
    frequency = _FREQUENCY if end_step > 10 * _FREQUENCY else 1
    end_step = max(1, end_step - end_step % frequency)  # else the last share is never reached

    def wrapped(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if layer.name not in asked:
            return layer
        # begins with a share of zeros that costs nothing, as TFMOT's guide does
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=min(0.25, asked[layer.name] / 2),
            final_sparsity=asked[layer.name],
            begin_step=0,
            end_step=end_step,
            frequency=frequency,
        )
        if config.prune_pattern == "1x16":
            return _PruneBlocks(layer, pruning_schedule=schedule)
        rows = {"sparsity_m_by_n": (2, 4)} if config.prune_pattern == "2:4" else {}
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule, **rows)

    return with_wrapped_layers(model, wrapped)


class _PruneBlocks(pruning_wrapper.PruneLowMagnitude):
    """Prunes blocks of 16 output channels, also in 1x1 convolutions.

    TFMOT's check refuses kernels of four dimensions, although its pruning squeezes them.
    """

    def build(self, input_shape: Any) -> None:  # noqa: ANN401
        """Builds the wrapper, then sets the size of the blocks."""
        super().build(input_shape)
        self.pruning_obj._block_size = list(_BLOCK)


def cluster(model: tf_keras.Model, config: CompressConfig) -> tf_keras.Model:
    """The twin with clustering wrappers; zeros stay zero and are one of the clusters.

    Centroids start evenly spaced from the smallest to the largest weight, which Deep Compression
    (arXiv:1510.00149, section 5) found best, since large weights are few but important.
    """
    assert config.cluster is not None
    num_clusters = config.cluster
    names = clustered_layers(model, config)
    pruned = pruned_layers(model, config)

    def wrapped(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if layer.name not in names:
            return layer
        return tfmot.clustering.keras.cluster_weights(
            layer,
            number_of_clusters=num_clusters,
            cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.LINEAR,
            preserve_sparsity=layer.name in pruned,
        )

    return with_wrapped_layers(model, wrapped)


def clustered_layers(model: tf_keras.Model, config: CompressConfig) -> tuple[str, ...]:
    """The layers that are to have few values: those to cluster, or else those that came clustered.

    To cluster are those with more weights than clusters that are not skipped.
    """
    kernels = kernels_of(model)
    _check_names(model, kernels, config.skip_layers, skipped=config.skip_layers)
    if config.cluster is None:
        return config.kept_clusters
    return tuple(
        name
        for name, kernel in kernels.items()
        if name not in config.skip_layers and kernel.size > config.cluster
    )


def came_clustered(model: tf_keras.Model, config: CompressConfig) -> tuple[str, ...]:
    """The layers whose kernels have few values already: each, on average, in two weights or more."""
    return tuple(
        name
        for name, kernel in kernels_of(model).items()
        if name not in config.skip_layers
        and 1 < (num_values := len(np.unique(kernel[kernel != 0]))) <= MOST_CLUSTERS
        and np.count_nonzero(kernel) >= 2 * num_values
    )


def pruned_layers(model: tf_keras.Model, config: CompressConfig) -> tuple[str, ...]:
    """The layers whose zeros must stay: those pruned here and those pruned before."""
    asked = asked_sparsities(model, config) if "prune" in config.steps else {}
    came = [
        name
        for name, kernel in kernels_of(model).items()
        if name not in config.skip_layers and _PRUNED <= np.mean(kernel == 0) < 1
    ]
    return tuple(dict.fromkeys([*asked, *came]))


def kernels_of(model: tf_keras.Model) -> dict[str, np.ndarray[Any, Any]]:
    """Layer -> kernel, for the layers that can be pruned and clustered, in network order."""
    return {
        layer.name: getattr(layer, _KERNELS[type(layer).__name__]).numpy()
        for layer in model.layers
        if type(layer).__name__ in _KERNELS
    }


def reached(model: tf_keras.Model, config: CompressConfig) -> tuple[LayerReached, ...]:
    """The requested and the reached compression of each layer."""
    asked = asked_sparsities(model, config) if "prune" in config.steps else {}
    clustered = clustered_layers(model, config) if config.cluster is not None else ()
    return tuple(
        LayerReached(
            layer=name,
            num_weights=int(kernel.size),
            sparsity_asked=asked.get(name),
            sparsity=float(np.mean(kernel == 0)),
            clusters_asked=config.cluster if name in clustered else None,
            num_values=len(np.unique(kernel)),
        )
        for name, kernel in kernels_of(model).items()
    )


def with_wrapped_layers(model: tf_keras.Model, wrapped: Callable[[Any], Any]) -> tf_keras.Model:
    """A copy of the model with its weights and some layers wrapped; a wrapper gets its layer's kernel."""

    def copied(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        if layer.weights:
            with tf.name_scope(layer.name):  # of the variables' names, as a call of the layer gives them
                copy.build(layer.get_build_config()["input_shape"])
            copy.set_weights(layer.get_weights())
        return wrapped(copy)

    return tf_keras.models.clone_model(model, clone_function=copied)


def check_skipped(model: tf_keras.Model, config: CompressConfig) -> None:
    """Raises PipelineError for an unknown layer to skip."""
    _check_names(model, kernels_of(model), config.skip_layers, skipped=config.skip_layers)


def _check_names(
    model: tf_keras.Model, kernels: Collection[str], names: Collection[str], *, skipped: Collection[str]
) -> None:
    known = {layer.name for layer in model.layers}
    for name in names:
        if name not in (known if name in skipped else kernels):
            kind = "layer" if name not in known else "layer that can be pruned"
            of_paper = f" The table {PAPER_PRESET} is for SqueezeNet." if name in paper_sparsities() else ""
            raise PipelineError(
                f"'{model.name}' has no {kind} '{name}'. {did_you_mean(name, known)}"
                f"Expected a layer such as {some(list(kernels), quoted=True)}.{of_paper}"
            )


def _only_matrices(
    asked: Mapping[str, float], kernels: Mapping[str, np.ndarray[Any, Any]], *, named: Collection[str]
) -> dict[str, float]:
    """The layers whose kernel is a matrix of more than one block: 1x1 convolutions and Dense."""
    matrices = {
        name
        for name, kernel in kernels.items()
        if set(kernel.shape[:-2]) <= {1} and kernel.shape[-2] > 1 and kernel.shape[-1] > _BLOCK[1]
    }
    for name in named:
        if name not in matrices:
            raise PipelineError(
                f"'{name}' has a kernel of {kernels[name].shape}, and blocks of 1x16 are for 1x1 "
                "convolutions and Dense of more than 16 outputs. Leave it out, or take --prune-pattern "
                "unstructured."
            )
    return {name: share for name, share in asked.items() if name in matrices}

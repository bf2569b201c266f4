"""Prepares a model for compression: adds the layers that int8 needs, makes its twin and checks it."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import numpy.typing as npt

from export import native_output
from export.errors import ExportError
from export.graph.equality import largest_difference
from export.graph.probabilities import without_probabilities
from export.graph.rescaling import Rescaling
from export.graph.rewrite import with_depthwise_before_norms, with_norms_in_dense
from export.plan import EQUALIZED_TOLERANCE, int8_plan
from export.quantization.calibrate import check_varied
from export.quantization.equalize import equalize_freely
from keras_graph.walk import named_layers
from pipeline.compression import quantize, shrink
from pipeline.compression.finetune import Images
from pipeline.compression.in_float import find_in_float, may_stay_in_float
from pipeline.compression.places import KERNELS
from pipeline.compression.twin import Twin, check_equal, make_twin
from pipeline.errors import PipelineError
from pipeline.records.compression import CompressConfig
from spelling import some

_NUM_CHECKED = 16
_NUM_EQUALIZED = 64
"""Number of training images to find channel ranges for equalizing; activation ranges use more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """The model to compress, and its twin; nothing is written yet."""

    given: keras.Model
    """The model as it came."""
    model: keras.Model
    """The future model.keras: on raw pixels, with its softmax or sigmoid and the layers that int8 needs."""
    graph: keras.Model
    """The twin's original: a copy of the model after the rescaling, up to the class scores."""
    twin: Twin
    rescaling: Rescaling
    config: CompressConfig
    float_cost: str = ""
    """What stays in float in the int8 file, in words; empty if nothing does."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before the training."""
        notes = [self.float_cost]
        if kept := self.config.kept_clusters:
            notes.append(f"{some(kept, quoted=True)}: came clustered, and {_keep(len(kept))} few values.")
        elif lost := self._clusters_lost:
            notes.append(
                f"{some(lost, quoted=True)}: came clustered, which pruning undoes. To cluster them "
                "again, add --cluster."
            )
        if left_out := self.twin.left_out:
            notes.append(
                f"{some(left_out, quoted=True)}: left out of the fine-tuning, whose own augmentation is "
                "--augment; "
                "model.keras keeps what changes images in training only."
            )
        if untrained := self.twin.untrained:
            notes.append(
                f"{some(untrained, quoted=True)}: not trained here, since tf_keras lacks such a layer."
            )
        return tuple(filter(None, notes))

    @property
    def _clusters_lost(self) -> tuple[str, ...]:
        ends_pruned = "prune" in self.config.steps and self.config.cluster is None
        return shrink.came_clustered(self.twin.model, self.config) if ends_pruned else ()

    @property
    def input_range(self) -> tuple[float, float]:
        """The network's input values for black and white."""
        black, white = self.rescaling(np.asarray([[0.0], [255.0]], np.float32))[:, 0]
        return float(black), float(white)


def prepare(model: keras.Model, config: CompressConfig) -> Prepared:
    """The twin of a model (batch, height, width, channels) raw 0-255 -> (batch, classes).

    Raises PipelineError, before anything slow, for an unknown layer name, nothing to prune or cluster, and a
    model that cannot be exported once it is trained quantized.
    """
    prepared = prepared_of(model, dataclasses.replace(config, kept_clusters=()))
    twin = prepared.twin
    shrink.check_skipped(twin.model, config)
    if "prune" in config.steps:
        shrink.asked_sparsities(twin.model, config)
    if config.cluster is not None and not shrink.clustered_layers(twin.model, config):
        raise PipelineError(
            f"'{model.name}' has no layer with more than {config.cluster} weights to cluster. "
            "Ask for fewer clusters, or skip fewer layers."
        )
    if config.is_quantized and not any(type(layer).__name__ in KERNELS for layer in twin.model.layers):
        raise PipelineError(
            f"'{model.name}' has no convolution or Dense that can be trained. Expected one or more. Export "
            "it with calibration instead: pipeline export --int8"
        )
    if config.steps == ("qat",):
        kept = shrink.came_clustered(twin.model, config)
        prepared = dataclasses.replace(prepared, config=dataclasses.replace(config, kept_clusters=kept))
    if config.is_quantized and may_stay_in_float(twin.model):
        return _with_float_layers(prepared)
    return prepared


def prepared_of(given: keras.Model, config: CompressConfig) -> Prepared:
    """The model and its twin."""
    model = with_depthwise_before_norms(with_norms_in_dense(given)) if config.is_quantized else given
    plan = int8_plan(_scores(model))
    twin = make_twin(plan.graph)
    _freeze_rescaling(twin, plan.graph, model)
    return Prepared(
        given=given,
        model=model,
        graph=plan.graph,
        twin=twin,
        rescaling=plan.rescaling,
        config=config,
    )


def equalized(prepared: Prepared, images: Images) -> Prepared:
    """The same with equalized channels where int8 follows and it costs nothing, as in DenseNet.

    Unchanged if equalizing would change an output on real images, or if kernels are clustered: these get one
    scale each, so a channel scaled up would make the others coarser. Raises ExportError if every training
    image has a single colour.
    """
    if not prepared.config.is_quantized:
        return prepared
    pixels = training_pixels(prepared, images, num_samples=_NUM_EQUALIZED)
    check_varied(pixels)
    if prepared.config.cluster is not None or prepared.config.kept_clusters:
        return prepared
    found = equalize_freely(prepared.given, pixels)
    if not found.done:
        return prepared
    difference = largest_difference(prepared.given, found.model, pixels[:_NUM_CHECKED])
    if difference > EQUALIZED_TOLERANCE:
        return prepared
    return dataclasses.replace(prepared_of(found.model, prepared.config), float_cost=prepared.float_cost)


def prove(prepared: Prepared, images: Images) -> None:
    """Raises PipelineError unless the twin has the model's outputs on real images."""
    pixels, _ = images.dataset.balanced_samples(
        "validation", image_size=images.image_size, num_samples=_NUM_CHECKED, seed=0
    )
    check_equal(prepared.graph, prepared.twin, prepared.rescaling(pixels.astype(np.float32)))


def take_back(prepared: Prepared) -> None:
    """Copies the weights of the twin's original back to the model."""
    kept = dict(named_layers(prepared.model))
    for path, trained in named_layers(prepared.graph):
        # a Sequential does not list its input
        if trained.weights and not _only_rescales(trained, kept[path]):
            kept[path].set_weights(trained.get_weights())


def _freeze_rescaling(twin: Twin, graph: keras.Model, model: keras.Model) -> None:
    """Keeps what stands in for a Normalization from being trained, since the model keeps its own."""
    kept = dict(named_layers(model))
    ids = {
        id(layer)
        for path, layer in named_layers(graph)
        if layer.weights and _only_rescales(layer, kept[path])
    }
    for name, origin in twin.layers.items():
        if id(origin.layer) in ids:
            twin.model.get_layer(name).trainable = False


def _only_rescales(layer: keras.Layer, original: keras.Layer) -> bool:
    """Whether a layer is of another type than the model's of its name: it does that one's rescaling."""
    return type(layer) is not type(original)


def training_pixels(prepared: Prepared, images: Images, *, num_samples: int) -> npt.NDArray[np.uint8]:
    """Training images (n, height, width, channels), raw 0-255, to read ranges from."""
    pixels, _ = images.dataset.calibration_pixels(
        image_size=images.image_size, num_samples=num_samples, seed=prepared.config.seed
    )
    return pixels


def _with_float_layers(prepared: Prepared) -> Prepared:
    """The same with the layers in its settings that stay in float, and what they cost."""
    config = dataclasses.replace(prepared.config, float_layers=())
    with native_output.captured():
        quantized = quantize.quantize(prepared.twin.model, config, input_range=prepared.input_range)
    found = find_in_float(prepared.model, quantized)
    config = dataclasses.replace(config, float_layers=found.layers)
    return dataclasses.replace(prepared, config=config, float_cost=found.in_words)


def _keep(number: int) -> str:
    return "keeps its" if number == 1 else "keep their"


def _scores(model: keras.Model) -> keras.Model:
    """The model without its softmax or sigmoid, if it has one."""
    try:
        return without_probabilities(model)
    except ExportError:
        return model

"""Pruning and clustering: what was asked for is what the kernels are, by layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

from export import native_output
from export.head import head_of
from models.build import build
from pipeline.compression.finetune import compile_twin
from pipeline.compression.prepare import prepare
from pipeline.compression.shrink import prune
from pipeline.errors import PipelineError
from pipeline.records.compression import CompressConfig, LayerReached, paper_sparsities

PAPER_AFTER_PRUNING = {
    # Iandola et al. 2016, arXiv:1602.07360, Table 1, "#parameter after pruning", biases included
    "conv1": 14_208,
    "fire2": 5_746,
    "fire3": 6_258,
    "fire4": 20_646,
    "fire5": 24_742,
    "fire6": 44_700,
    "fire7": 46_236,
    "fire8": 77_581,
    "fire9": 77_581,
    "conv10": 103_400,
}


def by_layer(compressed: Any) -> dict[str, LayerReached]:
    return {each.layer: each for each in compressed.record.compression.layers}


def kernel_of(model: keras.Model, layer: str) -> np.ndarray:
    return np.asarray(model.get_layer(layer).kernel)


@pytest.fixture(scope="module")
def pruned(compressed: Any, model_of: Any) -> Any:
    return compressed(model_of("own"), prune=0.6, prune_layers={"third": 0.9}, skip_layers=("scores",))


def test_every_layer_reaches_its_share_of_zeros(pruned: Any):
    reached = by_layer(pruned)
    for layer, asked in (("second", 0.6), ("third", 0.9)):
        kernel = kernel_of(pruned.model, layer)
        assert reached[layer].sparsity_asked == asked
        assert reached[layer].num_weights == kernel.size
        # to the nearest whole weight
        assert abs(np.sum(kernel == 0) - asked * kernel.size) <= 1
        assert reached[layer].sparsity == pytest.approx(np.mean(kernel == 0))


def test_first_convolution_and_skipped_layers_stay_whole(pruned: Any):
    reached = by_layer(pruned)
    for layer in ("first", "scores"):
        assert reached[layer].sparsity_asked is None
        assert reached[layer].sparsity == 0.0
        assert np.all(kernel_of(pruned.model, layer) != 0)


def test_small_weights_go_first(compressed: Any, model_of: Any):
    model = model_of("own")
    before = np.abs(kernel_of(model, "third"))
    # so small a learning rate leaves the order of the weights as it was
    after = kernel_of(compressed(model, prune=0.5, learning_rate=1e-9).model, "third")
    assert before[after == 0].max() <= before[after != 0].min()


def test_two_of_four_in_a_row_of_input_channels_are_zero(compressed: Any, model_of: Any):
    model = compressed(model_of("own"), prune=0.5, prune_pattern="2:4").model
    for layer in ("second", "third", "scores"):
        kernel = kernel_of(model, layer)
        # TFLite stores (out, h, w, in): in a row are input channels
        rows = np.moveaxis(kernel, -1, 0).reshape(-1, 4)
        assert np.all((rows == 0).sum(axis=1) == 2)


def test_blocks_of_sixteen_outputs_are_zero_together(compressed: Any, model_of: Any):
    done = compressed(model_of("own"), prune=0.5, prune_pattern="1x16")
    blocks = kernel_of(done.model, "second").reshape(-1, 16)
    empty = np.all(blocks == 0, axis=1)
    assert np.mean(empty) == pytest.approx(0.5, abs=1 / len(blocks))
    assert np.all(blocks[~empty] != 0)
    # blocks are for matrices alone
    assert by_layer(done)["third"].sparsity_asked is None
    assert np.all(kernel_of(done.model, "third") != 0)


def test_paper_preset_leaves_what_the_papers_table_counts(configured: Any):
    model = build("squeezenet", version="1.0", stem="imagenet", image_size=64, num_classes=1000)
    config: CompressConfig = configured(prune_layers=paper_sparsities())
    twin = prepare(model, config).twin.model
    with native_output.captured():
        pruning = prune(twin, config, end_step=1)
    compile_twin(pruning, config, head_of(pruning.output_shape[-1], has_sigmoid=False), rate=0.0)
    images, labels = np.zeros((2, 64, 64, 3), np.float32), np.zeros(2)
    pruning.fit(images, labels, batch_size=1, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()], verbose=0)
    stripped = tfmot.sparsity.keras.strip_pruning(pruning)

    found = dict.fromkeys(PAPER_AFTER_PRUNING, 0)
    for layer in stripped.layers:
        for weight in layer.get_weights():
            # biases are zero here, as they begin, and the paper counts all of them
            kept = weight.size if weight.ndim == 1 else np.count_nonzero(weight)
            found["conv10" if layer.name == "logits" else layer.name.split("_")[0]] += kept
    for name, expected in PAPER_AFTER_PRUNING.items():
        # to the nearest whole weight in each of a fire module's three layers
        assert abs(found[name] - expected) <= 3, name
    assert abs(sum(found.values()) - 421_098) <= 10


def test_clusters_are_at_most_as_many_as_asked_and_zeros_stay(compressed: Any, model_of: Any):
    done = compressed(model_of("own"), prune=0.5, cluster=8)
    for layer in ("first", "second", "third", "scores"):
        kernel = kernel_of(done.model, layer)
        assert len(np.unique(kernel)) <= 8
        assert by_layer(done)[layer].num_values == len(np.unique(kernel))
        assert by_layer(done)[layer].clusters_asked == 8
    for layer in ("second", "third", "scores"):
        assert np.mean(kernel_of(done.model, layer) == 0) >= 0.5 - 1 / 48


def test_layer_of_fewer_weights_than_clusters_is_left(compressed: Any, model_of: Any):
    done = compressed(model_of("own"), cluster=64)
    assert by_layer(done)["scores"].clusters_asked is None  # 16 x 3 weights
    assert by_layer(done)["third"].clusters_asked == 64


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"prune_layers": {"thrid": 0.5}},
            "no layer 'thrid'. Did you mean 'third'. Expected a layer such as 'first', 'second', 'third'",
        ),
        ({"prune_layers": {"mean": 0.5}}, "no layer that can be pruned 'mean'"),
        ({"prune_layers": {"conv10": 0.8}}, "is for SqueezeNet"),
        ({"prune": 0.5, "skip_layers": ("thrid",)}, "no layer 'thrid'"),
        ({"qat": True, "skip_layers": ("thrid",)}, "no layer 'thrid'"),
        ({"prune": 0.5, "skip_layers": ("second", "third", "scores")}, "no layer that can be pruned"),
        ({"prune_layers": {"third": 0.5}, "prune_pattern": "1x16"}, "1x1 convolutions and Dense"),
        ({"prune_layers": {"scores": 0.5}, "prune_pattern": "1x16"}, "more than 16 outputs"),
        ({"cluster": 256, "skip_layers": ("third", "second")}, "no layer with more than 256 weights"),
    ],
)
def test_layer_that_cannot_be_is_named_before_anything_is_done(
    settings: dict[str, Any], said: str, configured: Any, model_of: Any
):
    with pytest.raises(PipelineError, match=said) as caught:
        prepare(model_of("own"), configured(**settings))
    assert caught.value.exit_status == 1


def test_clustering_a_model_that_came_pruned_keeps_its_zeros(compressed: Any, pruned: Any):
    came = keras.models.clone_model(pruned.model)
    came.set_weights(pruned.model.get_weights())
    again = compressed(came, cluster=8)
    for layer in ("second", "third"):
        assert np.all(kernel_of(again.model, layer)[kernel_of(pruned.model, layer) == 0] == 0)


def test_pruning_a_model_that_came_clustered_says_what_is_lost(
    configured: Any, compressed: Any, model_of: Any
):
    before = compressed(model_of("own"), cluster=8)
    assert "which pruning undoes" in " ".join(prepare(before.model, configured(prune=0.5)).notes)
    assert prepare(model_of("own"), configured(prune=0.5)).notes == ()
    assert prepare(model_of("own"), configured(qat=True)).config.kept_clusters == ()

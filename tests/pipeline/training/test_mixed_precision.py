"""Trainings that compute in bfloat16: what is saved is float32, and as right as without."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.build import build
from models.registry import FAMILIES, family_of
from pipeline.data.dataset import Dataset
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.training.fast_layers import fast_layers
from pipeline.training.mixed_precision import in_bfloat16
from pipeline.training.trainer import start_run, train


@dataclasses.dataclass(frozen=True)
class Trained:
    run: Path
    record: TrainRecord


@pytest.fixture(scope="module")
def config(tiny_config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(tiny_config, mixed_precision=True)


@pytest.fixture(scope="module")
def first(config: TrainConfig, tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    run = start_run(config, tiny.spec, folder=tmp_path_factory.mktemp("first"))
    return Trained(run, train(config, tiny, run))


def test_the_saved_model_is_plain_float32(first: Trained) -> None:
    model = keras.saving.load_model(first.run / "model.keras")
    with zipfile.ZipFile(first.run / "model.keras") as archive:
        assert b"bfloat16" not in archive.read("config.json")
    assert {variable.dtype for variable in model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_it_learns_and_its_accuracy_is_the_saved_models(first: Trained, tiny: Dataset) -> None:
    assert first.record.test_top1 > 80  # of three colours; chance is 33%
    model = keras.saving.load_model(first.run / "model.keras")
    right = num = 0
    for images, labels in tiny.batches("test", image_size=16, batch_size=8):
        right += int((model.predict(images, verbose=0).argmax(axis=1) == labels.numpy()).sum())
        num += len(labels)
    assert first.record.test_top1 == pytest.approx(100 * right / num)


def test_a_stopped_run_goes_on_to_the_same_weights(
    first: Trained, config: TrainConfig, tiny: Dataset, tmp_path: Path
) -> None:
    run = start_run(config, tiny.spec, folder=tmp_path)

    def stop(event: object) -> None:
        if "epoch 1/3" in f"{getattr(event, 'text', '')}":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(config, tiny, run, progress=stop)
    train(config, tiny, run)
    one, other = (keras.saving.load_model(each / "model.keras").get_weights() for each in (first.run, run))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("family", FAMILIES)
def test_convolutions_compute_in_bfloat16_and_scores_are_float32(family: str) -> None:
    model = build(family, **family_of(family).tiny)
    images = np.random.default_rng(0).integers(0, 256, (4, *model.input_shape[1:])).astype(np.float32)
    scorer = keras.Model(model.input, model.get_layer("logits").output)
    expected = np.asarray(scorer(images, training=False))
    with in_bfloat16(model, head=family_of(family).head), fast_layers(model):
        step = tf.function(lambda values: scorer(values, training=True), jit_compile=False)
        graph = step.get_concrete_function(tf.TensorSpec(images.shape)).graph
        found = scorer(images, training=False)
    kinds = [each.outputs[0].dtype for each in graph.get_operations() if each.type == "Conv2D"]
    assert kinds.count(tf.bfloat16) >= len(kinds) - 1  # a head may be a convolution
    assert found.dtype == tf.float32
    # bfloat16 rounds by 2**-9, some 20 layers deep
    assert np.abs(np.asarray(found) - expected).max() <= 0.1 * max(np.abs(expected).max(), 0.1)
    assert not [layer for layer in model.layers if layer.compute_dtype != "float32"]
    np.testing.assert_array_equal(scorer(images, training=False), expected)

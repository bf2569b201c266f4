"""Small models, a data set that they learn in seconds, and compressions of them, made once for all tests."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.convert import convert
from export.graph.probabilities import head_of_model
from export.precisions import Precision
from export.settings import ExportSettings
from models.build import build
from models.registry import FAMILIES
from pipeline.compression.compress import compress, load_quantized, start_run
from pipeline.compression.finetune import Images
from pipeline.compression.prepare import Prepared, equalized, prepare, prove
from pipeline.data import augment
from pipeline.data.dataset import Dataset
from pipeline.data.registry import load
from pipeline.records.compression import CompressConfig
from pipeline.records.training import TrainConfig, TrainRecord


@dataclasses.dataclass(frozen=True)
class Compressed:
    """A finished compression."""

    run: Path
    record: TrainRecord

    @property
    def model(self) -> keras.Model:
        return keras.saving.load_model(self.run / "model.keras")

    @functools.cached_property
    def quantized(self) -> Any:
        assert self.record.compression is not None
        return load_quantized(self.model, self.record.compression.config, self.run)

    @functools.cached_property
    def int8(self) -> bytes:
        return convert(self.model, ExportSettings(Precision.INT8), trained=self.quantized)


def family_model(family: str) -> keras.Model:
    """A small model of the family, its BatchNorm statistics and biases as after a training."""
    keras.utils.set_random_seed(0)
    model = build(family, num_classes=3, **FAMILIES[family].tiny)
    random = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            if len(variable.shape) == 1:
                noise = np.abs(random.standard_normal(variable.shape))
                variable.assign(variable.numpy() + 0.1 * noise)
    size = model.input_shape[1]
    for _ in range(20):
        model(random.integers(0, 256, (16, size, size, 3)).astype(np.float32), training=True)
    return model


def own_model() -> keras.Model:
    """A user's Sequential model: convolutions with and without BatchNorm, Dropout, softmax; fed 0..1."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255, name="scaled"),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="first"),
            layers.Conv2D(32, 1, use_bias=False, name="second"),
            layers.BatchNormalization(name="second_norm"),
            layers.ReLU(name="second_relu"),
            layers.Conv2D(16, 3, activation="relu", name="third"),
            layers.Dropout(0.5, name="dropout"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(3, activation="softmax", name="scores"),
        ],
        name="own",
    )


@pytest.fixture(scope="session")
def tiny(tiny_npz: Path) -> Dataset:
    return load(str(tiny_npz))


@pytest.fixture(scope="session")
def configured(tiny_npz: Path) -> Callable[..., CompressConfig]:
    """Settings of a compression on the tiny data set."""

    def make(**settings: Any) -> CompressConfig:
        given: dict[str, Any] = {"epochs": 1, "batch_size": 32, "augment": False} | settings
        return CompressConfig(parent="parent", parent_sha256="0" * 64, data=str(tiny_npz), **given)

    return make


@pytest.fixture(scope="session")
def images_of(tiny: Dataset) -> Callable[[Prepared], Images]:
    def make(prepared: Prepared) -> Images:
        size = prepared.model.input_shape[1]
        return Images(
            dataset=tiny,
            head=head_of_model(prepared.model),
            image_size=size,
            rescaling=prepared.rescaling,
            augment=augment.NONE,
        )

    return make


@pytest.fixture(scope="session")
def take_steps(tiny: Dataset) -> Callable[[Prepared, Images, Path], TrainRecord]:
    """Compresses, or goes on, in a run's folder."""

    def take(prepared: Prepared, images: Images, run: Path) -> TrainRecord:
        parent = TrainConfig(family=None, knobs={}, data=prepared.config.data)
        return compress(prepared, images, run, parent=parent, name="small")

    return take


@pytest.fixture(scope="session")
def new_run() -> Callable[[CompressConfig, Path], Path]:
    def make(config: CompressConfig, folder: Path) -> Path:
        return start_run(config, "small-tiny", folder=folder, fingerprint="0" * 64, pixels={})

    return make


@pytest.fixture(scope="session")
def compressed(
    configured: Any, images_of: Any, take_steps: Any, new_run: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Compressed]:
    """Compresses a model with the settings given."""

    def make(model: keras.Model, **settings: Any) -> Compressed:
        prepared = prepare(model, configured(**settings))
        images = images_of(prepared)
        prepared = equalized(prepared, images)
        prove(prepared, images)
        run = new_run(prepared.config, tmp_path_factory.mktemp("compressed"))
        return Compressed(run, take_steps(prepared, images, run))

    return make


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], keras.Model]:
    """A model of a family's name, or "own": a user's."""
    return lambda name: own_model() if name == "own" else family_model(name)


@pytest.fixture(scope="session")
def all_steps(compressed: Callable[..., Compressed], model_of: Any) -> Callable[[str], Compressed]:
    """Clustered to 16 values, trained quantized, and some pruned by half before; made once for each model."""

    @functools.cache
    def make(name: str) -> Compressed:
        prune = 0.5 if name in ("own", "squeezenet") else None
        return compressed(model_of(name), prune=prune, cluster=16, qat=True)

    return make

"""Every family of the registry through conversion: fully integer, and the same answers in LiteRT.

models/ and export/ know nothing of one another, so this is where they meet.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from export.check.load_check import litert_loads, tflite_runtime_loads
from export.check.verify import Samples, verify
from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect
from export.tflite.pack import pack
from models.build import build
from models.file_size import file_size
from models.registry import FAMILIES


def as_if_trained(model: keras.Model, pixels: np.ndarray) -> keras.Model:
    """BatchNorm statistics from real activations, and biases that differ: equal ones are stored once."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            if len(variable.shape) == 1:
                variable.assign(variable.numpy() + 0.1 * np.abs(random.standard_normal(variable.shape)))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.3
    for _ in range(4):  # after which the statistics at the start weigh less than 1%
        model(pixels.astype(np.float32), training=True)
    return model


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str, pixels: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(0)
    return as_if_trained(build(family, image_size=32, num_classes=10, **FAMILIES[family].small), pixels)


@pytest.fixture(scope="module")
def int8(model: keras.Model, pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("families") / f"{model.name}_int8.tflite"
    path.write_bytes(convert(model, ExportSettings(Precision.INT8), pixels=pixels))
    return path


@pytest.fixture(scope="module")
def float32(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("families") / f"{model.name}_float32.tflite"
    path.write_bytes(convert(model, ExportSettings(Precision.FLOAT32)))
    return path


def test_int8_has_no_float_operator_and_scales_by_channel(int8: Path):
    contents = inspect(int8)
    assert contents.float_operators == ()
    assert contents.per_channel


def test_int8_takes_the_pixel_less_128(int8: Path):
    (taken,) = inspect(int8).inputs
    # (x - 128) / 128: scale 1/128, and the stored value is x - 128
    assert (taken.dtype, taken.zero_point) == ("int8", 0)
    assert taken.scale == pytest.approx(1 / 128)


def test_both_runtimes_run_it(int8: Path):
    assert litert_loads(int8) == (True, None)
    assert tflite_runtime_loads(int8)[0] in (True, None)


def test_float32_in_litert_is_keras_to_rounding(model: keras.Model, pixels: np.ndarray, float32: Path):
    labels = np.zeros(len(pixels), np.int64)
    found = verify(
        model,
        float32,
        Samples(batches=[(pixels, labels)], dataset="noise", dataset_fingerprint="", split="test"),
    )
    assert found.agreement == 100
    assert found.max_abs_difference < 1e-4  # float32 rounding through some 40 layers


def test_file_sizes_are_within_five_percent_of_what_is_announced(
    model: keras.Model, int8: Path, float32: Path
):
    announced = file_size(model)
    assert announced.int8_bytes == pytest.approx(len(pack(int8.read_bytes()).content), rel=0.05)
    assert announced.float32_bytes == pytest.approx(len(pack(float32.read_bytes()).content), rel=0.05)

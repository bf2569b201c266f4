"""Channels brought to one range before the quantized training, where that is free: in DenseNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.check.runner import Runner
from export.convert import convert
from export.graph.probabilities import without_probabilities
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect
from pipeline.compression import quantize
from pipeline.compression.prepare import equalized, prepare, prove, training_pixels


def uneven(model: keras.Model) -> keras.Model:
    """A DenseNet whose concatenated channels differ by 30 times in size, and which computes the same."""
    sizes: dict[str, np.ndarray] = {}

    def size_of(tensor: Any) -> np.ndarray:
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.layers.Concatenate):
            return np.concatenate([size_of(each) for each in layer.input])
        if isinstance(layer, keras.layers.Conv2D):
            return sizes.setdefault(layer.name, np.geomspace(1 / 30, 1, layer.filters))
        return size_of(layer.input)

    before_convolutions = (keras.layers.Conv2D, keras.layers.Rescaling)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            source = layer.input._keras_history.operation
            alone = isinstance(source, before_convolutions) and len(source._outbound_nodes) == 1
            if not alone:
                size = size_of(layer.input)
                layer.moving_mean.assign(layer.moving_mean * size)
                layer.moving_variance.assign((layer.moving_variance + layer.epsilon) * size**2)
                layer.epsilon = 1e-12
    for name, size in sizes.items():
        kernel = model.get_layer(name).kernel
        kernel.assign(kernel * size)
    return model


def int8_outputs(prepared: Any, images_of: Any, images: np.ndarray, path: Path) -> np.ndarray:
    """The scores of the int8 file whose ranges are read from training images, and nothing trained."""
    config, taken = prepared.config, images_of(prepared)
    trained = quantize.quantize(prepared.twin.model, config, input_range=prepared.input_range)
    pixels = training_pixels(prepared, taken, num_samples=120)
    values = np.asarray(taken.rescaling(pixels.astype(np.float32)))
    quantize.observe(trained, values, batch_size=config.batch_size)
    quantize.fix_input_range(trained, prepared.input_range)
    path.write_bytes(convert(prepared.model, ExportSettings(Precision.INT8, logits=True), trained=trained))
    return Runner(path, inspect(path)).outputs(images)


def test_densenet_is_nearer_to_its_float_answers(
    configured: Any, images_of: Any, model_of: Any, tmp_path: Path
):
    # not trained, so that rounding alone is compared, with and without
    model = uneven(model_of("densenet"))
    prepared = prepare(model, configured(qat=True))
    images = images_of(prepared)
    even = equalized(prepared, images)
    pixels, _ = images.dataset.balanced_samples("test", image_size=16, num_samples=60, seed=0)
    pixels = pixels.astype(np.float32)
    expected = np.asarray(without_probabilities(prepared.model)(pixels, training=False))
    errors = []
    for each in (prepared, even):
        prove(each, images)
        found = int8_outputs(each, images_of, pixels, tmp_path / "int8.tflite")
        errors.append(np.sqrt(np.square(found - expected).mean()))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("squeezenet", {"qat": True}),
        ("mobilenet", {"qat": True}),
        ("own", {"cluster": 16}),
        ("densenet", {"prune": 0.5}),
        ("densenet", {"cluster": 16, "qat": True}),
    ],
)
def test_others_stay_as_they_are(
    family: str, settings: dict[str, Any], configured: Any, images_of: Any, model_of: Any
):
    prepared = prepare(model_of(family), configured(**settings))
    assert equalized(prepared, images_of(prepared)) is prepared

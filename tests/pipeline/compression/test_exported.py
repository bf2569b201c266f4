"""What reaches the int8 file: integers throughout, the camera's bytes, zeros, blocks and few values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.convert import convert
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect_bytes
from models.cost import cost
from models.registry import FAMILIES
from pipeline.compression.compress import load_quantized
from pipeline.data.registry import load

NAMES = ["own", *FAMILIES]


def stored_kernels(content: bytes) -> list[np.ndarray]:
    """The integers of all kernels but depthwise ones, as LiteRT reads them: (out, h, w, in) or (out, in)."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    kinds = ("CONV_2D", "FULLY_CONNECTED")
    found = [each["inputs"][1] for each in interpreter._get_ops_details() if each["op_name"] in kinds]
    return [interpreter.get_tensor(index) for index in found]


def kernels(model: Any) -> dict[str, np.ndarray]:
    """The kernels of the convolutions and the Dense of a Keras model, as TFLite stores them."""
    kinds = ("Conv2D", "Dense")
    found = {layer.name: layer for layer in model.layers if type(layer).__name__ in kinds}
    return {name: np.moveaxis(np.asarray(layer.kernel), -1, 0) for name, layer in found.items()}


def probabilities(content: bytes, images: np.ndarray) -> np.ndarray:
    """What the file answers to the camera's bytes."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    outputs = []
    for image in images:
        interpreter.set_tensor(taken["index"], (image.astype(np.int16) - 128).astype(np.int8)[np.newaxis])
        interpreter.invoke()
        outputs.append(scale * (interpreter.get_tensor(given["index"])[0].astype(np.float32) - zero_point))
    return np.asarray(outputs)


@pytest.fixture(scope="module", params=NAMES)
def done(request: pytest.FixtureRequest, all_steps: Any) -> Any:
    return all_steps(request.param)


def test_file_is_integer_throughout(done: Any):
    contents = inspect_bytes(done.int8, name="int8")
    assert contents.float_operators == ()
    assert (contents.inputs[0].dtype, contents.outputs[0].dtype) == ("int8", "int8")


def test_file_takes_the_pixel_less_128(done: Any):
    (taken,) = inspect_bytes(done.int8, name="int8").inputs
    # the families see (x - 128) / 128, the user's model x / 255
    scale, zero_point = (1 / 255, -128) if done.model.name == "own" else (1 / 128, 0)
    assert taken.scale == pytest.approx(scale, rel=1e-6)
    assert taken.zero_point == zero_point


def test_integers_of_a_layer_are_as_few_as_its_clusters(done: Any):
    stored = stored_kernels(done.int8)
    assert len(stored) == len(kernels(done.model))
    assert max(len(np.unique(kernel)) for kernel in stored) <= 16
    # two clusters may fall on one integer, but not many: 16 values of 255
    assert max(len(np.unique(kernel)) for kernel in stored) >= 12


def test_zeros_of_the_model_are_zeros_of_the_file(done: Any):
    stored = {}
    for kernel in stored_kernels(done.int8):
        stored.setdefault((len(kernel), kernel.size), []).append(kernel.reshape(len(kernel), -1))
    pruned = {each.layer for each in done.record.compression.layers if each.sparsity_asked}
    assert bool(pruned) == done.model.name.startswith(("own", "squeezenet"))
    for name, kernel in kernels(done.model).items():
        if name in pruned:
            assert np.mean(kernel == 0) >= 0.5 - 1 / kernel.size
            zeros = kernel.reshape(len(kernel), -1) == 0
            same_shape = stored[(len(kernel), kernel.size)]
            assert any(np.all(each[zeros] == 0) for each in same_shape), name


def test_file_answers_as_the_model_with_quantizers_does(done: Any):
    size = done.model.input_shape[1]
    images, _ = load("digits").balanced_samples("test", image_size=size, num_samples=60, seed=0)
    scale, offset = (1 / 255, 0.0) if done.model.name == "own" else (1 / 128, -1.0)
    logits = np.asarray(done.quantized(images.astype(np.float32) * np.float32(scale) + np.float32(offset)))
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    found = probabilities(done.int8, images)
    # both round at the same places; a step of the logits is below 0.02 of a probability
    assert np.abs(found - expected).max() < 0.04
    sure = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 0.04
    np.testing.assert_array_equal(found.argmax(axis=1)[sure], expected.argmax(axis=1)[sure])


def test_model_with_depthwise_convolutions_put_in_is_the_same(all_steps: Any):
    # the float file, made from model.keras, against Keras's own prediction on it
    done = all_steps("densenet")
    inserted = [layer for layer in done.model.layers if layer.name.endswith("_depthwise")]
    assert inserted
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.float32)
    expected = done.model.predict(images, verbose=0)
    interpreter = Interpreter(model_content=convert(done.model, ExportSettings(Precision.FLOAT32)))
    interpreter.allocate_tensors()
    for image, wanted in zip(images, expected, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["densenet", "mobilenet"])
def test_record_has_the_parameters_and_macs_of_the_net_itself(name: str, all_steps: Any, model_of: Any):
    # not those of the 1x1 depthwise convolutions that quantized training puts before lone norms
    expected, record = cost(model_of(name)), all_steps(name).record
    assert (record.parameters, record.macs) == (expected.parameters, expected.macs)


def test_two_of_four_and_blocks_are_so_in_the_files_integers(compressed: Any, model_of: Any):
    model = model_of("own")
    rows = compressed(model, prune=0.5, prune_pattern="2:4", qat=True)
    for kernel in stored_kernels(rows.int8)[1:]:
        assert np.all((kernel.reshape(-1, 4) == 0).sum(axis=1) >= 2)
    blocks = compressed(model, prune=0.5, prune_pattern="1x16", qat=True)
    (second,) = [kernel for kernel in stored_kernels(blocks.int8) if kernel.shape == (32, 1, 1, 8)]
    by_input = second.reshape(32, 8).T.reshape(-1, 16)
    assert np.mean(np.all(by_input == 0, axis=1)) >= 0.5


def test_a_run_gives_the_same_bytes_however_many_a_process_exported(all_steps: Any):
    done = all_steps("own")
    config = done.record.compression.config
    again = load_quantized(done.model, config, done.run)
    assert convert(done.model, ExportSettings(Precision.INT8), trained=again) == done.int8


def test_clusters_alone_get_ranges_from_training_images(compressed: Any, model_of: Any):
    done = compressed(model_of("own"), cluster=16)
    assert inspect_bytes(done.int8, name="int8").float_operators == ()
    assert max(len(np.unique(kernel)) for kernel in stored_kernels(done.int8)) <= 16
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)
    expected = done.model.predict(images.astype(np.float32), verbose=0)
    assert np.abs(probabilities(done.int8, images) - expected).max() < 0.05


def test_activations_far_beyond_six_are_not_cut_off(compressed: Any, model_of: Any):
    # tensorflow-model-optimization begins each range at -6 to 6, and moves it by a thousandth a step
    model = model_of("own")
    first, scores = model.get_layer("first"), model.get_layer("scores")
    first.kernel.assign(100 * first.kernel)
    second = model.get_layer("second_norm")
    second.moving_variance.assign(second.moving_variance * 10_000)
    scores.kernel.assign(4 * scores.kernel)
    done = compressed(model, qat=True, learning_rate=1e-9)
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)
    expected = done.model.predict(images.astype(np.float32), verbose=0)
    assert np.ptp(expected) > 0.1
    assert np.abs(probabilities(done.int8, images) - expected).max() < 0.05


def test_model_without_softmax_is_exported_without(compressed: Any, model_of: Any):
    import keras

    whole = model_of("own")
    whole.get_layer("scores").activation = keras.activations.linear
    done = compressed(keras.models.clone_model(whole), qat=True)
    uses = [use.name for use in inspect_bytes(done.int8, name="int8").operators]
    assert "SOFTMAX" not in uses


def test_quantized_training_of_a_model_that_came_clustered_keeps_its_few_values(
    compressed: Any, model_of: Any
):
    before = compressed(model_of("own"), prune=0.5, cluster=8)
    again = compressed(before.model, qat=True)
    assert again.record.compression.config.kept_clusters == ("first", "second", "third", "scores")
    came = kernels(before.model)
    for layer, kernel in kernels(again.model).items():
        assert len(np.unique(kernel)) <= 8
        assert np.all(kernel[came[layer] == 0] == 0)
        assert not np.array_equal(kernel, came[layer])
    assert max(len(np.unique(each)) for each in stored_kernels(again.int8)) <= 8

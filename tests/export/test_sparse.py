"""Sparse weights in a .tflite file: stored as TensorFlow stores them, the same outputs, honest verdicts."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from sparse_kernels import litert_runs_sparse, with_dense_weights

from export import native_output
from export.convert import convert
from export.errors import BadModelFileError, ExportError
from export.precisions import Precision
from export.settings import ExportSettings
from export.sparse.graph import Graph, same_padding
from export.sparse.verdict import processor_runs_sparse, sparse_verdict
from export.sparse.weights import with_sparse_weights
from export.tflite.inspect import inspect_bytes
from models.build import build

EVEN_BORDERS = 65
"""32 n + 1 pixels: each of the five halvings pads one pixel on each side."""
TOLERANCE = 1e-5
"""Probabilities; sparse kernels add up the same products in another order."""


@functools.cache
def mobilenet(*, sparsity=0.8, image_size=EVEN_BORDERS, stem="imagenet"):
    """A MobileNet 0.25 whose 1x1 kernels have that share of zeros, the smallest of them.

    The weights are drawn as He et al. 2015 do, for the inputs that pruning leaves, so that 27 layers neither
    lose the image nor overflow.
    """
    model = build("mobilenet", alpha=0.25, image_size=image_size, num_classes=10, stem=stem)
    random = np.random.default_rng(0)
    for layer in model.layers:
        values = layer.get_weights()
        if values and values[0].ndim > 1:
            kernel = random.normal(size=values[0].shape)
            if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1):
                kernel *= np.abs(kernel) > np.quantile(np.abs(kernel), sparsity)
            axes = (
                (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
            )
            values[0] = kernel * np.sqrt(2 / np.maximum((kernel**2).sum(axis=axes, keepdims=True), 1e-9))
            layer.set_weights(values)
    return model


@functools.cache
def dense_file(**knobs):
    return convert(mobilenet(**knobs), ExportSettings(Precision.FLOAT32))


@functools.cache
def converters_sparse_file():
    """What TensorFlow's own converter makes of the pruned model."""
    converter = tf.lite.TFLiteConverter.from_keras_model(mobilenet())
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    with native_output.captured():
        return bytes(converter.convert())


def sparse_tensors(content):
    """(shape, dimensions, values) of each sparse tensor, in the order of the run."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    tensors = model.subgraphs[0].tensors
    found = []
    for operator in model.subgraphs[0].operators:
        tensor = tensors[operator.inputs[0]]
        if tensor.sparsity is not None:
            dimensions = [
                (
                    each.format,
                    each.denseSize,
                    each.arraySegmentsType,
                    each.arraySegments and each.arraySegments.values.tolist(),
                    each.arrayIndicesType,
                    each.arrayIndices and each.arrayIndices.values.tolist(),
                )
                for each in tensor.sparsity.dimMetadata
            ]
            order = tensor.sparsity.traversalOrder.tolist()
            data = model.buffers[tensor.buffer].data.tobytes()
            found.append((tensor.shape.tolist(), order, dimensions, data))
    return found


def operator_counts(content):
    return {each.name: each.count for each in inspect_bytes(content, name="it").operators}


def images(size=EVEN_BORDERS):
    return np.random.default_rng(1).uniform(0, 255, (4, size, size, 3)).astype(np.float32)


def written(content, folder, name):
    path = folder / name
    path.write_bytes(content)
    return path


def test_weights_are_stored_as_the_tensorflow_converter_stores_them():
    ours, theirs = sparse_tensors(with_sparse_weights(dense_file())), sparse_tensors(converters_sparse_file())
    assert len(ours) == 13
    for mine, other in zip(ours, theirs, strict=True):
        assert mine[:3] == other[:3]
        # the converter folds BatchNormalization into the weights, by another route for each function
        np.testing.assert_allclose(
            np.frombuffer(mine[3], np.float32), np.frombuffer(other[3], np.float32), rtol=1e-6
        )


def test_litert_gives_the_dense_files_outputs(nets, tmp_path):
    dense, _, _ = nets.litert(written(dense_file(), tmp_path, "dense.tflite"), images())
    sparse, _, _ = nets.litert(
        written(with_sparse_weights(dense_file()), tmp_path, "sparse.tflite"), images()
    )
    assert np.ptp(dense, axis=0).max() > 100 * TOLERANCE  # the images are told apart
    np.testing.assert_allclose(sparse, dense, atol=TOLERANCE)


def test_kernels_without_xnnpack_give_the_dense_files_outputs(nets, tmp_path):
    without = {"resolver": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
    dense, _, _ = nets.litert(written(dense_file(), tmp_path, "dense.tflite"), images(), **without)
    sparse, _, _ = nets.litert(
        written(with_sparse_weights(dense_file()), tmp_path, "sparse.tflite"), images(), **without
    )
    np.testing.assert_allclose(sparse, dense, atol=TOLERANCE)


def test_tflite_runtime_loads_it_and_gives_the_dense_files_outputs(nets, tmp_path):
    dense = nets.tflite_runtime(written(dense_file(), tmp_path, "dense.tflite"), images(), tmp_path)
    sparse = nets.tflite_runtime(
        written(with_sparse_weights(dense_file()), tmp_path, "sparse.tflite"), images(), tmp_path
    )
    np.testing.assert_allclose(sparse, dense, atol=TOLERANCE)


def test_litert_runs_the_kernels_that_the_verdict_says():
    content = with_sparse_weights(dense_file())
    if processor_runs_sparse() is None:
        pytest.skip("the processor of this machine cannot be told")
    assert sparse_verdict(content).num_taken == 13
    assert litert_runs_sparse(content) is sparse_verdict(content).here


def test_a_file_without_sparse_weights_runs_no_sparse_kernels():
    assert litert_runs_sparse(dense_file()) is False


def test_dense_again_holds_the_weights_it_held():
    again = with_dense_weights(with_sparse_weights(dense_file()))
    assert not sparse_tensors(again)
    before, after = (schema.ModelT.InitFromPackedBuf(each, 0) for each in (dense_file(), again))
    for tensor, twin in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=False):
        if tensor.type == schema.TensorType.FLOAT32 and before.buffers[tensor.buffer].data is not None:
            values, others = before.buffers[tensor.buffer].data, after.buffers[twin.buffer].data
            np.testing.assert_array_equal(values.view(np.float32), others.view(np.float32))


def test_dense_again_reads_the_converters_sparse_file(nets, tmp_path):
    sparse = written(converters_sparse_file(), tmp_path, "sparse.tflite")
    dense = written(with_dense_weights(converters_sparse_file()), tmp_path, "dense.tflite")
    np.testing.assert_allclose(
        nets.litert(dense, images())[0], nets.litert(sparse, images())[0], atol=TOLERANCE
    )


def test_only_1x1_convolutions_are_sparse_and_halvings_get_a_pad():
    counts = operator_counts(with_sparse_weights(dense_file()))
    assert counts == operator_counts(dense_file()) | {"DENSIFY": 13, "PAD": 5}


def test_the_file_says_that_it_needs_tensorflow_2_2():
    assert inspect_bytes(with_sparse_weights(dense_file()), name="it").min_runtime_version == "2.2.0"
    assert inspect_bytes(converters_sparse_file(), name="it").min_runtime_version == "2.2.0"


def test_sparse_weights_make_the_file_smaller():
    assert len(with_sparse_weights(dense_file())) < 0.4 * len(dense_file())


def test_a_sparse_file_stays_as_it_is():
    content = with_sparse_weights(dense_file())
    assert with_sparse_weights(content) == content


def test_the_callers_content_stays_as_it_was():
    before = bytes(bytearray(dense_file()))
    with_sparse_weights(dense_file())
    assert dense_file() == before


@pytest.mark.parametrize(("size", "expected"), [(65, (1, 1)), (64, (0, 1)), (33, (1, 1)), (1, (1, 1))])
def test_same_padding_is_tensorflows(size, expected):
    assert same_padding(size, 3, 2) == expected
    row = tf.reshape(tf.range(1.0, size + 1), (1, size, 1, 1))
    first_tap = tf.reshape([1.0, 0.0, 0.0], (3, 1, 1, 1))
    first = float(tf.nn.conv2d(row, first_tap, strides=2, padding="SAME")[0, 0, 0, 0])
    assert first == (1.0 if expected[0] == 0 else 0.0)


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"image_size": 64}, "pads 0 before and 1 after the image.*such as 65"),
        ({"stem": "small"}, "stride 1, and a first convolution needs 2"),
        ({"sparsity": 0.5}, "50% of the 1x1 weights are zero"),
    ],
)
def test_the_verdict_says_what_keeps_a_mobilenet_from_the_sparse_kernels(knobs, reason):
    content = with_sparse_weights(dense_file(**knobs), min_sparsity=0.3)
    verdict = sparse_verdict(content)
    assert verdict.num_taken == 0
    assert verdict.num_pointwise == 13
    assert len(verdict.reasons) == 1
    assert re.search(reason, verdict.words)
    assert litert_runs_sparse(content) is False


def test_the_converters_sparse_file_lacks_the_explicit_paddings():
    verdict = sparse_verdict(converters_sparse_file())
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(
        "CONV_2D (operator 2) has padding SAME: export it with sparse weights"
    )
    assert litert_runs_sparse(converters_sparse_file()) is False


def test_a_pruned_file_with_dense_weights_is_told_to_be_exported_sparsely():
    assert "stored densely: export it with sparse weights" in sparse_verdict(dense_file()).words


def test_int8_has_no_sparse_kernels(exported):
    verdict = sparse_verdict(exported("int8"))
    assert (
        verdict.words
        == "no speed-up from sparse kernels: int8 weights have no sparse kernels here: export float32"
    )
    assert verdict.sparsity == 0


def test_concatenated_branches_have_no_sparse_form():
    image = keras.Input((33, 33, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(image)
    x = keras.layers.Concatenate()([keras.layers.Conv2D(8, 1)(x), keras.layers.Conv2D(8, 1)(x)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    content = convert(keras.Model(image, keras.layers.Softmax()(x)), ExportSettings(Precision.FLOAT32))
    verdict = sparse_verdict(with_sparse_weights(_with_zeros(content), min_sparsity=0.3))
    assert verdict.reasons == ("CONCATENATION (operator 6) has no sparse form",)


def _with_zeros(content):
    """The file with nine of ten weights of its 1x1 convolutions set to zero."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and len(tensor.shape) == 4 and tuple(tensor.shape[1:3]) == (1, 1):
            values = data.view(np.float32).copy()
            values[np.arange(len(values)) % 10 != 0] = 0
            model.buffers[tensor.buffer].data = values.view(np.uint8)
    return Graph(model=model).packed()


def test_a_verdict_takes_a_path_or_its_content(tmp_path):
    content = with_sparse_weights(dense_file())
    assert sparse_verdict(written(content, tmp_path, "it.tflite")) == sparse_verdict(content)


def test_int8_is_refused_with_what_to_do(exported):
    with pytest.raises(ExportError, match=r"as int8, and only float32 weights.*Export it as float32"):
        with_sparse_weights(exported("int8").read_bytes(), name="model.tflite")


def test_too_few_zeros_are_refused_with_the_share_that_was_found():
    with pytest.raises(ExportError, match=r"model\.tflite has 50% zeros\. Expected more than 67%: prune it"):
        with_sparse_weights(dense_file(sparsity=0.5), name="model.tflite")


def test_a_model_without_1x1_convolutions_is_refused():
    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    content = convert(keras.Model(image, keras.layers.Softmax()(x)), ExportSettings(Precision.FLOAT32))
    with pytest.raises(ExportError, match="has no 1x1 convolution"):
        with_sparse_weights(content)
    assert "has no 1x1 convolution" in sparse_verdict(content).words


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ExportError, match="Give a share of 0 or more and below 1"):
        with_sparse_weights(dense_file(), min_sparsity=share)


@pytest.mark.parametrize("content", [b"", b"not a tflite file", dense_file.__name__.encode() * 10])
@pytest.mark.parametrize("function", [with_sparse_weights, with_dense_weights, sparse_verdict])
def test_garbage_is_refused(function, content):
    with pytest.raises(BadModelFileError):
        function(content)


def test_a_truncated_file_is_refused():
    with pytest.raises(BadModelFileError, match="truncated or damaged"):
        sparse_verdict(dense_file()[:1000])


def test_a_missing_file_is_refused_with_its_path(tmp_path):
    with pytest.raises(BadModelFileError, match=r"cannot read .*absent\.tflite"):
        sparse_verdict(tmp_path / "absent.tflite")

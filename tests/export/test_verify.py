"""Verification, beside the same figures worked out with numpy and a bare LiteRT loop."""

import keras
import numpy as np
import pytest

from export.artifact import Equalization
from export.check.verify import NamedLayers, Samples, check_sidecar, verify
from export.convert import convert
from export.errors import BadModelFileError, ExportError
from export.graph.probabilities import without_probabilities
from export.plan import converted_model, equalized
from export.precisions import Precision
from export.settings import ExportSettings
from export.verification import points_lost

DATA = {"dataset": "blocks", "dataset_fingerprint": "b10c", "split": "test"}


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(3).integers(0, 5, 60)


def _batches(images, labels, size=25):
    for start in range(0, len(images), size):
        yield images[start : start + size], labels[start : start + size]


@pytest.mark.parametrize(("precision", "io_dtype", "zero"), [("int8", "int8", 128), ("int8", "uint8", 0)])
def test_figures_are_those_of_a_bare_loop(
    nets, net, exported, test_images, labels, precision, io_dtype, zero
):
    path = exported(precision, io_dtype)
    found = verify(net, path, Samples(batches=_batches(test_images, labels), **DATA))
    stored, _, gives = nets.litert(path, (test_images.astype(np.int16) - zero).astype(io_dtype))
    scale, zero_point = gives["quantization"]
    theirs = scale * (stored.astype(np.float64) - zero_point)
    ours = np.asarray(net(test_images.astype(np.float32), training=False))
    assert found.num_samples == 60
    assert found.keras_top1 == pytest.approx(100 * (ours.argmax(1) == labels).mean())
    assert found.tflite_top1 == pytest.approx(100 * (theirs.argmax(1) == labels).mean())
    assert found.drop_points == pytest.approx(found.keras_top1 - found.tflite_top1)
    assert found.agreement == pytest.approx(100 * (theirs.argmax(1) == ours.argmax(1)).mean())
    assert found.max_abs_difference == pytest.approx(np.abs(theirs - ours).max(), abs=1e-5)
    assert found.runtime == "litert"
    assert (found.dataset, found.dataset_fingerprint, found.split) == ("blocks", "b10c", "test")


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic"])
def test_a_float_file_agrees_and_compares_no_layers(net, exported, test_images, labels, precision):
    found = verify(
        net,
        exported(precision),
        Samples(batches=_batches(test_images, labels), **DATA),
        layers=NamedLayers(model=converted_model(net, ExportSettings(Precision(precision)))),
    )
    assert found.agreement >= (100 if precision == "float32" else 95)
    assert found.worst_layer is None
    assert found.layers == ()


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_file_without_softmax_is_compared_with_the_class_scores(
    net, calibration_pixels, test_images, labels, tmp_path, precision
):
    path = tmp_path / "scores.tflite"
    settings = ExportSettings(Precision(precision), logits=True)
    path.write_bytes(convert(net, settings, pixels=calibration_pixels))
    found = verify(
        net,
        path,
        Samples(batches=_batches(test_images, labels), **DATA),
        layers=NamedLayers(model=converted_model(net, settings)),
    )
    scores = np.asarray(without_probabilities(net)(test_images.astype(np.float32), training=False))
    assert found.keras_top1 == pytest.approx(100 * (scores.argmax(1) == labels).mean())
    assert found.max_abs_difference < 0.1 * np.ptp(scores)
    if precision == "int8":
        assert found.layers[-1].layer == net.layers[-2].name
        assert found.layers[-1].relative_error < 0.2


def test_a_softmax_in_float_before_uint8_is_still_one(net, calibration_pixels, test_images, labels, tmp_path):
    """Float scores become int8, then uint8, behind it."""
    path = tmp_path / "float_end.tflite"
    names = [layer.name for layer in net.layers[-2:]]
    path.write_bytes(
        convert(
            net, ExportSettings(Precision.INT8, io_dtype="uint8", keep_float=names), pixels=calibration_pixels
        )
    )
    found = verify(net, path, Samples(batches=_batches(test_images, labels), **DATA))
    assert found.max_abs_difference < 0.3


def test_an_equalized_file_is_compared_with_the_equalized_model_layer_by_layer(
    net, calibration_pixels, test_images, labels, tmp_path
):
    path = tmp_path / "equalized.tflite"
    settings = ExportSettings(Precision.INT8)
    done = Equalization(factors=equalized(net, calibration_pixels), corrects_biases=True)
    path.write_bytes(convert(net, settings, pixels=calibration_pixels, equalization=done))
    found, beside_the_plain_model = (
        verify(
            net,
            path,
            Samples(batches=_batches(test_images, labels), **DATA),
            layers=NamedLayers(model=converted_model(net, settings, equalization=each)),
        )
        for each in (done, None)
    )
    assert {"conv1_relu", "dw2_relu"} <= {each.layer for each in found.layers}
    assert max(each.relative_error for each in found.layers) < 0.2
    assert max(each.relative_error for each in beside_the_plain_model.layers) > 0.5
    assert found.agreement > 80


def test_float_images_as_a_tf_dataset_gives_them_do_too(net, exported, test_images, labels):
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(
        (test_images.astype(np.float32), labels.astype(np.int32))
    ).batch(16)
    as_floats = verify(net, exported("int8"), Samples(batches=batches, **DATA))
    as_bytes = verify(net, exported("int8"), Samples(batches=_batches(test_images, labels), **DATA))
    assert as_floats.agreement == as_bytes.agreement
    assert as_floats.layers == as_bytes.layers


def test_a_rescaling_per_channel_verifies(per_channel_net, calibration_pixels, test_images, labels, tmp_path):
    path = tmp_path / "model.tflite"
    settings = ExportSettings(Precision.INT8)
    path.write_bytes(convert(per_channel_net, settings, pixels=calibration_pixels))
    found = verify(
        per_channel_net,
        path,
        Samples(batches=_batches(test_images, labels), **DATA),
        layers=NamedLayers(model=converted_model(per_channel_net, settings)),
    )
    assert found.agreement > 80
    assert found.layers[0].layer == "pixels"


def test_progress_counts_samples(net, exported, test_images, labels):
    seen = []
    verify(
        net, exported("int8"), Samples(batches=_batches(test_images, labels), **DATA), progress=seen.append
    )
    assert seen == [25, 50, 60]


def test_a_file_of_another_model_is_refused(nets, exported, test_images, labels):
    other = nets.small_net(num_classes=3)
    with pytest.raises(ExportError, match=r"gives \(5,\), but the Keras model .*\(3,\)"):
        verify(other, exported("int8"), Samples(batches=_batches(test_images, labels), **DATA))


def test_a_file_that_does_not_take_raw_pixels_is_refused(
    nets, net, test_images, labels, calibration_pixels, tmp_path
):
    path = tmp_path / "model.tflite"
    path.write_bytes(
        convert(
            nets.small_net({"scale": 1 / 20, "offset": 0.0}),
            ExportSettings(Precision.INT8),
            pixels=calibration_pixels,
        )
    )
    with pytest.raises(ExportError, match="does not take raw pixels"):
        verify(net, path, Samples(batches=_batches(test_images, labels), **DATA))


def test_a_truncated_file_is_refused(net, exported, test_images, labels):
    path = exported("int8")
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(BadModelFileError, match="truncated"):
        verify(net, path, Samples(batches=_batches(test_images, labels), **DATA))


def test_images_of_another_size_labels_out_of_range_and_no_samples_are_refused(
    net, exported, test_images, labels
):
    path = exported("int8")
    with pytest.raises(ExportError, match="resize the images"):
        verify(net, path, Samples(batches=[(test_images[:, :16], labels)], **DATA))
    with pytest.raises(ExportError, match="labels from 0 to 9"):
        verify(net, path, Samples(batches=[(test_images[:2], [0, 9])], **DATA))
    with pytest.raises(ExportError, match="no samples in split 'test' of blocks"):
        verify(net, path, Samples(batches=[], **DATA))


def test_nothing_is_printed(net, exported, test_images, labels, capfd):
    verify(net, exported("int8"), Samples(batches=_batches(test_images, labels), **DATA))
    assert capfd.readouterr() == ("", "")


def test_a_file_changed_since_its_export_is_refused(exported):
    from types import SimpleNamespace

    path = exported("int8")
    with pytest.raises(ExportError, match="not the file that"):
        check_sidecar(path, SimpleNamespace(sha256="0" * 64))


def test_a_nested_model_is_verified(nets, calibration_pixels, test_images, labels, tmp_path):
    image = keras.Input((32, 32, 3))
    inner = nets.small_net(None)
    model = keras.Model(image, inner(keras.layers.Rescaling(1 / 128, -1.0)(image)))
    path = tmp_path / "model.tflite"
    settings = ExportSettings(Precision.INT8)
    path.write_bytes(convert(model, settings, pixels=calibration_pixels))
    layers = NamedLayers(model=converted_model(model, settings))
    found = verify(model, path, Samples(batches=_batches(test_images, labels), **DATA), layers=layers)
    assert "small/conv1_relu" in {each.layer for each in found.layers}


@pytest.mark.parametrize("samples", [10, 100, 1000, 2000])
def test_a_drop_of_exactly_the_limit_is_within_it(samples):
    lost = samples // 10
    found = {points_lost(100 * k / samples, 100 * (k - lost) / samples) for k in range(lost, samples + 1)}
    assert found == {10.0}

"""What is read of other tools' files: metadata that MediaPipe wrote, layouts, pixels."""

import base64
import io
import json
import zipfile
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from export.artifact import has_sidecar
from export.check.foreign import read_foreign
from export.check.runner import Runners
from export.errors import ExportError
from export.tflite.content import signatures_in_words
from export.tflite.metadata_reader import read_app_metadata

L = keras.layers
BY_MEDIAPIPE = zlib.decompress(
    base64.b64decode(
        "eNpVTtEKwjAMvErVokVk7MGvkPkL4qsf0ULRQudk64OC/65pWjcNLbnkLpfUAM5Nc9DQUEghCYGxFgA9bBPmbupP/AuZ3zFT"
        "jQ4oPlXRnTD5ACvKSbkkxDFThZvTv5nWDawCgrEuDPv4iMCa6nvfWWN98PHJfjWPb372Sqr+d+ZbNc1LqPEGCMVTuaeKTjD1"
        "Pn5zuse35uIoL+jHq/M9HfcB8Z8WEw=="
    )
)
"""Packed by MediaPipe 1.2.3's metadata schema: (pixel - 127.5) / 127.5, and labels.txt for the output."""


def converted(model):
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def net(shape=(8, 8, 3), *, channels_first=False):
    """Means of the channels, in an order that no symmetry hides."""
    image = x = keras.Input(shape)
    if channels_first:
        x = L.Permute((2, 3, 1))(x)
    x = L.Dense(4, name="scores")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    kernel = np.random.default_rng(0).normal(0, 1, model.get_layer("scores").kernel.shape)
    model.get_layer("scores").set_weights([kernel, np.zeros(4)])
    return model


@pytest.fixture(scope="module")
def plain():
    return converted(net())


def with_metadata(content, described, labels=None):
    """The file with these metadata as its entry, and a labels file in the archive behind it."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
    buffer.data = np.frombuffer(described, np.uint8)
    model.metadata = [*(model.metadata or []), entry]
    model.buffers.append(buffer)
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    file = io.BytesIO(bytes(builder.Output()))
    if labels is not None:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("labels.txt", labels)
    return file.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_metadata_of_another_tool_give_pixels_and_names(plain, tmp_path, end):
    path = tmp_path / "theirs.tflite"
    names = ["cat", "dog", "a b", "Käse"]
    path.write_bytes(with_metadata(plain, BY_MEDIAPIPE, (end or "\n").join(names) + end))
    found = read_foreign(path)
    assert found.class_names == tuple(names)
    assert found.pixels_from == "its metadata says so"
    assert found.pixels.name == "-1..1"
    pixels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1).repeat(3, axis=3)
    np.testing.assert_allclose(found.pixels(pixels), (pixels - 127.5) / 127.5, atol=1e-6)


def test_names_that_are_not_as_many_as_the_outputs_or_missing_are_none(plain, tmp_path):
    for number, labels in enumerate(["a\nb\n", None]):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(with_metadata(plain, BY_MEDIAPIPE, labels))
        assert read_foreign(path).class_names is None


def test_a_file_without_metadata_or_with_damaged_ones(plain):
    found = read_app_metadata(plain, name="theirs")
    assert (found.mean, found.std, found.class_names) == (None, None, None)
    with pytest.raises(ExportError, match=r"the metadata of theirs is truncated or damaged"):
        read_app_metadata(with_metadata(plain, BY_MEDIAPIPE[:60]), name="theirs")


@pytest.mark.parametrize(
    ("shape", "channels_first", "expected"),
    [
        ((8, 12, 3), False, (8, 12, 3)),
        ((3, 8, 12), True, (8, 12, 3)),
        ((8, 8, 1), False, (8, 8, 1)),
        ((1, 8, 12), True, (8, 12, 1)),
    ],
)
def test_layouts_give_what_keras_gives(tmp_path, shape, channels_first, expected):
    model, path = net(shape, channels_first=channels_first), tmp_path / "theirs.tflite"
    path.write_bytes(converted(model))
    file = read_foreign(path)
    assert (file.shape, file.channels_first) == (expected, channels_first)
    images = np.random.default_rng(1).uniform(0, 255, (5, *expected)).astype(np.float32)
    given = images.transpose(0, 3, 1, 2) if channels_first else images
    with Runners(path, file.contents, stored=file.stored) as runners:
        found = runners.outputs(images)
    np.testing.assert_allclose(found, np.asarray(model(given)), rtol=1e-4, atol=1e-3)


def test_scores_in_four_dimensions_are_scores(tmp_path):
    """As SqueezeNet's (1, 1, 1, 1000)."""
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Conv2D(4, 8)(image))
    path = tmp_path / "theirs.tflite"
    path.write_bytes(converted(model))
    file = read_foreign(path)
    images = np.random.default_rng(1).uniform(0, 1, (3, 8, 8, 3)).astype(np.float32)
    with Runners(path, file.contents, stored=file.stored) as runners:
        found = runners.outputs(images)
    np.testing.assert_allclose(found, np.asarray(model(images)).reshape(3, 4), atol=1e-5)


def test_images_of_no_fixed_size_are_refused(tmp_path):
    path = tmp_path / "any_size.tflite"
    path.write_bytes(converted(net((None, None, 3))))
    with pytest.raises(ExportError, match="the size of its images is not fixed"):
        read_foreign(path)


@pytest.mark.parametrize(
    ("content", "is_one"),
    [(None, False), ('{"labels": ["a"]}', False), ("[1, 2]", False), ('{"sha256": 1', True), ("", True)],
)
def test_a_json_file_of_another_tool_is_no_sidecar(tmp_path, content, is_one):
    if content is not None:
        (tmp_path / "model.json").write_text(content)
    assert has_sidecar(tmp_path / "model.tflite") is is_one


def test_a_sidecar_of_ours_is_one(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"path": "model.tflite", "sha256": "0"}))
    assert has_sidecar(tmp_path / "model.tflite")


def with_signatures(tmp_path, **functions):
    """A file of several signatures, their graphs in the converter's order."""
    module = tf.Module()
    for name, (function, *specs) in functions.items():
        setattr(module, name, tf.function(function, input_signature=specs))
    saved = {name: getattr(module, name).get_concrete_function() for name in functions}
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=saved)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(tmp_path / "saved"), signature_keys=list(functions)
    )
    path = tmp_path / "several.tflite"
    path.write_bytes(converter.convert())
    return path


IMAGE = tf.TensorSpec((1, 8, 8, 3))
KERNEL = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def test_of_several_signatures_the_one_that_is_read_is_named(tmp_path):
    path = with_signatures(
        tmp_path,
        classify=(lambda image: {"scores": tf.reduce_mean(image, (1, 2)) @ KERNEL}, IMAGE),
        embed=(lambda image: {"features": tf.reduce_mean(image, (1, 2)) * 2}, IMAGE),
    )
    file = read_foreign(path)
    said = "it has 2 signatures: 'classify' is read, as every runtime does unless told otherwise, not embed"
    assert signatures_in_words(file.contents) == said
    image = np.random.default_rng(1).uniform(size=(1, 8, 8, 3)).astype(np.float32)
    with Runners(path, file.contents, stored=file.stored) as runners:
        np.testing.assert_allclose(runners.outputs(image), image.mean(axis=(1, 2)) @ KERNEL, rtol=1e-5)


def test_a_file_whose_first_graph_is_no_classifier_names_the_signature_that_is(tmp_path):
    path = with_signatures(
        tmp_path,
        a_step=(lambda image, label: {"loss": tf.reduce_sum(image) + label}, IMAGE, tf.TensorSpec((1,))),
        infer=(lambda image: {"scores": tf.reduce_mean(image, (1, 2)) @ KERNEL}, IMAGE),
    )
    with pytest.raises(ExportError, match=r"takes 2 inputs .*Of its signatures 'infer' would be one.*alone"):
        read_foreign(path)


def test_a_file_of_one_signature_says_nothing_of_it(tmp_path, plain):
    path = tmp_path / "plain.tflite"
    path.write_bytes(plain)
    assert signatures_in_words(read_foreign(path).contents) == ""

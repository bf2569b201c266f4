"""Model files to mutate, and what reads them: .tflite, .keras and .h5."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError

SIZE = 24


@functools.cache
def _net():  # noqa: ANN202
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = x = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 128, offset=-1)(x)
    for number, layer in enumerate((layers.Conv2D(8, 3, strides=2), layers.DepthwiseConv2D(3))):
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm{number}")(layer(x)))
    x = layers.Concatenate()([layers.Conv2D(4, 1)(x), layers.Conv2D(4, 3, padding="same")(x)])
    x = layers.MaxPooling2D()(layers.Add()([x, layers.Conv2D(8, 1)(x)]))
    x = layers.Softmax()(layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    return keras.Model(image, x)


@functools.cache
def tflite_files() -> tuple[bytes, ...]:
    """Ours in five precisions, three of TensorFlow's own converter, one with standard metadata and labels."""
    import tensorflow as tf

    from export.convert import convert
    from export.precisions import Precision
    from export.settings import ExportSettings
    from export.tflite.app_metadata import with_labels_file, with_metadata_entry
    from export.tflite.pack import pack

    pixels = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 3)).astype(np.uint8)
    ours = [
        convert(_net(), ExportSettings(precision), pixels=pixels if precision.spec.is_calibrated else None)
        for precision in Precision
    ]
    ours += [pack(ours[0]).content, pack(ours[-1]).content]
    labelled = with_labels_file(with_metadata_entry(ours[-2], model_name="net"), ["a", "b", "c", "d"])
    theirs = tf.lite.TFLiteConverter.from_keras_model(_net())
    shrunk = tf.lite.TFLiteConverter.from_keras_model(_net())
    shrunk.optimizations = [tf.lite.Optimize.DEFAULT]

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    def loops(values: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda each: tf.reduce_sum(each) < 9, lambda each: (each + 1,), (values,))[0]

    branched = tf.lite.TFLiteConverter.from_concrete_functions([loops.get_concrete_function()])
    return (*ours, labelled, theirs.convert(), shrunk.convert(), branched.convert())


NATIVE_EVERY = 40
"""Every so many mutations the file also runs in LiteRT, as `verify` opens a file of another tool."""


def read_tflite(content: bytes, folder: Path, number: int) -> None:
    """What explain, verify, bench, export and report do with a file."""
    from export.tflite.inspect import inspect_bytes
    from export.tflite.metadata_reader import read_app_metadata
    from export.tflite.pack import pack
    from export.tflite.submodel import Cutter
    from pipeline.explain.findings import find, find_between, most_important
    from pipeline.explain.join import join
    from pipeline.explain.reading import Wanted, explain_files
    from pipeline.explain.table import layer_table

    path = folder / "file.tflite"
    path.write_bytes(content)
    contents = inspect_bytes(content, name="file")
    (explained,) = explain_files([path], Wanted(timing=None, errors=False))
    joined = join(explained, explained)
    most_important([*find(explained), *find_between(explained, explained, joined)])
    layer_table(explained, sort="order", top=0, width=120)
    cutter = Cutter(content)
    for index in range(min(3, cutter.num_operators)):
        inspect_bytes(cutter.cut(index).content, name="part")
    refused: ExportError | None = None
    for read in (lambda: read_app_metadata(content, name="file"), lambda: pack(content)):
        try:
            read()
        except ExportError as error:
            refused = error
    if number % NATIVE_EVERY == 0 and contents.graph:
        _run_foreign(path)
    if refused is not None:
        raise refused


def _run_foreign(path: Path) -> None:
    from export.check.foreign import read_foreign
    from export.check.runner import Runners

    file = read_foreign(path)
    images = np.random.default_rng(0).uniform(0, 255, (2, *file.shape)).astype(np.float32)
    with Runners(path, file.contents, stored=file.stored) as runners:
        runners.outputs(images)


@functools.cache
def _keras_models() -> tuple[Any, ...]:
    """Of Keras 3 and Keras 2, one each whose layers stand in nested models and are called twice."""
    import keras
    import tf_keras

    found = [_net()]
    for version in (keras, tf_keras):
        layers, image = version.layers, version.Input((SIZE, SIZE, 3))
        inner = version.Sequential([layers.Dense(4, activation="relu"), layers.Dropout(0.1)], name="inner")
        body = version.Sequential(
            [layers.Conv2D(3, 3, padding="same", input_shape=(SIZE, SIZE, 3)), layers.ReLU()]
        )
        pooled = layers.GlobalAveragePooling2D()
        x = layers.Concatenate()([inner(pooled(body(image))), inner(pooled(body(body(image))))])
        found.append(version.Model(image, layers.Dense(3, activation="softmax")(x)))
    layers = tf_keras.layers
    image = tf_keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Conv2D(4, 3)(image / 255.0)))
    return (*found, tf_keras.Model(image, layers.Dense(3)(x)))


def keras_files() -> tuple[bytes, ...]:
    """The models as .keras files."""
    return tuple(_saved(model, ".keras") for model in _keras_models())


def h5_files() -> tuple[bytes, ...]:
    """The models as .h5 files."""
    return tuple(_saved(model, ".h5") for model in _keras_models())


def _saved(model: Any, suffix: str) -> bytes:  # noqa: ANN401 - of either Keras
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        model.save(path)
        return path.read_bytes()


def read_keras(content: bytes, folder: Path, number: int) -> None:
    """What export, compress and verify do first with a model file, whatever its name says."""
    from export.source.keras_file import load

    path = folder / ("model.h5" if number % 3 else "model.keras")
    path.write_bytes(content)
    load(path)

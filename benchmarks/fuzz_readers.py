"""The readers that hold_fuzz.py feeds, each with real files to mutate and the errors that it may end in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fuzz_mutations as mutations
import numpy as np
from fuzz_mutations import Mutation

from android_bench.errors import DeviceError, LogError
from export.errors import ExportError
from pipeline.errors import PipelineError

SIZE = 24


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file: real ones, how they are mutated, and what reads them."""

    sources: Callable[[], Sequence[bytes]]
    mutations: Sequence[Mutation]
    read: Callable[[bytes, Path, int], None]
    """Takes the content, an empty folder's path, and the mutation's number."""
    own_errors: tuple[type[Exception], ...] = (ExportError, PipelineError, DeviceError, LogError)


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
def _tflite_files() -> tuple[bytes, ...]:
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


def _read_tflite(content: bytes, folder: Path, number: int) -> None:
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


KINDS: dict[str, Kind] = {
    "tflite": Kind(sources=_tflite_files, mutations=mutations.TFLITE, read=_read_tflite),
}

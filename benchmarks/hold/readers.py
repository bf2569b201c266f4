"""The readers that fuzz.py feeds, each with real files to mutate and the errors that it may end in."""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutations
import numpy as np
from mutations import Mutation

from android_bench.errors import DeviceError, LogError
from export.errors import ExportError
from pipeline.errors import PipelineError

SIZE = 24


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file: real ones, how they are mutated, and what reads them."""

    title: str
    count: int = 5000
    """How many mutations must hold."""
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


def _keras_files() -> tuple[bytes, ...]:
    return tuple(_saved(model, ".keras") for model in _keras_models())


def _h5_files() -> tuple[bytes, ...]:
    return tuple(_saved(model, ".h5") for model in _keras_models())


def _saved(model: Any, suffix: str) -> bytes:  # noqa: ANN401 - of either Keras
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        model.save(path)
        return path.read_bytes()


def _read_keras(content: bytes, folder: Path, number: int) -> None:
    """What export, compress and verify do first with a model file, whatever its name says."""
    from export.source.keras_file import load

    path = folder / ("model.h5" if number % 3 else "model.keras")
    path.write_bytes(content)
    load(path)


@functools.cache
def _npz_files() -> tuple[bytes, ...]:
    """Grey and colour images with numbers as labels, and with several labels an image."""
    chance = np.random.default_rng(0)
    found = []
    for shape, labels in (((8, 6), (8,)), ((8, 8, 3), (8,)), ((6, 6, 1), (8, 3))):
        images = chance.integers(0, 256, (8, *shape), np.uint8)
        numbers = chance.integers(0, 2, labels)
        packed = io.BytesIO()
        np.savez(packed, x_train=images, y_train=numbers, x_test=images + 1, y_test=numbers)
        found.append(packed.getvalue())
    return tuple(found)


def _read_npz(content: bytes, folder: Path, _: int) -> None:
    from pipeline.data import npz_file
    from pipeline.data.spec import ReadSettings

    path = folder / "images.npz"
    path.write_bytes(content)
    dataset = npz_file.load(path, settings=ReadSettings())
    next(iter(dataset.batches("train", image_size=8, batch_size=4)))


@functools.cache
def _images() -> tuple[bytes, ...]:
    """One image in each format that is read, 16-bit and palette ones too."""
    from PIL import Image

    chance = np.random.default_rng(0)
    colour = Image.fromarray(chance.integers(0, 256, (20, 30, 3), np.uint8))
    deep = Image.fromarray(chance.integers(0, 65_536, (20, 30)).astype(np.uint16))
    found = []
    for image, format_name in (
        *((colour, name) for name in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "ICO")),
        *((deep, name) for name in ("PNG", "TIFF")),
        *((colour.convert(mode), "TIFF") for mode in ("CMYK", "LAB", "1")),
        *((colour.convert(mode), "PNG") for mode in ("P", "LA", "RGBA")),
    ):
        packed = io.BytesIO()
        image.save(packed, format_name, exif=_turned() if format_name in ("JPEG", "PNG") else b"")
        found.append(packed.getvalue())
    return tuple(found)


def _turned() -> bytes:
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif.tobytes()


def _read_image(content: bytes, folder: Path, _: int) -> None:
    """The scan of a folder, and the reading for training; a string says why it is left out."""
    from pipeline.data import pixels, scan

    pixels.quiet_pillow()
    path = folder / "image"
    path.write_bytes(content)
    found = scan.examine(path)
    if isinstance(found, str):
        raise PipelineError(found)
    pixels.from_bytes(content, 16, depth=10)


@functools.cache
def _logs() -> tuple[bytes, ...]:
    """What benchmark_model prints, as captured where the captures are, or as its tests write it."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from captured_logs import LOGS

    if LOGS.is_dir():
        return tuple(
            each.read_bytes() for each in sorted(LOGS.rglob("*")) if each.suffix in (".txt", ".stdout")
        )
    raise SystemExit(f"the captured logs are not at {LOGS}")


def _read_log(content: bytes, _: Path, __: int) -> None:
    from android_bench.printed.encoding import log_text
    from android_bench.printed.pasted import parse_log
    from android_bench.printed.result_file import read_result

    with contextlib.suppress(LogError):
        read_result(content)
    if not parse_log(log_text(content)).runs:
        raise LogError("no run")


_PHONE = b"""@@properties
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]
[ro.product.model]: [Pixel 8]
[ro.build.version.release]: [14]
@@cpus
0-8
@@clusters
/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq 1704000
/sys/devices/system/cpu/cpu8/cpufreq/cpuinfo_max_freq 2914000
@@battery
  AC powered: true
  level: 100
  temperature: 285
@@thermal
Thermal Status: 0
Temperature{mValue=31.2, mType=3, mName=skin, mStatus=0}
"""


def _adb_answers() -> tuple[bytes, ...]:
    """What a server and a phone send: a list of phones, features, a shell's packets, a pulled file."""
    shell = b"\x01" + struct.pack("<I", len(_PHONE)) + _PHONE + b"\x03" + struct.pack("<I", 1) + b"\0"
    pulled = b"DATA" + struct.pack("<I", 9) + b"some data" + b"DONE" + bytes(4)
    listed, features = b"emulator-5554\tdevice\n", b"shell_v2,cmd,stat_v2"
    return (
        b"OKAY%04x" % len(listed) + listed,
        b"OKAY%04x" % len(features) + features,
        b"OKAYOKAY" + shell,
        b"OKAYOKAY" + pulled,
        b"FAIL0010device offline...",
    )


def _read_adb(content: bytes, _: Path, number: int) -> None:
    """Every call on a server that sends these bytes and closes, whatever it is asked."""
    from android_bench.phone.adb import AdbServer, Phone
    from android_bench.phone.device import identify, parse_heat, split_sections

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=_answer, args=(listening, content), daemon=True)
        answering.start()
        server = AdbServer("127.0.0.1", listening.getsockname()[1])
        phone = Phone(server, "emulator-5554")
        calls: tuple[Callable[[], object], ...] = (
            server.list,
            phone.features,
            lambda: parse_heat(split_sections(phone.shell("x", limit_secs=5).output)),
            lambda: phone.pull(["/x"], limit_secs=5),
            lambda: identify(phone),
        )
        try:
            calls[number % len(calls)]()
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            answering.join()


def _answer(listening: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass


_IN_HDF5 = tuple(map(mutations.in_hdf5, (*mutations.BYTES, *4 * (mutations.change_json,))))
_ARCHIVED = tuple(map(mutations.in_archive, (*mutations.BYTES, mutations.change_json, mutations.change_json)))
KINDS: dict[str, Kind] = {
    "tflite": Kind(
        title=".tflite", count=20_000, sources=_tflite_files, mutations=mutations.TFLITE, read=_read_tflite
    ),
    "keras": Kind(
        title=".keras", sources=_keras_files, mutations=(*mutations.BYTES, *_ARCHIVED), read=_read_keras
    ),
    "h5": Kind(title=".h5", sources=_h5_files, mutations=(*mutations.BYTES, *_IN_HDF5), read=_read_keras),
    "npz": Kind(title=".npz", sources=_npz_files, mutations=(*mutations.BYTES, *_ARCHIVED), read=_read_npz),
    "images": Kind(title="images", sources=_images, mutations=mutations.BYTES, read=_read_image),
    "logs": Kind(title="logs", sources=_logs, mutations=mutations.BYTES, read=_read_log),
    "adb": Kind(title="answers of adb", sources=_adb_answers, mutations=mutations.BYTES, read=_read_adb),
}

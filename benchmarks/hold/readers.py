"""The readers that fuzz.py feeds, each with real files to mutate and the errors that it may end in."""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mutations
import numpy as np
from model_files import h5_files, keras_files, read_keras, read_tflite, tflite_files
from mutations import Mutation

from android_bench.errors import DeviceError, LogError
from export.errors import ExportError
from models.errors import CheckpointError
from pipeline.errors import PipelineError


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
def _weights() -> tuple[bytes, ...]:
    """Published weights as .npz, HDF5 and safetensors."""
    import h5py
    import safetensors.numpy

    chance = np.random.default_rng(0)
    shapes = {"conv/kernel": (3, 3, 3, 8), "conv/bias": (8,), "scores/kernel": (8, 4)}
    arrays = {name: chance.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    packed, stored = io.BytesIO(), io.BytesIO()
    np.savez(packed, **arrays)
    with h5py.File(stored, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip" if array.ndim > 1 else None)
    return packed.getvalue(), stored.getvalue(), safetensors.numpy.save(arrays)


def _read_weights(content: bytes, folder: Path, _: int) -> None:
    from models.weights.arrays import read_arrays

    path = folder / "weights"
    path.write_bytes(content)
    read_arrays(path)


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
        title=".tflite", count=20_000, sources=tflite_files, mutations=mutations.TFLITE, read=read_tflite
    ),
    "keras": Kind(
        title=".keras", sources=keras_files, mutations=(*mutations.BYTES, *_ARCHIVED), read=read_keras
    ),
    "h5": Kind(title=".h5", sources=h5_files, mutations=(*mutations.BYTES, *_IN_HDF5), read=read_keras),
    "npz": Kind(title=".npz", sources=_npz_files, mutations=(*mutations.BYTES, *_ARCHIVED), read=_read_npz),
    "weights": Kind(
        title="weights",
        sources=_weights,
        mutations=(*mutations.BYTES, *_ARCHIVED),
        read=_read_weights,
        own_errors=(CheckpointError,),
    ),
    "images": Kind(title="images", sources=_images, mutations=mutations.BYTES, read=_read_image),
    "logs": Kind(title="logs", sources=_logs, mutations=mutations.BYTES, read=_read_log),
    "adb": Kind(title="answers of adb", sources=_adb_answers, mutations=mutations.BYTES, read=_read_adb),
}

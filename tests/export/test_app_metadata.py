"""Standard metadata and labels in a .tflite: read back by zip, inspected, and run by two runtimes."""

import dataclasses
import io
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.artifact import TensorInfo
from export.errors import BadModelFileError, ExportError
from export.labels_file import labels_text
from export.tflite.app_metadata import (
    ENTRY,
    LABELS_FILE,
    normalization,
    with_labels_file,
    with_metadata_entry,
)
from export.tflite.inspect import inspect_bytes

NAMES = ["cat, black", "Käse & Brot", "  blanks  ", "犬🐕", "a\u2028b"]
"""Commas, umlauts, blanks at the ends, letters beyond 16 bits, a line's end to Python alone."""
FILES = [
    ("float32", "int8"),
    ("float16", "int8"),
    ("dynamic", "int8"),
    ("int16x8", "int8"),
    ("int8", "int8"),
    ("int8", "uint8"),
]


def described(content, names=NAMES, model_name="small"):
    return with_labels_file(with_metadata_entry(content, model_name=model_name), names)


def fed(images, precision, io_dtype):
    """The images as an app feeds them."""
    if precision != "int8":
        return images.astype(np.float32)
    return images if io_dtype == "uint8" else (images.astype(np.int16) - 128).astype(np.int8)


def entries(content):
    """The file's metadata entries: name -> bytes."""
    model = schema.Model.GetRootAs(content, 0)
    found = [model.Metadata(index) for index in range(model.MetadataLength())]
    return [(entry.Name().decode(), model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()) for entry in found]


@pytest.mark.parametrize(("precision", "io_dtype"), FILES)
def test_litert_gives_the_same_bits(nets, exported, test_images, precision, io_dtype):
    path = exported(precision, io_dtype)
    stored = fed(test_images, precision, io_dtype)
    before, _, _ = nets.litert(path, stored)
    path.write_bytes(described(path.read_bytes()))
    after, _, _ = nets.litert(path, stored)
    np.testing.assert_array_equal(after, before)


def test_tflite_runtime_gives_the_same_bits(nets, exported, test_images, tmp_path):
    path = exported("int8")
    stored = fed(test_images, "int8", "int8")
    before = nets.tflite_runtime(path, stored, tmp_path)
    path.write_bytes(described(path.read_bytes()))
    np.testing.assert_array_equal(nets.tflite_runtime(path, stored, tmp_path), before)


@pytest.mark.parametrize(("precision", "io_dtype"), FILES)
def test_inspect_finds_the_same_graph(exported, precision, io_dtype):
    content = exported(precision, io_dtype).read_bytes()
    before = inspect_bytes(content, name="before")
    after = inspect_bytes(described(content), name="after")
    same = {"size_bytes": before.size_bytes, "sha256": before.sha256}
    assert dataclasses.replace(after, **same) == before
    assert after.size_bytes > before.size_bytes


def test_the_file_is_a_plain_zip_of_the_labels(exported):
    path = exported("int8")
    path.write_bytes(described(path.read_bytes()))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (entry,) = archive.infolist()
        assert (entry.filename, entry.compress_type) == (LABELS_FILE, zipfile.ZIP_STORED)
        assert archive.read(entry).decode().split("\n") == [*NAMES, ""]


def test_the_entry_is_a_metadata_flatbuffer_and_the_notes_stay(exported):
    content = exported("int8").read_bytes()
    before, after = dict(entries(content)), entries(described(content))
    assert [name for name, _ in after].count(ENTRY) == 1
    found = dict(after)
    assert flatbuffers.util.BufferHasIdentifier(found.pop(ENTRY), 0, b"M001")
    assert found == before


def test_describing_anew_replaces_what_was_there(exported):
    content = exported("int8").read_bytes()
    earlier = described(content, ["v", "w", "x", "y", "z"], model_name="other")
    anew = described(earlier)
    assert [name for name, _ in entries(anew)].count(ENTRY) == 1
    with zipfile.ZipFile(io.BytesIO(anew)) as archive:
        assert archive.namelist() == [LABELS_FILE]
    assert len(anew) == len(described(content))
    assert b"other" not in anew


def test_two_calls_give_one_file(exported):
    content = exported("int8").read_bytes()
    assert described(content) == described(content)


def test_weights_lie_where_the_runtime_can_map_them(exported):
    # else LiteRT and MediaPipe warn of an unaligned buffer and copy it
    content = described(exported("float32").read_bytes())
    model = schema.Model.GetRootAs(content, 0)
    vectors = [model.Buffers(index).DataAsNumpy() for index in range(model.BuffersLength())]
    start = np.frombuffer(content, np.uint8).ctypes.data
    offsets = [vector.ctypes.data - start for vector in vectors if isinstance(vector, np.ndarray)]
    assert len(offsets) > 10
    assert {offset % 16 for offset in offsets} == {0}


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "expected"),
    [
        ("float32", 0.0, 0, (0.0, 1.0)),
        ("int8", 1 / 128, 0, (128.0, 128.0)),
        ("uint8", 1 / 128, 128, (128.0, 128.0)),
        ("int8", 1 / 255, -128, (0.0, 255.0)),
    ],
)
def test_normalization_and_quantization_give_back_the_pixel(dtype, scale, zero_point, expected):
    stored = TensorInfo(name="image", shape=(1, 8, 8, 3), dtype=dtype, scale=scale, zero_point=zero_point)
    mean, std = normalization(stored)
    assert (mean, std) == pytest.approx(expected)
    if scale:
        # the schema: quantized, the normalized value is [0, 255] in uint8 and [-128, 127] in int8 again
        pixel = np.arange(256)
        quantized = np.rint((pixel - mean) / std / scale) + zero_point
        np.testing.assert_array_equal(quantized, pixel - (128 if dtype == "int8" else 0))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("two\nlines", "line break"),
        ("two\rlines", "line break"),
        ("nul\0", "NUL"),
        (" ", "empty"),
        ("\udcff", "no Unicode text"),
    ],
)
def test_a_name_that_no_labels_file_can_hold_is_refused(exported, name, fault):
    with pytest.raises(ExportError, match=rf"class 1, .*{fault}.*--labels FILE"):
        described(exported("int8").read_bytes(), ["a", name, "c", "d", "e"])


def test_another_number_of_names_is_refused(exported):
    with pytest.raises(ExportError, match="3 class names, but the file has 5 outputs"):
        described(exported("int8").read_bytes(), ["a", "b", "c"])


def test_another_file_is_refused():
    with pytest.raises(BadModelFileError, match=r"small is not a \.tflite file"):
        with_metadata_entry(b"no flatbuffer", model_name="small")


def test_entry_and_archive_can_be_added_apart(exported):
    content = exported("int8", "uint8").read_bytes()
    entry = with_metadata_entry(content, model_name="small")
    assert not zipfile.is_zipfile(io.BytesIO(entry))
    assert with_labels_file(entry, NAMES) == described(content)
    assert with_labels_file(entry, NAMES).startswith(entry)


def test_labels_are_one_a_line():
    assert labels_text(["a", "ü, x"]) == b"a\n\xc3\xbc, x\n"

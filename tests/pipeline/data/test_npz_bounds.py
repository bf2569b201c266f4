""".npz files that claim, or unpack to, far more than they hold are refused before the memory is taken."""

import io
import resource
import struct
import zipfile

import numpy as np
import pytest

from pipeline.data import arrays, npz_file
from pipeline.data.spec import ReadSettings
from pipeline.errors import PipelineError


def content(**changed):
    """Four tiny arrays, or others in their place."""
    images = np.zeros((4, 8, 8), np.uint8)
    labels = np.array([0, 1, 0, 1])
    found = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels, **changed}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, each in found.items():
            if isinstance(each, bytes):
                archive.writestr(f"{name}.npy", each)
            else:
                held = io.BytesIO()
                np.save(held, each)
                archive.writestr(f"{name}.npy", held.getvalue())
    return packed.getvalue()


@pytest.fixture
def refused(tmp_path):
    """The error for a file, which must not have taken 200 MiB more than before."""

    def error_of(packed):
        path = tmp_path / "images.npz"
        path.write_bytes(packed)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(PipelineError) as caught:
            npz_file.load(path, settings=ReadSettings())
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return error_of


def header(shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize("label", [2**40, 2**31, 100_000])
def test_a_label_beyond_every_data_set_is_refused_and_not_counted_up_to(refused, label):
    error = refused(content(y_train=np.array([0, 1, 0, label])))
    assert f"holds the label {label:,}, and 100,000 classes at most are read" in error


def test_unsigned_labels_beyond_int64_are_refused(refused):
    assert "holds the label" in refused(content(y_test=np.array([0, 1, 0, 2**64 - 1], np.uint64)))


@pytest.mark.parametrize("shape", ["(1152921504606846975, 8, 8)", "(4000000000, 8, 8)"])
def test_a_header_that_claims_more_than_there_is_is_refused(refused, shape):
    assert "'x_train' claims" in refused(content(x_train=header(shape) + bytes(256)))


def test_zeros_that_unpack_to_hundreds_of_times_their_size_are_refused(refused):
    zeros = np.zeros((3_000, 320, 320), np.uint8)
    assert "it unpacks to 293 MiB, more than 256 MiB" in refused(content(x_train=zeros))


@pytest.mark.parametrize("broken", [b"", b"\x93NUMPY", header("(4,"), header("4"), b"x" * 200])
def test_a_broken_header_is_refused(refused, broken):
    assert "cannot be read as a .npz file" in refused(content(x_train=broken))


@pytest.mark.parametrize(
    "labels", [np.array(3), np.zeros((4, 0), int), np.zeros((2, 2, 2), int), np.array([])]
)
def test_labels_of_no_row_are_refused(refused, labels):
    assert "Expected were" in refused(content(y_train=labels))


def test_a_single_array_is_told(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(PipelineError, match="it is a single array"):
        arrays.read_npz(tmp_path / "one.npy")

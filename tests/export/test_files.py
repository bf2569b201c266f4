"""Whole or not at all; sidecars back as they went; what stands in a file of another kind."""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from export.artifact import (
    Calibration,
    ExportArtifact,
    OperatorUse,
    Precision,
    TensorInfo,
    read_sidecar,
    sidecar_content,
    sidecar_path,
)
from export.errors import BadModelFileError
from export.files import replacing, write_bytes
from export.head import Head, HeadKind
from export.settings import ExportSettings

ARTIFACT = ExportArtifact(
    path="m.tflite",
    sha256="a" * 64,
    size_bytes=3,
    downloaded_bytes=2,
    settings=ExportSettings(Precision.INT8, logits=True, keep_float=("conv",), seed=3),
    parent_sha256="b" * 64,
    model_name="m",
    family="mobilenet",
    knobs={"alpha": 0.5},
    input=TensorInfo(name="image", shape=(1, 32, 32, 3), dtype="int8", scale=1 / 128),
    output=TensorInfo(name="out", shape=(1, 2), dtype="int8", scale=1 / 256, zero_point=-128),
    pixels="raw",
    class_names=("cat", "dog"),
    operators=(OperatorUse(name="CONV_2D", version=3, count=2),),
    float_operators=(),
    tensor_names=("image", "", "out"),
    min_runtime_version="1.14.0",
    tflite_runtime_loads=None,
    calibration=Calibration(
        dataset="d",
        split="train",
        num_samples=2,
        seed=0,
        samples_per_class={"cat": 1, "dog": 1},
        sha256="c" * 64,
    ),
    versions={"keras": "3"},
    created_utc="2025-01-01T00:00:00+00:00",
)


def test_a_sidecar_comes_back_as_it_went(tmp_path):
    sidecar_path(tmp_path / "m.tflite").write_bytes(sidecar_content(ARTIFACT))
    assert read_sidecar(tmp_path / "m.tflite") == ARTIFACT


def read_changed(tmp_path, change):
    """The sidecar read back after `change` was made to its JSON."""
    record = json.loads(sidecar_content(ARTIFACT))
    change(record)
    sidecar_path(tmp_path / "m.tflite").write_text(json.dumps(record))
    return read_sidecar(tmp_path / "m.tflite")


NEWER = ("head", "equalization", "dtype_policy", "dataset_class_names", "float_layers")


@pytest.mark.parametrize("names", [NEWER, *((name,) for name in NEWER)], ids=" ".join)
def test_a_sidecar_of_an_earlier_version_means_what_it_meant(tmp_path, names):
    found = read_changed(tmp_path, lambda record: [record.pop(name) for name in names])
    classes = Head(kind=HeadKind.CLASSES, num_outputs=2)
    assert found == dataclasses.replace(ARTIFACT, head=classes if "head" in names else ARTIFACT.head)


def test_a_field_of_a_part_that_came_later_takes_its_default(tmp_path):
    found = read_changed(tmp_path, lambda record: record["calibration"].pop("left_out"))
    assert found == ARTIFACT
    found = read_changed(tmp_path, lambda record: record["settings"].pop("typical"))
    assert found == ARTIFACT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("tensor_names"), "it has no 'tensor_names'"),
        (lambda record: record.pop("settings"), "it has no 'settings'"),
        (lambda record: record["settings"].pop("rewrites"), "it has no 'rewrites'"),
        (lambda record: record["settings"].pop("io_dtype"), "it has no 'io_dtype'"),
        (lambda record: record.update(sparkles=1), "'sparkles' is unknown here: a later version wrote it"),
        (lambda record: record.update(path=3), "'path' is 3"),
        (lambda record: record.update(size_bytes=True), "'size_bytes' is True"),
        (
            lambda record: (record.pop("equalization"), record["settings"].update(equalize=True)),
            "equalized by an earlier version, which did not record how",
        ),
    ],
)
def test_what_has_no_meaning_is_named_with_what_to_do(tmp_path, change, said):
    with pytest.raises(
        BadModelFileError, match=rf"m.json cannot be read .*{said}.*Export the model again\.$"
    ):
        read_changed(tmp_path, change)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"path": "m.tflite"}', "null"])
def test_a_damaged_sidecar_is_refused_in_one_line(tmp_path, content):
    sidecar_path(tmp_path / "m.tflite").write_text(content)
    with pytest.raises(BadModelFileError, match="Export the model again"):
        read_sidecar(tmp_path / "m.tflite")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    write_bytes(tmp_path / "file.bin", b"old")

    def fail():
        with replacing(tmp_path / "file.bin") as partial:
            partial.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.bin"]


def test_a_killed_process_leaves_no_file_that_looks_finished(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from export.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half'); print('writing', flush=True); time.sleep(60)\n"
    )
    target = tmp_path / "model.tflite"
    with subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
    assert not target.exists()
    assert all(each.name.startswith(".") for each in tmp_path.iterdir())


def test_reading_a_sidecar_needs_neither_numpy_nor_tensorflow():
    program = (
        "import sys, export.artifact, export.errors, export.files, export.verification; "
        "import export.check.load_check; "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""What is said when an exported file takes another one's place."""

import json

import pytest
from report_records import measurement, verification

from export.files import sha256_of
from export.precisions import Precision
from pipeline.steps.export import _told_once
from pipeline.steps.replaced import digests, replaced_files
from pipeline.store.store import open_store


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net_int8.tflite"
    path.write_bytes(b"the first")
    return path


def replaced(file, runs):
    before = digests([file, file.with_name("missing.tflite")])
    file.write_bytes(b"the second")
    return replaced_files(before, runs=runs)


def test_a_file_that_nothing_is_known_of_is_replaced_in_silence(file, tmp_path):
    assert replaced(file, tmp_path) == ()


def test_a_file_that_stays_the_same_is_not_replaced(file, tmp_path):
    with open_store(tmp_path) as store:
        store.add_measurement(measurement(sha256_of(file), path=str(file)))
    assert replaced_files(digests([file]), runs=tmp_path) == ()


def test_figures_of_a_replaced_file_are_named(file, tmp_path):
    with open_store(tmp_path) as store:
        store.add_verification(verification(sha256_of(file), path=str(file)))
        store.add_measurement(measurement(sha256_of(file), path=str(file)))
        store.add_measurement(measurement(sha256_of(file), path=str(file), num_threads=2))
    (found,) = replaced(file, tmp_path)
    assert found.words == (
        "net_int8.tflite replaced another file of that name, which was verified and measured 2 times: "
        "those figures leave the report. Verify and bench the new one."
    )


def test_a_kit_of_a_replaced_file_is_stale_until_it_is_made_again(file, tmp_path):
    kit = tmp_path / "kit"
    kit.mkdir()
    record = {"made_by": "pipeline export --android-kit", "files": {file.name: sha256_of(file)}}
    (kit / "kit.json").write_text(json.dumps(record))
    with open_store(tmp_path) as store:
        store.add_kit(sha256_of(file), kit)
    (found,) = replaced(file, tmp_path)
    assert f"The Android kit in {kit} holds the replaced net_int8.tflite: make it again" in found.words
    (kit / "kit.json").write_text(json.dumps({**record, "files": {file.name: sha256_of(file)}}))
    assert found.words == ""


def test_a_refusal_that_all_precisions_share_is_told_once():
    text = "cannot convert net to {0}: no kernel for FOO. See net_{0}.tflite."
    told = _told_once([(each, text.format(each)) for each in (Precision.FLOAT32, Precision.INT8)])
    (line,) = told
    assert line == f"{text.format('float32')} The same holds for int8."
    apart = _told_once([(Precision.FLOAT32, "one"), (Precision.INT8, "another")])
    assert apart == ("one", "another")

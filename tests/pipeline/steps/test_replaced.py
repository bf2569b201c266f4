"""An exported file with figures or a kit: what may take its place, through the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import pytest
from report_records import measurement, verification

from export.artifact import read_sidecar, sidecar_content, sidecar_path
from export.files import sha256_of
from export.precisions import Precision
from pipeline.cli import run
from pipeline.steps.export_notes import told_once
from pipeline.steps.replaced import known_files
from pipeline.store.store import open_store

layers = keras.layers


def net(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(3, activation="softmax", name="out")(x), name="mine")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_RUNS", "runs")
    net(0).save("mine.keras")
    return tmp_path


FILE = Path("out/mine_float32.tflite")


def export(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Exit status, and stderr."""
    capsys.readouterr()
    status = run(["export", "mine.keras", "--float32", "--out", "out", *options])
    return status, capsys.readouterr().err


def measured(path: Path = FILE) -> None:
    """Adds the figures of two measurements and a verification of the file."""
    with open_store(Path("runs")) as store:
        store.add_verification(verification(sha256_of(path), path=str(path)))
        store.add_measurement(measurement(sha256_of(path), path=str(path)))
        store.add_measurement(measurement(sha256_of(path), path=str(path), num_threads=2))


def test_a_file_without_figures_is_replaced_freely(folder, capsys):
    assert export(capsys)[0] == 0
    before = FILE.read_bytes()
    status, said = export(capsys, "--logits")
    assert (status, "replaced" in said, "unchanged" in said) == (0, False, False)
    assert FILE.read_bytes() != before


def test_the_same_bytes_are_unchanged_and_keep_their_figures(folder, capsys):
    export(capsys)
    measured()
    status, said = export(capsys)
    assert status == 0
    assert "unchanged, the same bytes as before: mine_float32.tflite\n" in said


def test_other_settings_stop_before_anything_is_read(folder, capsys):
    export(capsys)
    measured()
    before = FILE.read_bytes()
    status, said = export(capsys, "--logits")
    assert status == 2
    assert said == (
        "pipeline: mine_float32.tflite was verified and measured 2 times, and was made with --logits off, "
        "now on. Nothing was written. Keep both: --out FOLDER. Replace it: --force.\n"
    )  # alone: not even the model was read
    assert FILE.read_bytes() == before
    assert run(["export", "mine.keras", "--float32", "--logits", "--out", "other"]) == 0


def test_another_model_and_other_pixels_stop_too(folder, capsys):
    export(capsys)
    measured()
    status, said = export(capsys, "--scale", "1/255")
    assert (status, "made for other pixels" in said) == (2, True)
    net(1).save("mine.keras")
    status, said = export(capsys)
    assert (status, "was made of another model (sha256 " in said) == (2, True)


def test_other_labels_stop_once_the_model_is_read(folder, capsys):
    export(capsys)
    measured()
    Path("names.txt").write_text("a\nb\nc\n")
    status, said = export(capsys, "--labels", "names.txt")
    assert (status, "holds other class names. Nothing was written" in said) == (2, True)


def test_other_bytes_of_the_same_settings_are_not_written(folder, capsys):
    """As with another version of the converter."""
    export(capsys)
    artifact = read_sidecar(FILE)
    FILE.write_bytes(FILE.read_bytes() + b"\0")
    artifact = dataclasses.replace(artifact, sha256=sha256_of(FILE))
    sidecar_path(FILE).write_bytes(sidecar_content(artifact))
    measured()
    before = sha256_of(FILE)
    status, said = export(capsys)
    assert (status, sha256_of(FILE)) == (1, before)
    assert "the new mine_float32.tflite has other bytes (sha256 " in said
    assert "measured 2 times, and stays. Keep both: --out FOLDER. Replace it: --force." in said


def test_force_replaces_and_says_what_leaves_the_report(folder, capsys):
    export(capsys)
    measured()
    status, said = export(capsys, "--logits", "--force")
    assert status == 0
    assert (
        "mine_float32.tflite replaced another file of that name, which was verified and measured 2 times. "
        "Its figures leave the report: verify and bench the new one." in said
    )


def test_force_makes_a_kit_again_and_names_one_that_was_changed(folder, capsys):
    export(capsys, "--android-kit", "app")
    export(capsys, "--android-kit", "copy")
    Path("copy/labels.txt").write_text("mine")
    status, said = export(capsys, "--logits")
    assert status == 2
    kits = f"is in the Android kits {folder / 'app'} and {folder / 'copy'}, and was made with --logits"
    assert kits in said
    status, said = export(capsys, "--logits", "--force")
    assert status == 0
    assert f"Made the Android kit in {folder / 'app'} again, of the new file." in said
    assert f"The Android kit in {folder / 'copy'} is stale, it holds the earlier file: " in said
    assert sha256_of(Path("app", FILE.name)) == sha256_of(FILE) != sha256_of(Path("copy", FILE.name))
    assert export(capsys, "--logits", "--force")[1].count("kit") == 0


def test_the_kit_that_a_command_writes_anew_needs_no_force(folder, capsys):
    export(capsys, "--android-kit", "app")
    assert export(capsys, "--logits", "--android-kit", "app")[0] == 0
    assert sha256_of(Path("app", FILE.name)) == sha256_of(FILE)


def test_a_kit_that_is_gone_protects_nothing(folder, capsys):
    export(capsys, "--android-kit", "app")
    shutil.rmtree("app")
    assert export(capsys, "--logits")[0] == 0


def test_like_keeps_the_name_and_the_file_it_would_replace(folder, capsys):
    export(capsys)
    kept = json.loads(sidecar_path(FILE).read_text())
    Path("kept.json").write_text(json.dumps({**kept, "path": "mine_float32-2.tflite"}))
    export(capsys, "--logits")
    measured()
    assert run(["export", "--like", "kept.json", "--out", "out"]) == 0
    assert sha256_of(Path("out/mine_float32-2.tflite")) == kept["sha256"]
    Path("kept.json").write_text(json.dumps(kept))
    assert run(["export", "--like", "kept.json", "--out", "out"]) == 2
    assert "--logits on, now off" in capsys.readouterr().err


def test_nothing_is_known_without_a_store(tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"x")
    assert known_files([tmp_path / "x.tflite"], runs=tmp_path / "runs") == {}
    assert not (tmp_path / "runs").exists()


def test_a_refusal_that_all_precisions_share_is_told_once():
    text = "cannot convert net to {0}: no kernel for FOO. See net_{0}.tflite."
    told = told_once([(each, text.format(each)) for each in (Precision.FLOAT32, Precision.INT8)])
    (line,) = told
    assert line == f"{text.format('float32')} The same holds for int8."
    apart = told_once([(Precision.FLOAT32, "one"), (Precision.INT8, "another")])
    assert apart == ("one", "another")

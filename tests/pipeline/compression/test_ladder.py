"""`pipeline compress --max-drop`: the first thing that holds is taken, and all that was tried is shown.

What is tried in which order is tested with attempts and times that the tests make up; how each file is made,
with real attempts; and all of it together twice, with the first rung and with the last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from report_records import export_artifact, sha256, verification

from export.artifact import read_sidecar, sidecar_path
from export.errors import ExportError, FloatOperatorError
from export.exporter import SourceModel, export_model
from export.files import sha256_of
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.inspect import inspect
from pipeline.class_names import match_classes
from pipeline.cli import run
from pipeline.compression import ladder
from pipeline.compression.attempts import Attempts, Subject
from pipeline.data.registry import load
from pipeline.errors import PipelineError
from pipeline.lineage import KerasSource, find_source, load_model_of
from pipeline.store.store import open_store

layers = keras.layers
NO_WAY = "-100"
"""Points that no file can gain."""


def net(*, num_readers: int, factor: float, opinion: float = 50.0) -> keras.Model:
    """Tells which colour is brightest, by the mean of three channels; an eighth is `factor` times as large.

    int8 has one scale for all of them: where the eighth is large, the three are rounded away. Before several
    readers, a layer in training mode keeps equalizing from seeing through.
    """
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 128, -1.0, name="pixels")(image)
    x = layers.Conv2D(8, 1, activation="relu", name="wide")(x)
    if num_readers > 1:
        x = layers.Dropout(0.0, name="never")(x, training=True)
    readers = [layers.Conv2D(8, 1, name=f"reader{each}")(x) for each in range(num_readers)]
    x = layers.Add(name="sum")(readers) if num_readers > 1 else readers[0]
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    x = layers.Softmax(name="probabilities")(layers.Dense(3, name="logits")(x))
    model = keras.Model(image, x)
    kernel, bias = np.zeros((1, 1, 3, 8)), np.zeros(8)
    kernel[0, 0, range(3), range(3)] = bias[:3] = 1
    kernel[0, 0, :, 7] = bias[7] = factor
    model.get_layer("wide").set_weights([kernel, bias])
    for each in range(num_readers):
        kernel = (1 + each) * np.eye(8)
        kernel[7] = 0.1 / factor
        model.get_layer(f"reader{each}").set_weights([kernel[None, None], np.zeros(8)])
    kernel = np.random.default_rng(0).normal(0, 0.01, (8, 3))
    kernel[range(3), range(3)] = opinion
    model.get_layer("logits").set_weights([kernel, np.zeros(3)])
    return model


NETS = {
    "even": net(num_readers=1, factor=1.0),
    "wide": net(num_readers=1, factor=1000.0),
    "forked": net(num_readers=2, factor=1000.0),
    "wrong": net(num_readers=1, factor=1.0, opinion=-1.0),
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the nets and 300 images, that the commands are run in."""
    folder = tmp_path_factory.mktemp("ladder")
    random = np.random.default_rng(0)
    arrays = {}
    for split, num in (("train", 300), ("test", 30)):
        labels = np.arange(num) % 3
        images = random.integers(0, 128, (num, 16, 16, 3))
        images[np.arange(num), :, :, labels] += 100
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.uint8)}
    np.savez(folder / "colours.npz", **arrays)
    for name, model in NETS.items():
        model.save(folder / f"{name}.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        yield folder


def compress(name: str, *arguments: str) -> int:
    return run(["compress", f"{name}.keras", "--data", "colours.npz", *arguments])


def only_file(folder: Path, pattern: str) -> Path:
    (file,) = folder.glob(f"runs/{pattern}/export/*.tflite")
    return file


AFTER_TRAINING = (*ladder.MORE_KEPT, ladder.ALL_KEPT)
PLAIN = dataclasses.replace(ladder.CALIBRATION, equalize=False)


# what is tried, in which order


def made_up(name: str, *, drop: float, size_bytes: int = 1000) -> ladder.Candidate:
    """A file that loses `drop` points of 90."""
    artifact = export_artifact(sha256=sha256(name), size_bytes=size_bytes, downloaded_bytes=size_bytes - 100)
    source = KerasSource(
        model_path=Path("model.keras"),
        model_name="model",
        family=None,
        class_names=None,
        data=None,
        export_folder=Path("runs/a-run/export"),
    )
    found = verification(artifact.sha256, keras_top1=90.0, tflite_top1=90.0 - drop, drop_points=drop)
    return ladder.Candidate(path=Path(name), artifact=artifact, verification=found, source=source)


def climb(
    outcomes: Sequence[ladder.Candidate | Exception],
    *,
    max_drop: float,
    times: dict[str, float] | None = None,
) -> tuple[ladder.Climb, list[str]]:
    """The climb over files that are given, in the order of the rungs, and what it said."""
    said: list[str] = []

    rungs = ladder.rungs(300, trains=True)

    def skips(rung: ladder.Rung, candidates: Sequence[ladder.Candidate]) -> bool:
        return rungs.index(rung) >= len(outcomes)

    def attempt(rung: ladder.Rung, candidates: Sequence[ladder.Candidate]) -> ladder.Candidate:
        outcome = outcomes[rungs.index(rung)]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def time_files(paths: Sequence[Path]) -> dict[str, float | None]:
        return {sha256(path.name): (times or {}).get(path.name) for path in paths}

    found = ladder.climb(
        rungs, attempt, time_files, skips=skips, max_drop=max_drop, run="a-run", tell=said.append
    )
    return found, said


def test_more_images_are_not_tried_where_there_are_none() -> None:
    assert ladder.MORE_IMAGES not in ladder.rungs(ladder.FEW_IMAGES, trains=True)
    assert ladder.MORE_IMAGES in ladder.rungs(ladder.FEW_IMAGES + 1, trains=True)


def test_the_cheap_rungs_come_first_and_ever_more_float_last() -> None:
    assert [each.name for each in ladder.rungs(300, trains=True)] == [
        "calibration",
        "more images",
        "typical images",
        "equalize",
        "float x1",
        "float x2",
        "float x4",
        "qat",
        *(f"float x{number}" for number in (8, 16, 32, 64, 128, 256, 512, 1024)),
        "float",
    ]
    assert "qat" not in [each.name for each in ladder.rungs(300, trains=False)]


def test_the_first_that_holds_is_taken_and_nothing_is_tried_after_it() -> None:
    files = [made_up("a", drop=40), made_up("b", drop=35), made_up("c", drop=33), made_up("d", drop=2)]
    found, said = climb(files, max_drop=3, times={"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    assert [each.rung for each in found.tries] == ["calibration", "more images", "typical images", "equalize"]
    assert [each.holds for each in found.tries] == [False, False, False, True]
    assert [each.taken for each in found.tries] == [False, False, False, True]
    assert [each.median_ms for each in found.tries] == [1.0, 2.0, 3.0, 4.0]
    assert (found.taken.path.name, found.holds, found.float_top1) == ("d", True, 90.0)
    assert {each.run for each in found.tries} == {"a-run"}
    assert said[-1] == "equalize: +2.00 points lost, 1,000 bytes"


def test_where_nothing_holds_the_one_that_loses_least_is_taken() -> None:
    drops = [9.0, 8.0, 7.5, 2.0, 1.5, 1.0, 1.0]
    files = [made_up(str(index), drop=drop) for index, drop in enumerate(drops)]
    files[6] = made_up("smaller", drop=1.0, size_bytes=900)
    found, said = climb([*files, PipelineError("no training")], max_drop=-100)
    # a rung that is skipped is not announced
    assert [words.split(":")[0] for words in said if words.startswith("trying")] == [
        f"trying {rung.name}" for rung in ladder.rungs(300, trains=True)[: len(files) + 1]
    ]
    assert (len(found.tries), found.holds, found.taken.path.name) == (8, False, "smaller")
    assert (found.tries[7].refused, found.tries[7].drop_points) == ("no training", None)
    assert [each.taken for each in found.tries] == [False] * 6 + [True, False]


def test_a_rung_that_gives_no_file_is_passed_over_and_shown_with_its_reason() -> None:
    outcomes = [made_up("a", drop=9), ExportError("no way"), made_up("c", drop=1)]
    found, said = climb(outcomes, max_drop=2)
    assert [each.refused for each in found.tries] == ["", "no way", ""]
    assert found.tries[1].artifact_sha256 is None
    assert found.taken.path.name == "c"
    assert "more images: no way" in said


def test_where_the_first_rung_gives_no_file_its_reason_is_raised() -> None:
    with pytest.raises(ExportError, match="cannot be converted"):
        climb([ExportError("cannot be converted")], max_drop=2)


def test_two_rungs_that_give_one_file_are_taken_once() -> None:
    found, _ = climb([made_up("a", drop=9), made_up("a", drop=9), made_up("c", drop=10)] * 3, max_drop=-100)
    assert sum(each.taken for each in found.tries) == 1


def test_a_file_that_was_decided_is_kept_when_the_timing_is_stopped() -> None:
    found, _ = climb([made_up("a", drop=0)], max_drop=1)
    (only,) = found.tries
    assert only.taken
    assert only.median_ms is None
    assert only.artifact_sha256 == found.taken.artifact.sha256


# how a file is made


@pytest.fixture
def attempts_of(folder: Path, tmp_path: Path) -> Callable[..., Attempts]:
    """A net's attempts on a data set, into an empty folder."""

    def make(name: str, data: str = "colours.npz") -> Attempts:
        source = find_source(f"{name}.keras", data=data, folder=folder / "runs")
        model = load_model_of(source)
        dataset = load(data)
        names = dataset.spec.class_names
        subject = Subject(
            source=source,
            model=model,
            dataset=dataset,
            calibration=dataset,
            image_size=16,
            matched=match_classes(names, names, name="model"),
            seed=0,
        )
        return Attempts(subject=subject, scratch=tmp_path, train=None)

    return make


def lost(candidate: ladder.Candidate) -> float:
    return candidate.verification.keras_top1 - candidate.verification.tflite_top1


def test_equalizing_gives_back_what_one_wide_channel_took(attempts_of: Callable[..., Attempts]) -> None:
    attempts = attempts_of("wide")
    calibrated = attempts(PLAIN, [])
    assert lost(calibrated) > 30
    equalized = attempts(ladder.EQUALIZE, [calibrated])
    assert lost(equalized) <= 3
    assert equalized.artifact.settings.equalize
    assert equalized.artifact.float_operators == ()
    assert sha256_of(equalized.path) == equalized.artifact.sha256
    assert equalized.path.stat().st_size == equalized.artifact.size_bytes


def test_the_first_file_gives_it_back_by_itself(attempts_of: Callable[..., Attempts]) -> None:
    calibrated = attempts_of("wide")(ladder.CALIBRATION, [])
    assert calibrated is not None
    assert lost(calibrated) <= 3
    done = calibrated.artifact.equalization
    assert done is not None
    assert done.factors


def odd_net() -> keras.Model:
    """As net(), but the eighth channel is zero unless a pixel is pure green, and then a thousand."""
    model = net(num_readers=1, factor=1000.0)
    kernel, bias = model.get_layer("wide").get_weights()
    kernel[0, 0, :, 7] = -1000, 1000, -1000
    bias[7] = -2000
    model.get_layer("wide").set_weights([kernel, bias])
    return model


def test_images_that_alone_widen_the_ranges_are_left_out(
    attempts_of: Callable[..., Attempts], folder: Path
) -> None:
    """Seven images of 360 have a pixel of a colour that sets a range a thousand times as wide."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, num in (("train", 360), ("test", 30)):
        labels = np.arange(num) % 3
        images = random.integers(64, 128, (num, 16, 16, 3))
        images[np.arange(num), :, :, labels] += 60
        if split == "train":
            images[25::50, 3, 5] = 0, 255, 0
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.uint8)}
    np.savez(folder / "odd.npz", **arrays)
    odd_net().save(folder / "odd.keras")
    attempts = attempts_of("odd", "odd.npz")
    calibrated = attempts(PLAIN, [])
    assert lost(calibrated) > 30
    typical = attempts(dataclasses.replace(ladder.TYPICAL, equalize=False), [calibrated])
    assert lost(typical) <= 3
    calibration = typical.artifact.calibration
    assert calibration is not None
    assert (calibration.num_samples, calibration.left_out) == (190, 10)
    assert sum(calibration.samples_per_class.values()) == 190


def test_a_tensor_that_two_layers_read_is_left_in_float_with_them(
    attempts_of: Callable[..., Attempts],
) -> None:
    attempts = attempts_of("forked")
    calibrated = attempts(ladder.CALIBRATION, [])
    equalized = attempts(ladder.EQUALIZE, [calibrated])
    assert lost(calibrated) > 3
    assert lost(equalized) > 3
    kept = attempts(ladder.KEPT[0], [calibrated, equalized])
    assert lost(kept) <= 3
    assert kept.artifact.float_layers == ("wide", "reader0", "reader1")
    contents = inspect(kept.path)
    floats = [
        operator.name
        for operator in contents.graph
        if contents.tensors[operator.outputs[0]].dtype == "float32"
    ]
    assert floats == ["DEQUANTIZE", "CONV_2D", "CONV_2D", "CONV_2D"]
    assert contents.inputs[0].dtype == contents.outputs[0].dtype == "int8"


def test_with_every_layer_in_float_nothing_is_lost(attempts_of: Callable[..., Attempts]) -> None:
    attempts = attempts_of("forked")
    calibrated = attempts(ladder.CALIBRATION, [])
    assert attempts.skips(ladder.MORE_KEPT[1], [calibrated])  # it has fewer than eight activations
    assert not attempts.skips(ladder.ALL_KEPT, [calibrated])
    kept = attempts(ladder.ALL_KEPT, [calibrated])
    assert lost(kept) == 0
    assert {"wide", "reader0", "reader1", "logits"} <= set(kept.artifact.float_layers)
    contents = inspect(kept.path)
    assert contents.inputs[0].dtype == contents.outputs[0].dtype == "int8"


def test_what_was_tried_is_made_again_from_its_sidecar(
    attempts_of: Callable[..., Attempts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = attempts_of("forked")
    calibrated = attempts(ladder.CALIBRATION, [])
    kept = attempts(ladder.KEPT[0], [calibrated])
    monkeypatch.chdir(tmp_path)  # the data set was given by its name in another folder
    assert run(["export", "--like", str(sidecar_path(kept.path)), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / kept.path.name).read_bytes() == kept.path.read_bytes()


# the command


def test_where_plain_calibration_holds_nothing_else_is_tried(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    capsys.readouterr()
    assert compress("even", "--max-drop", "1", "--json") == 0
    (only,) = json.loads(capsys.readouterr().out)
    assert (only["rung"], only["holds"], only["taken"]) == ("calibration", True, True)
    assert only["median_ms"] > 0
    file = only_file(folder, "even-*")
    artifact = read_sidecar(file)
    assert (artifact.settings.equalize, artifact.float_operators) == (None, ())
    assert artifact.calibration is not None
    assert artifact.calibration.num_samples == ladder.FEW_IMAGES
    assert sha256_of(file) == artifact.sha256 == only["artifact_sha256"]
    assert (file.stat().st_size, artifact.downloaded_bytes) == (only["size_bytes"], only["downloaded_bytes"])
    assert [each.name for each in file.parent.iterdir() if each not in (file, sidecar_path(file))] == []
    with open_store(folder / "runs") as store:
        (found,) = store.verifications(artifact.sha256)
        assert artifact.sha256 in {sha256_of(path) for path in store.artifacts().values()}
    assert (found.split, found.drop_points) == ("validation", only["drop_points"])


def test_a_file_in_a_kit_stays_beside_the_one_that_was_found(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    NETS["even"].save(folder / "shipped.keras")
    few = ("--int8", "--no-equalize", "--num-calibration", "5", "--io-dtype", "int8")
    kit = folder / "app-kit"
    data = ("--data", "colours.npz")
    assert run(["export", "shipped.keras", *few, *data, "--android-kit", str(kit)]) == 0
    shipped = only_file(folder, "shipped-*")
    before = sha256_of(shipped)
    capsys.readouterr()
    assert compress("shipped", "--max-drop", "1") == 0
    said = capsys.readouterr().err
    assert f"shipped_int8.tflite is in the Android kit {kit}, and stays; --force replaces it." in said
    new = shipped.with_name("shipped_int8-2.tflite")
    assert (sha256_of(shipped), read_sidecar(new).path) == (before, new.name)
    assert f"{new.relative_to(folder)}. Next" in said
    assert compress("shipped", "--max-drop", "1", "--force") == 0
    said = capsys.readouterr().err
    assert f"Made the Android kit in {kit} again, of the new file." in said
    assert sha256_of(shipped) == sha256_of(kit / shipped.name) == sha256_of(new) != before


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[str, str, Path]:
    """What was printed of a model that is always wrong, for which training alone can gain, and its run."""
    arguments = ("--epochs", "2", "--learning-rate", "0.05", "--batch-size", "16", "--no-augment")
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        assert compress("wrong", "--max-drop", "-20", *arguments) == 0
    (run,) = folder.glob("runs/wrong_qat-*")
    return out.getvalue(), err.getvalue(), run


def rows(table: str) -> list[str]:
    return [line for line in table.splitlines()[3:] if "  " in line][:8]


def test_training_is_the_last_resort_and_makes_a_run(trained: tuple[str, str, Path], folder: Path) -> None:
    out, err, run = trained
    table = rows(out)
    assert [line.split("  ")[0].strip() for line in table] == [
        each.name for each in ladder.rungs(num_train=300, trains=True) if each not in AFTER_TRAINING
    ]
    assert all(len(line) <= 80 for line in table)
    assert ["too much" in line for line in table] == [True] * 7 + [False]
    assert [line for line in table if "taken" in line] == table[-1:]
    assert all(re.search(r" \d[\d.e+-]*  +(too much|holds)", line) for line in table)  # each with its ms
    # more right than the model it was made from
    assert float(re.search(r"qat: ([+-][\d.]+) points lost", err)[1]) <= -20
    file = only_file(folder, "wrong_qat-*")
    artifact = read_sidecar(file)
    assert artifact.sha256 == sha256_of(file)
    assert artifact.calibration is None
    assert f"Wrote {file.relative_to(folder)}" in err or f"Wrote {file}" in err
    assert not list(folder.glob("runs/wrong-*/export/*.tflite"))
    assert run.name == file.parent.parent.name


def test_a_run_with_quantizers_of_its_own_is_refused(
    trained: tuple[str, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["compress", trained[2].name, "--max-drop", "1"]) == 2
    assert "only more training can improve it" in capsys.readouterr().err


def test_where_nothing_holds_the_best_is_kept_and_the_status_is_1(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2DTranspose(3, 3, name="spread")(image)  # no kernel that can be trained quantized
    x = layers.Softmax(name="out")(layers.GlobalAveragePooling2D(name="gap")(x))
    keras.Model(image, x, name="spread").save(folder / "spread.keras")
    with np.load(folder / "colours.npz") as arrays:  # a few images: one rung less, and quick
        few = {name: array[:60] for name, array in arrays.items()}
    np.savez(folder / "few.npz", **few)
    capsys.readouterr()
    assert run(["compress", "spread.keras", "--data", "few.npz", "--max-drop", NO_WAY]) == 1
    printed = capsys.readouterr()
    table = rows(printed.out)[:8]
    assert [line.split("  ")[0].strip() for line in table] == [
        *(each.name for each in ladder.rungs(60, trains=True) if each not in AFTER_TRAINING),
        "float",
    ]
    assert all(len(line) <= 80 for line in table)
    assert [("too much" in line) + 2 * ("no file" in line) for line in table] == [1] * 6 + [2, 1]
    assert sum("taken" in line for line in table) == 1
    assert "'spread' has no convolution or Dense that can be trained" in printed.err
    assert f"nothing loses {NO_WAY} points or less" in printed.err
    file = only_file(folder, "spread-*")
    assert read_sidecar(file).sha256 == sha256_of(file)


@pytest.mark.parametrize("option", [["--prune", "0.5"], ["--cluster", "8"], ["--prune-layer", "wide=0.5"]])
def test_pruning_and_clustering_come_before(capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    assert compress("even", "--max-drop", "1", *option) == 2
    assert f"{option[0]} cannot be given with --max-drop" in capsys.readouterr().err


def test_it_cannot_be_given_with_resume(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", "--resume", "some-run", "--max-drop", "1"]) == 2
    assert "--max-drop cannot be given with it" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    NETS["even"].save(folder / "stuck.keras")
    place = folder / "runs" / f"stuck-{sha256_of(folder / 'stuck.keras')[:8]}"
    place.mkdir(parents=True)
    (place / "export").write_text("in the way")
    assert compress("stuck", "--max-drop", "1") == 1
    assert "cannot write" in capsys.readouterr().err
    assert (place / "export").read_text() == "in the way"


def test_a_layer_that_was_skipped_in_training_may_be_in_float_in_its_file(
    compressed: Any, tmp_path: Path
) -> None:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(image)
    x = layers.ELU(name="soft")(x)
    x = layers.Dropout(0.5, name="dropout")(layers.GlobalAveragePooling2D(name="gap")(x))
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="out")(x))
    found = compressed(model, qat=True, skip_layers=("soft", "dropout"))
    source = SourceModel(
        path=found.run / "model.keras",
        model=found.model,
        trained=found.quantized,
        model_name="own",
        family=None,
        class_names=["a", "b", "c"],
        dataset="tiny",
    )
    path = tmp_path / "own.tflite"
    with pytest.raises(FloatOperatorError, match="compute in float"):
        export_model(source, path, ExportSettings(Precision.INT8))
    artifact = export_model(source, path, ExportSettings(Precision.INT8, keep_float=("soft", "dropout")))
    assert artifact.float_layers == ("soft",)
    assert (artifact.input.dtype, artifact.output.dtype) == ("int8", "int8")


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_of_batchnorms_stay_as_they_were_trained_unless_asked_otherwise(
    compressed: Any, model_of: Any, frozen: bool
) -> None:
    model = model_of("own")
    before = {layer.name: [each.copy() for each in layer.get_weights()] for layer in model.layers}
    trained = compressed(model_of("own"), qat=True, freeze_norms=frozen)
    after = trained.model.get_layer("second_norm").get_weights()
    same = [np.array_equal(ours, theirs) for ours, theirs in zip(before["second_norm"], after, strict=True)]
    assert same == [False, False, frozen, frozen]  # scale and offset learn
    quantized = {layer.name: getattr(layer, "layer", layer) for layer in trained.quantized.layers}
    norm = quantized["quant_second_norm"]
    for ours, theirs in zip(norm.get_weights(), after, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_batchnorm_that_its_author_froze_is_not_trained(compressed: Any, model_of: Any) -> None:
    model = model_of("own")
    norm = model.get_layer("second_norm")
    norm.trainable = False
    before = [each.copy() for each in norm.get_weights()]
    trained = compressed(model, qat=True, freeze_norms=False)
    after = trained.model.get_layer("second_norm").get_weights()
    for ours, theirs in zip(before, after, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    [again] = [each for each in trained.quantized.layers if each.name == "quant_second_norm"]
    for ours, theirs in zip(again.layer.get_weights(), after, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_zeros_of_a_pruned_run_stay_while_it_is_trained_quantized(compressed: Any, model_of: Any) -> None:
    pruned = compressed(model_of("own"), prune=0.5)
    trained = compressed(pruned.model, qat=True)
    for name in ("second", "third", "scores"):
        before, after = (each.model.get_layer(name).get_weights()[0] for each in (pruned, trained))
        assert np.mean(before == 0) >= 0.49
        assert np.all(after[before == 0] == 0)
        assert not np.array_equal(before, after)


def test_an_adapted_normalization_is_not_trained(compressed: Any) -> None:
    layers = keras.layers
    net = [
        keras.Input((16, 16, 3)),
        layers.Normalization(mean=[120.0, 110.0, 90.0], variance=[900.0, 1600.0, 2500.0], name="normed"),
        layers.Conv2D(8, 3, strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ]
    trained = compressed(keras.Sequential(net), qat=True, learning_rate=0.1)
    [wrapper] = [each for each in trained.quantized.layers if each.name == "quant_normed"]
    kernel = next(each.numpy() for each in wrapper.weights if each.name.endswith("depthwise_kernel:0"))
    assert kernel.ravel() == pytest.approx([1 / 30, 1 / 40, 1 / 50], rel=1e-4)

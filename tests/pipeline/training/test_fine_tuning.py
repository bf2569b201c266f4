"""Trainings that start from weights: a run's or a file's, the head first, then the whole net."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from export.files import sha256_of
from models.build import build
from models.errors import CheckpointError
from models.registry import resolve
from models.weights.catalogue import CHECKPOINTS
from pipeline.cli import run as pipeline
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError, UsageError
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.steps.settings import TrainSettings
from pipeline.steps.train import train as train_step
from pipeline.steps.train import train_config
from pipeline.training.scorer import class_weights_of, cross_entropy
from pipeline.training.start import Start, find_start
from pipeline.training.trainer import start_run, train

SMALL = {"depth": 7, "growth_rate": 4, "dropout": 0.0}


@pytest.fixture(scope="module")
def earlier(tiny_config: TrainConfig, tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the smallest DenseNet."""
    run = start_run(tiny_config, tiny.spec, folder=tmp_path_factory.mktemp("earlier"))
    train(tiny_config, tiny, run)
    return run


@pytest.fixture(scope="module")
def config(earlier: Path, tiny: Dataset, tiny_npz: Path) -> TrainConfig:
    start = find_start(str(earlier), "densenet", {}, runs=earlier.parent)
    settings = TrainSettings(epochs=2, head_epochs=3, batch_size=32)
    return train_config("densenet", str(tiny_npz), tiny.spec, settings, start=start)


@dataclasses.dataclass(frozen=True)
class Tuned:
    run: Path
    record: TrainRecord


def tuned(config: TrainConfig, dataset: Dataset, folder: Path) -> Tuned:
    run = start_run(config, dataset.spec, folder=folder)
    return Tuned(run, train(config, dataset, run))


@pytest.fixture(scope="module")
def first(config: TrainConfig, tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tuned(config, tiny, tmp_path_factory.mktemp("tuned"))


def layers_of(run: Path) -> dict[str, list[np.ndarray]]:
    model = keras.saving.load_model(run / "model.keras")
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def assert_equal(one: dict[str, list[np.ndarray]], other: dict[str, list[np.ndarray]]) -> None:
    assert one.keys() == other.keys()
    for name, arrays in one.items():
        for left, right in zip(arrays, other[name], strict=True):
            np.testing.assert_array_equal(left, right, err_msg=name)


def test_the_record_says_what_it_started_from(first: Tuned, earlier: Path):
    assert first.record.config.weights == str(earlier / "model.keras")
    assert first.record.config.weights_sha256 == sha256_of(earlier / "model.keras")
    assert earlier.name in str(first.record.config.weights_name)


def test_batch_norm_is_kept_and_convolutions_are_trained(
    config: TrainConfig, tiny: Dataset, earlier: Path, tmp_path: Path
):
    config = dataclasses.replace(config, head_epochs=0, epochs=1)  # else the head alone may be the best
    before, after = layers_of(earlier), layers_of(tuned(config, tiny, tmp_path).run)
    norms = [name for name in before if name.endswith("bn") or "norm" in name]
    assert norms
    assert_equal({name: before[name] for name in norms}, {name: after[name] for name in norms})
    changed = [name for name in before if not np.array_equal(before[name][0], after[name][0])]
    assert {*before} - {*norms} == {*changed}


def test_every_layer_of_the_saved_model_can_be_trained(first: Tuned):
    model = keras.saving.load_model(first.run / "model.keras")
    assert all(layer.trainable for layer in model.layers)


def test_freeze_all_trains_the_head_alone(config: TrainConfig, tiny: Dataset, earlier: Path, tmp_path: Path):
    alone = tuned(dataclasses.replace(config, freeze="all", epochs=0, head_epochs=60), tiny, tmp_path)
    before, after = layers_of(earlier), layers_of(alone.run)
    assert not np.array_equal(before.pop("logits")[0], after.pop("logits")[0])
    assert_equal(before, after)
    assert alone.record.best_epoch == alone.record.epochs_run == 0
    assert alone.record.test_top1 > 80  # of three colours; chance is 33%
    assert not (alone.run / "features.f32").exists()


def test_layers_up_to_a_named_one_keep_their_weights(
    config: TrainConfig, tiny: Dataset, earlier: Path, tmp_path: Path
):
    before = layers_of(earlier)
    kernels = [name for name in before if len(before[name]) == 1 and before[name][0].ndim == 4]
    last = kernels[len(kernels) // 2]
    config = dataclasses.replace(config, freeze=last, head_epochs=0, epochs=1)
    after = layers_of(tuned(config, tiny, tmp_path).run)
    kept = [*before][: [*before].index(last) + 1]
    assert_equal({name: before[name] for name in kept}, {name: after[name] for name in kept})
    changed = [name for name in kernels if not np.array_equal(before[name][0], after[name][0])]
    assert changed == kernels[len(kernels) // 2 + 1 :] != []


def test_the_head_of_squeezenet_is_its_last_convolution(tiny: Dataset, tiny_npz: Path, tmp_path: Path):
    published = CHECKPOINTS["squeezenet_1.1"]
    model = build("squeezenet", **{**published.knobs, "image_size": 32, "num_classes": 5})
    filled = [layer for layer in model.layers if layer.weights]
    arrays = {}
    for number, layer in enumerate(filled):  # as the file in ONNX's zoo names them
        kernel, bias = layer.get_weights()
        arrays[f"weights/x_conv{number}_weight"] = kernel.transpose(3, 2, 0, 1)
        arrays[f"weights/x_conv{number}_bias"] = bias
    np.savez(tmp_path / published.file, **arrays)
    start = find_start(str(tmp_path / published.file), "squeezenet", {"image_size": 32}, runs=tmp_path)
    settings = TrainSettings(freeze="all", head_epochs=60)
    config = train_config("squeezenet", str(tiny_npz), tiny.spec, settings, start=start)
    alone = tuned(config, tiny, tmp_path)
    before, after = {layer.name: layer.get_weights() for layer in filled}, layers_of(alone.run)
    assert after.pop("conv10")[0].shape[-1] == 3
    assert before.pop("conv10")[0].shape[-1] == 5
    assert_equal(before, after)
    assert alone.record.test_top1 > 60  # of three colours, on random features; chance is 33%


@pytest.mark.parametrize(
    ("words", "has_head"), [("features", False), ("the head alone", True), ("epoch 1/2", True)]
)
def test_a_run_stopped_early_goes_on_to_the_same_weights(
    words: str, has_head: bool, first: Tuned, config: TrainConfig, tiny: Dataset, tmp_path: Path
):
    run = start_run(config, tiny.spec, folder=tmp_path)
    with pytest.raises(InterruptedError):
        train(config, tiny, run, progress=stop_after(words))
    assert (run / "state.json").exists() is has_head

    record = train(config, tiny, run)

    assert record.epochs_run == 2
    assert_equal(layers_of(first.run), layers_of(run))


def stop_after(words: str):
    def stop(event: object) -> None:
        if words in f"{getattr(event, 'what', '')}{getattr(event, 'text', '')}":
            raise InterruptedError

    return stop


def test_changed_weights_are_refused_on_resuming(
    config: TrainConfig, tiny: Dataset, earlier: Path, tmp_path: Path
):
    other = tmp_path / "model.keras"
    shutil.copy(earlier / "model.keras", other)
    config = dataclasses.replace(config, weights=str(other))
    run = start_run(config, tiny.spec, folder=tmp_path)
    other.write_bytes(b"other")
    with pytest.raises(PipelineError, match="any more"):
        train(config, tiny, run)


def test_the_files_pixels_and_epsilon_become_the_nets(tmp_path: Path):
    model = build("mobilenet", alpha=0.25, image_size=32, num_classes=5)
    path = tmp_path / "mine.weights.h5"
    model.save_weights(path)
    start = find_start(str(path), "mobilenet", {"alpha": 0.25}, runs=tmp_path)
    assert (start.knobs["scale"], start.knobs["offset"]) == (1 / 127.5, -1.0)
    given = find_start(str(path), "mobilenet", {"alpha": 0.25, "offset": 0.0}, runs=tmp_path)
    assert given.knobs["offset"] == 0.0


def refused(start: str, knobs: dict[str, object], error: type[Exception], words: str, runs: Path) -> None:
    with pytest.raises(error, match=words):
        find_start(start, "mobilenet", knobs, runs=runs)


def test_weights_that_do_not_fit_are_refused_in_a_line(earlier: Path, tmp_path: Path):
    model = build("mobilenet", alpha=0.25, image_size=32, num_classes=5)
    whole, cut = tmp_path / "mine.weights.h5", tmp_path / "cut.weights.h5"
    model.save_weights(whole)
    cut.write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "model.pth").write_bytes(b"\x80\x02}q\x00.")
    refused(str(whole), {"alpha": 0.5}, CheckpointError, "shape", tmp_path)
    refused(str(cut), {"alpha": 0.25}, CheckpointError, "cannot be read", tmp_path)
    refused(str(tmp_path / "model.pth"), {}, CheckpointError, "pickle", tmp_path)
    refused(str(tmp_path / "none.h5"), {}, CheckpointError, "there is no file", tmp_path)
    refused(str(earlier), {}, UsageError, "is a densenet", earlier.parent)
    refused("squeezenet_1.1", {}, UsageError, "are of squeezenet", tmp_path)
    refused("imagenett", {}, UsageError, "Did you mean 'imagenet'", tmp_path)
    refused("imagenet", {"alpha": 0.33}, UsageError, "no published ImageNet weights", tmp_path)


def test_weights_of_another_family_are_refused_by_its_name(tmp_path: Path):
    """A file in the layout of torchvision's SqueezeNet, given for MobileNet."""
    np.savez(tmp_path / "weights.npz", **{"features.3.squeeze.weight": np.zeros((16, 96, 1, 1), np.float32)})
    refused(str(tmp_path / "weights.npz"), {}, UsageError, "holds weights of squeezenet", tmp_path)


def test_weights_that_are_not_finite_are_refused_before_anything_is_made(
    tmp_path: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "mine.weights.h5"
    build("mobilenet", alpha=0.25, image_size=32, num_classes=5).save_weights(path)
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/0"][0, 0, 0, 0] = np.nan
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    options = ["--alpha", "0.25", "--weights", str(path)]
    assert pipeline(["train", "mobilenet", "--data", str(tiny_npz), *options]) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pipeline: ")]
    assert "layers/conv2d/vars/0" in said
    assert "not finite" in said
    assert not (tmp_path / "runs").exists()


def test_imagenet_without_network_says_what_to_fetch_and_where_to_put_it(tmp_path: Path, tiny_npz: Path):
    """A process of its own: Keras's downloader reads the proxy's address once."""
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "KERAS_HOME": str(tmp_path / "keras"),
        "PIPELINE_RUNS": str(tmp_path / "runs"),
        **dict.fromkeys(("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"), nowhere),
        "no_proxy": "",
    }
    options = ["--alpha", "0.25", "--image-size", "128", "--weights", "imagenet", "--data", str(tiny_npz)]
    program = "import sys; from pipeline.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "train", "mobilenet", *options],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("pipeline: ")]
    assert "storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_2_5_128_tf.h5" in said
    assert f"put it at {tmp_path}/keras/models/mobilenet_2_5_128_tf.h5" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("family", "is_suggested"), [("mobilenet", True), ("squeezenet", False)], ids=["published", "pickles"]
)
def test_few_photos_from_random_weights_get_a_suggestion(
    family: str, is_suggested: bool, tiny_npz: Path, tmp_path: Path
):
    said: list[str] = []

    def stop_at_training(event: object) -> None:
        said.append(getattr(event, "text", ""))
        if "epochs of" in said[-1]:
            raise InterruptedError

    settings = TrainSettings(knobs={"image_size": 128}, epochs=2)
    with pytest.raises(InterruptedError):
        train_step(family, str(tiny_npz), settings, runs=tmp_path, progress=stop_at_training)
    suggested = [line for line in said if "--weights imagenet" in line]
    assert len(suggested) == is_suggested
    assert all("training images are few" in line and "mobilenet_1.0_128" in line for line in suggested)


def test_unknown_layer_to_freeze_is_refused(earlier: Path):
    with pytest.raises(UsageError, match="has no layer 'conv9'"):
        find_start(str(earlier), "densenet", {}, freeze="conv9", runs=earlier.parent)


@pytest.mark.parametrize(
    "options", [["--freeze", "all"], ["--head-epochs", "2"], ["--weights", "no-such", "--epochs", "1"]]
)
def test_mistakes_on_the_command_line_exit_with_2(
    options: list[str], tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path))
    assert pipeline(["train", "densenet", "--data", str(tiny_npz), *options]) == 2
    assert not list(tmp_path.iterdir())


def test_patience_stops_after_epochs_without_a_better_one(
    tiny_config: TrainConfig, tiny: Dataset, tmp_path: Path
):
    # a rate of almost 0 changes nothing: the first epoch stays the best one, or a tie of later ones
    config = dataclasses.replace(tiny_config, learning_rate=1e-12, weight_decay=0.0, epochs=9, patience=2)
    record = tuned(config, tiny, tmp_path).record
    assert record.epochs_run == record.best_epoch + 2 < 9


def test_balanced_weights_let_each_class_count_the_same(tiny: Dataset, tiny_config: TrainConfig):
    counts = [each.train for each in tiny.spec.class_counts]
    weights = class_weights_of(dataclasses.replace(tiny_config, class_weights="balanced"), tiny.spec)
    np.testing.assert_allclose(np.multiply(weights, counts), sum(counts) / len(counts))
    labels, scores = np.array([0, 2]), np.zeros((2, 3), np.float32)
    loss = cross_entropy(0.0, [2.0, 1.0, 0.5])(labels, scores)
    np.testing.assert_allclose(loss, np.log(3) * np.array([2.0, 0.5]), rtol=1e-6)


def test_recipe_with_weights_is_the_one_for_few_images(earlier: Path, tiny: Dataset):
    start = Start(path=earlier, sha256="0", knobs=resolve("densenet", SMALL), said="")
    config = train_config("densenet", "tiny", tiny.spec, TrainSettings(batch_size=7), start=start)
    assert (config.optimizer, config.batch_size) == ("adam", 7)
    assert config.head_epochs > 0
    assert config.knobs["num_classes"] == 3

"""A finished run's files, the seed, and a run that was killed."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from full_disk import files_of_at_most

from export.files import sha256_of
from models.cost import cost
from pipeline.cli import run as pipeline
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.records.training import TrainConfig, TrainRecord, read_record
from pipeline.runs import finished_runs, unfinished_runs
from pipeline.training.finish import finish_run
from pipeline.training.trainer import check_same_data, read_config, start_run, train


@dataclasses.dataclass(frozen=True)
class Trained:
    run: Path
    record: TrainRecord


def trained(config: TrainConfig, dataset: Dataset, folder: Path) -> Trained:
    run = start_run(config, dataset.spec, folder=folder)
    return Trained(run, train(config, dataset, run))


@pytest.fixture(scope="module")
def first(tiny_config: TrainConfig, tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tiny_config, tiny, tmp_path_factory.mktemp("first"))


def weights(run: Path) -> list[np.ndarray]:
    return keras.saving.load_model(run / "model.keras").get_weights()


def assert_equal_weights(one: Path, other: Path) -> None:
    for left, right in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(left, right)


def test_record_on_disk_is_the_one_returned_and_holds_every_setting(first: Trained, tiny_config: TrainConfig):
    assert read_record(first.run / "train.json") == first.record
    assert first.record.config == tiny_config
    held = json.loads((first.run / "train.json").read_text())["config"]
    assert set(held) == {field.name for field in dataclasses.fields(TrainConfig)}


def test_record_names_the_model_file_by_its_checksum(first: Trained):
    assert first.record.model_sha256 == sha256_of(first.run / "model.keras")


def test_test_accuracy_is_that_of_the_saved_model_on_the_test_split(first: Trained, tiny: Dataset):
    # Keras's own prediction on the saved file, with its softmax, against the trainer's evaluation on logits
    model = keras.saving.load_model(first.run / "model.keras")
    right = num = 0
    for images, labels in tiny.batches("test", image_size=16, batch_size=8):
        right += int((model.predict(images, verbose=0).argmax(axis=1) == labels.numpy()).sum())
        num += len(labels)
    assert num == first.record.num_test == 30
    assert first.record.test_top1 == pytest.approx(100 * right / num)


def test_net_learns_three_colours(first: Trained):
    # chance is 33%
    assert first.record.test_top1 > 80


def test_costs_in_the_record_are_the_models(first: Trained):
    costs = cost(keras.saving.load_model(first.run / "model.keras"))
    assert (first.record.parameters, first.record.macs) == (costs.parameters, costs.macs)


def test_history_has_a_row_an_epoch_with_the_best_one_in_the_record(first: Trained):
    rows = list(csv.DictReader((first.run / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = max(float(row["validation_top1"]) for row in rows)
    assert first.record.validation_top1 == pytest.approx(best, rel=1e-5)


def test_weights_of_an_epoch_are_kept_by_their_layers_names(first: Trained):
    with np.load(first.run / "last-0003.npz") as arrays:
        held = {name: arrays[name] for name in arrays.files}
    model = keras.saving.load_model(first.run / "model.keras")
    assert {variable.path for variable in model.weights} < set(held)
    assert all(held[variable.path].shape == tuple(variable.shape) for variable in model.weights)


def test_tensorboard_reads_the_logs(first: Trained):
    # TensorBoard's own reader
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(first.run / "tensorboard"))
    events.Reload()
    steps = [event.step for event in events.Tensors("validation_top1")]
    assert steps == [1, 2, 3]


def test_same_seed_gives_the_same_weights(
    first: Trained, tiny_config: TrainConfig, tiny: Dataset, tmp_path: Path
):
    again = trained(tiny_config, tiny, tmp_path)
    assert_equal_weights(first.run, again.run)


def test_another_seed_gives_other_weights(
    first: Trained, tiny_config: TrainConfig, tiny: Dataset, tmp_path: Path
):
    other = trained(dataclasses.replace(tiny_config, seed=1, epochs=1), tiny, tmp_path)
    assert not np.array_equal(weights(first.run)[0], weights(other.run)[0])


def test_killed_run_is_not_finished_and_resumes_to_the_same_weights(
    first: Trained, tiny_config: TrainConfig, tiny: Dataset, tmp_path: Path
):
    run = start_run(tiny_config, tiny.spec, folder=tmp_path)
    kill_after_first_epoch(run, tiny_config.data)
    assert finished_runs(tmp_path) == []
    assert unfinished_runs(tmp_path) == [run]
    reached = json.loads((run / "state.json").read_text())["history"]
    assert 1 <= len(reached) < 3

    record = train(tiny_config, tiny, run)

    assert record.epochs_run == 3
    assert record.seconds > sum(row["seconds"] for row in reached)
    assert_equal_weights(first.run, run)


def kill_after_first_epoch(run: Path, data: str) -> None:
    """Trains `run` in a process of its own that is killed (SIGKILL) within its second epoch."""
    program = (
        "import sys, pathlib\n"
        "from pipeline.data.registry import load\n"
        "from pipeline.training import loop, trainer\n"
        "run = pathlib.Path(sys.argv[1])\n"
        "evaluate = loop.evaluate\n"
        "def slowly(*args, **settings):\n"  # leaves time to be killed before an epoch's state is written
        "    import time\n"
        "    time.sleep(2 if (run / 'state.json').exists() else 0)\n"
        "    return evaluate(*args, **settings)\n"
        "loop.evaluate = slowly\n"
        "trainer.train(trainer.read_config(run), load(sys.argv[2]), run)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(run), data], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (run / "state.json").exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_resuming_on_changed_images_is_refused(first: Trained, tiny: Dataset):
    changed = dataclasses.replace(tiny.spec, fingerprint="0" * 64)
    with pytest.raises(PipelineError, match="have changed since"):
        check_same_data(first.run, changed)


def test_diverging_training_says_so_and_keeps_the_settings(
    tiny_config: TrainConfig, tiny: Dataset, tmp_path: Path
):
    wild = dataclasses.replace(tiny_config, learning_rate=1e30, epochs=2, warmup_epochs=0)
    run = start_run(wild, tiny.spec, folder=tmp_path)
    with pytest.raises(PipelineError, match="--learning-rate than 1e\\+30"):
        train(wild, tiny, run)
    assert not (run / "train.json").exists()


def test_second_run_of_one_name_gets_the_next_number(tiny_config: TrainConfig, tiny: Dataset, tmp_path: Path):
    names = [start_run(tiny_config, tiny.spec, folder=tmp_path).name for _ in range(2)]
    assert names == ["densenet_l7k4_dropout0.2_16-tiny-1", "densenet_l7k4_dropout0.2_16-tiny-2"]


@pytest.fixture
def stopped(first: Trained, tmp_path: Path) -> Path:
    """A run as it stands after its last epoch, before train.json."""
    run = tmp_path / first.run.name
    shutil.copytree(first.run, run)
    (run / "train.json").unlink()
    return run


@pytest.mark.parametrize("content", [b"", b"PK cut off", None])
@pytest.mark.parametrize("name", ["config.json", "state.json", "last-0003.npz"])
def test_damaged_file_of_a_run_is_named(
    name: str, content: bytes | None, stopped: Path, tiny_config: TrainConfig, tiny: Dataset
):
    whole = (stopped / name).read_bytes()
    (stopped / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(PipelineError, match=name):
        train(read_config(stopped), tiny, stopped)


def test_settings_damaged_while_the_run_goes_on_are_named_at_its_end(
    first: Trained, tiny: Dataset, tmp_path: Path
):
    (tmp_path / "config.json").write_text('{"config": ')
    model = keras.saving.load_model(first.run / "model.keras")
    with pytest.raises(PipelineError, match=r"config\.json is damaged.*Start a new one"):
        finish_run(tmp_path, model, tiny.spec)


def test_full_disk_is_one_line_that_says_how_to_go_on(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    # files of 30 kB at most: the settings fit, the weights do not, and write() fails as on a full disk
    settings = ["--depth", "10", "--growth-rate", "12", "--epochs", "2", "--data", str(tiny_npz)]
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path))
    capfd.readouterr()
    with files_of_at_most(30_000):
        status = pipeline(["train", "densenet", *settings])
    err = capfd.readouterr().err
    assert status == 1, err
    (line,) = [line for line in err.splitlines() if line.startswith("pipeline:")]
    assert "go on: pipeline train --resume densenet_l10k12_16-tiny-1" in line
    assert finished_runs(tmp_path) == []
    assert list(tmp_path.glob("**/.partial-*")) == []

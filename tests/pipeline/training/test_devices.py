"""Trainings on two devices, for which two logical CPUs stand in, in a process of their own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.files import sha256_of
from pipeline.data.dataset import Dataset
from pipeline.records.training import TrainConfig
from pipeline.training.devices import size_without_small_rest
from pipeline.training.trainer import start_run, train

PROGRAM = """
import sys
from pathlib import Path
import keras, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pipeline.data.registry import load
from pipeline.training.trainer import read_config, train

def stop(event):
    if "epoch 1/2" in getattr(event, "text", ""):
        raise InterruptedError

seen = set()
fit = keras.Model.fit
def noted(model, *args, **settings):
    seen.add(model.distribute_strategy.num_replicas_in_sync)
    return fit(model, *args, **settings)
keras.Model.fit = noted
whole, stopped, head = map(Path, sys.argv[1:])
data = load(read_config(whole).data)
train(read_config(whole), data, whole)
try:
    train(read_config(stopped), data, stopped, progress=stop)
except InterruptedError:
    train(read_config(stopped), data, stopped)
train(read_config(head), data, head)
assert seen == {2}, seen
"""


@dataclasses.dataclass(frozen=True)
class Runs:
    """Folders of finished runs."""

    of_one: Path
    of_two: Path
    stopped: Path
    """Of two devices, ended after the first epoch and resumed."""
    head_of_one: Path
    head_of_two: Path


@pytest.fixture(scope="module")
def runs(tiny_config: TrainConfig, tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("devices")
    knobs = {**tiny_config.knobs, "dropout": 0.0}
    # a batch of 35 cannot be divided evenly
    config = dataclasses.replace(tiny_config, knobs=knobs, epochs=2, batch_size=35, class_weights="balanced")
    one, two, stopped = (start_run(config, tiny.spec, folder=folder) for _ in range(3))
    train(config, tiny, one)
    start = {"weights": str(one / "model.keras"), "weights_sha256": sha256_of(one / "model.keras")}
    tuning = {"head_epochs": 2, "epochs": 1, "optimizer": "adam", "learning_rate": 1e-4}
    tuned = dataclasses.replace(config, **start, **tuning)
    head_one, head_two = (start_run(tuned, tiny.spec, folder=folder) for _ in range(2))
    train(tuned, tiny, head_one)
    places = [str(each) for each in (two, stopped, head_two)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *places], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Runs(of_one=one, of_two=two, stopped=stopped, head_of_one=head_one, head_of_two=head_two)


def weights(run: Path) -> dict[str, np.ndarray]:
    """The last epoch's, with the optimizer's."""
    (path,) = run.glob("last-*.npz")
    with np.load(path) as arrays:
        return dict(arrays.items())


@pytest.mark.parametrize("what", ["of", "head_of"])
def test_two_devices_give_the_weights_of_one_within_rounding(runs: Runs, what: str) -> None:
    one, two = (weights(getattr(runs, f"{what}_{number}")) for number in ("one", "two"))
    assert one.keys() == two.keys()
    for name, array in one.items():
        # sums in another order, through some steps of a net of 7 layers
        np.testing.assert_allclose(two[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_losses_and_accuracies_are_those_of_one_device(runs: Runs) -> None:
    one, two = (json.loads((run / "state.json").read_text())["history"] for run in (runs.of_one, runs.of_two))
    for ours, theirs in zip(one, two, strict=True):
        for name in ("train_top1", "validation_top1", "loss", "validation_loss", "learning_rate"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3), name


def test_no_batch_has_fewer_images_than_devices() -> None:
    assert size_without_small_rest(64, num_images=66, replicas=2) == 64
    assert size_without_small_rest(64, num_images=65, replicas=2) == 63
    for num_images in range(4, 100):
        for size in (4, 5, 7, 64):
            found = size_without_small_rest(size, num_images=num_images, replicas=4)
            assert found >= 4
            assert num_images % found not in (1, 2, 3)


def test_a_stopped_run_goes_on_to_the_same_bits(runs: Runs) -> None:
    whole, stopped = weights(runs.of_two), weights(runs.stopped)
    assert whole.keys() == stopped.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(stopped[name], array, err_msg=name)

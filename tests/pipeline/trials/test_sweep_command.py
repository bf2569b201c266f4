"""`pipeline sweep`: the grid it makes of a training's options, what it refuses, and what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pipeline.cli import run as pipeline
from pipeline.commands.sweep import command as sweep
from pipeline.commands.sweep_options import NOT_SWEPT
from pipeline.commands.train import command as train
from pipeline.trials.sweep import find_sweep

SMALL = ["--depth", "7", "--growth-rate", "4", "--image-size", "16", "--epochs", "1", "--batch-size", "64"]


@pytest.fixture(scope="module")
def swept(runs_of_module: Path, tiny_npz: Path) -> subprocess.CompletedProcess[str]:
    words = [
        "sweep",
        "densenet",
        *SMALL,
        "--data",
        str(tiny_npz),
        "--learning-rate",
        "1e30,0.1",
        "--clip-norm",
        "0",
    ]
    words += ["--precision", "float32", "--bench", "--at-once", "1"]
    command = [sys.executable, "-P", "-c", "from pipeline.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_training_option_is_an_option_of_sweep():
    def named(command: click.Command) -> set[str]:
        return {str(each.name) for each in command.params}

    assert named(train) - set(NOT_SWEPT) <= named(sweep)


def test_results_are_in_the_order_of_the_grid_and_a_failure_is_named(
    swept: subprocess.CompletedProcess[str], runs_of_module: Path
):
    assert swept.returncode == 1, swept.stderr
    rows = [line.split() for line in swept.stdout.splitlines() if "learning-rate" in line]
    assert [row[1:3] for row in rows] == [["1e+30", "failed"], ["0.1", "done"]]
    assert "learning-rate 1e+30: the loss became" in swept.stderr
    (results,) = (runs_of_module / "runs" / "sweeps").glob("*/results.json")
    kept = json.loads(results.read_text())
    assert [each["status"] for each in kept] == ["failed", "done"]
    (file,) = kept[1]["files"]
    assert file["median_ms"] is not None or file["why_not_valid"]


def test_tensorboard_reads_the_settings_and_what_they_reached(
    swept: subprocess.CompletedProcess[str], runs_of_module: Path
):
    # TensorBoard's own reader and its HParams plugin's format
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util.tensor_util import make_ndarray

    (result,) = [json.loads(path.read_text()) for path in (runs_of_module / "runs").glob("*/train.json")]
    events = EventAccumulator(str(runs_of_module / "runs" / result["run"] / "tensorboard"))
    events.Reload()
    tags = events.PluginTagToContent(metadata.PLUGIN_NAME)
    info = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
    assert info.hparams["learning_rate"].number_value == pytest.approx(0.1)
    assert info.hparams["depth"].number_value == 7
    (reached,) = events.Tensors("reached/test_top1")
    assert float(make_ndarray(reached.tensor_proto)) == pytest.approx(result["test_top1"], rel=1e-5)


def test_sweep_is_found_again_and_its_done_trials_are_not_repeated(
    swept: subprocess.CompletedProcess[str], runs_of_module: Path, capsys: pytest.CaptureFixture[str]
):
    found = find_sweep("", runs_of_module / "runs")
    assert [trial.name for trial in found.trials] == ["learning-rate 1e+30", "learning-rate 0.1"]
    with pytest.raises(Exception, match=r"Did you mean"):
        find_sweep(found.name[:-1], runs_of_module / "runs")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a family to train, or --resume"),
        (["mobilnet"], "Did you mean 'mobilenet'?"),
        (["mobilenet", "--alpha", "0.25,"], "has an empty place"),
        (["mobilenet", "--alpha", "0.25,wide"], "'wide' is not a number"),
        (["mobilenet", "--seed", "0,-1"], "--seed"),
        (["mobilenet", "--augment", "maybe"], "neither yes nor no"),
        (["mobilenet", "--data", "nowhere/at/all"], "there is no data set at nowhere/at/all"),
        (["mobilenet", "--precision", "none", "--bench"], "Leave one out"),
        (["mobilenet", "--runs", "s3://bucket/runs"], "an object store has neither locks nor renames"),
        (["mobilenet", "--num-gpus", "1"], "--num-gpus is for --ray"),
        (["mobilenet", "--ray", "auto", "--at-once", "2"], "--at-once is for this machine"),
        (["--resume"], "there is no sweep in"),
        (["--resume", "--alpha", "0.5"], "so --alpha cannot be given with it"),
    ],
)
def test_mistake_is_one_line_that_says_what_to_do(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    assert pipeline(["sweep", *words]) == 2
    said_before = ("...", "that come with scikit-learn.")
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(said_before)]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "runs").exists()

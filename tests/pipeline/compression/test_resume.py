"""A compression that was stopped goes on to the same weights; one that diverges is stopped."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.compression.finetune import Images
from pipeline.compression.prepare import prepare
from pipeline.errors import PipelineError
from pipeline.records.compression import CompressConfig
from pipeline.records.training import read_record
from pipeline.runs import how_to_resume, unfinished_runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stopping(Images):
    """Stops the process, as Ctrl-C does, within an epoch: its weights are trained, and not written."""

    left: list[int]
    """One for each validation until then."""

    def of_split(self, split: str, batch_size: int) -> tf.data.Dataset:
        if split == "validation":
            self.left.pop()
            if not self.left:
                raise KeyboardInterrupt
        return super().of_split(split, batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken(Images):
    """Its images are not numbers from the second epoch on."""

    def training(self, config: CompressConfig, epoch: int) -> tf.data.Dataset:
        batches = super().training(config, epoch)
        return batches if epoch == 0 else batches.map(lambda values, labels: (values * np.nan, labels))


@pytest.fixture(scope="module")
def config(configured: Any) -> CompressConfig:
    return configured(prune=0.5, cluster=16, qat=True, epochs=2)


@pytest.fixture(scope="module")
def unstopped(compressed: Any, model_of: Any) -> Any:
    return compressed(model_of("own"), prune=0.5, cluster=16, qat=True, epochs=2)


def as_stopping(images: Images, after: int) -> Stopping:
    """Images that stop the process at the validation of that number, counted from 1."""
    fields = {field.name: getattr(images, field.name) for field in dataclasses.fields(images)}
    return Stopping(**fields, left=list(range(after)))


def arrays(path: Path) -> list[np.ndarray]:
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def test_stopped_in_each_step_it_ends_with_the_same_weights(
    config: CompressConfig,
    unstopped: Any,
    model_of: Any,
    images_of: Any,
    take_steps: Any,
    new_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    run = new_run(config, tmp_path)
    replace = Path.replace

    def torn(self: Path, target: Path) -> Path:
        """Stopped between an epoch's weights and the state that names them."""
        if target.name == "state.json" and (run / "last-0002.npz").exists():
            raise KeyboardInterrupt
        return replace(self, target)

    reached = []
    # in the second epoch of pruning (validation comes once before); there again, with its weights
    # on disk; then in the second epoch of quantization
    for stop in (3, "torn", 5):
        prepared = prepare(model_of("own"), config)
        with monkeypatch.context() as patch:
            if stop == "torn":
                patch.setattr(Path, "replace", torn)
            images = images_of(prepared) if stop == "torn" else as_stopping(images_of(prepared), stop)
            with pytest.raises(KeyboardInterrupt):
                take_steps(prepared, images, run)
        state = json.loads((run / "state.json").read_text())
        reached.append((len(state["done"]), len(state["history"])))
        assert unfinished_runs(tmp_path) == [run]
        assert how_to_resume(run) == f"pipeline compress --resume {run.name}"
    prepared = prepare(model_of("own"), config)
    record = take_steps(prepared, images_of(prepared), run)

    assert record.epochs_run == 6
    assert reached == [(0, 1), (0, 1), (2, 1)]
    assert read_record(run / "train.json") == record
    for left, right in zip(
        keras.saving.load_model(run / "model.keras").get_weights(),
        unstopped.model.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    for left, right in zip(
        arrays(run / "quantized.npz"), arrays(unstopped.run / "quantized.npz"), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert [step.validation_top1 for step in record.compression.steps] == [
        step.validation_top1 for step in unstopped.record.compression.steps
    ]


def test_finished_run_keeps_no_weights_of_single_epochs(unstopped: Any):
    names = [path.name for path in unstopped.run.iterdir()]
    assert not [name for name in names if name.startswith(("last", "best", ".partial"))]


@pytest.mark.parametrize("name", ["state.json", "weights-prune.npz"])
@pytest.mark.parametrize("content", [b"", b"PK cut off"])
def test_damaged_file_of_a_run_is_named(
    name: str,
    content: bytes,
    config: CompressConfig,
    unstopped: Any,
    model_of: Any,
    images_of: Any,
    take_steps: Any,
    tmp_path: Path,
):
    run = tmp_path / "damaged-1"
    shutil.copytree(unstopped.run, run)
    (run / "train.json").unlink()
    (run / name).write_bytes(content)
    prepared = prepare(model_of("own"), config)
    with pytest.raises(PipelineError, match=f"{name}.*Compress anew"):
        take_steps(prepared, images_of(prepared), run)


def test_weights_of_another_model_are_refused(
    config: CompressConfig, unstopped: Any, model_of: Any, images_of: Any, take_steps: Any, tmp_path: Path
):
    run = tmp_path / "foreign-1"
    shutil.copytree(unstopped.run, run)
    shutil.copy(unstopped.run / "quantized.npz", run / "weights-qat.npz")
    prepared = prepare(model_of("own"), config)
    with pytest.raises(PipelineError, match=r"weights-qat\.npz .*those of another model"):
        take_steps(prepared, images_of(prepared), run)


def test_divergence_from_the_start_says_what_to_try(
    configured: Any, model_of: Any, images_of: Any, take_steps: Any, new_run: Any, tmp_path: Path
):
    prepared = prepare(model_of("own"), configured(qat=True, learning_rate=1e30, epochs=2))
    run = new_run(prepared.config, tmp_path)
    with pytest.raises(PipelineError, match=r"diverged in epoch 1 .* --learning-rate 0\.002"):
        take_steps(prepared, images_of(prepared), run)
    assert not (run / "train.json").exists()


def test_divergence_later_keeps_the_best_epoch(
    compressed: Any,
    configured: Any,
    model_of: Any,
    images_of: Any,
    take_steps: Any,
    new_run: Any,
    tmp_path: Path,
):
    prepared = prepare(model_of("own"), configured(cluster=16, epochs=3))
    images = images_of(prepared)
    fields = {field.name: getattr(images, field.name) for field in dataclasses.fields(images)}
    record = take_steps(prepared, Broken(**fields), new_run(prepared.config, tmp_path))
    (step,) = record.compression.steps
    assert (step.epochs_run, step.best_epoch) == (1, 1)
    assert "diverged in epoch 2" in step.note
    assert "epoch 1 kept" in step.note
    assert all(np.all(np.isfinite(weight)) for weight in prepared.model.get_weights())


def test_the_command_that_resumes_can_be_pasted_where_names_have_blanks(tmp_path):
    run = tmp_path / "own_qat-my photos-1"
    run.mkdir()
    (run / "config.json").write_text("{}")
    assert shlex.split(how_to_resume(run))[-2:] == ["--resume", run.name]

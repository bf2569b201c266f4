"""Trains a model into a run folder: model.keras, train.json, history.csv, TensorBoard logs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from export.files import write_json
from export.records import json_of, read_record_as
from models.build import build
from models.errors import KnobError
from models.registry import family_of, label, resolve
from pipeline.data.spec import SPLITS
from pipeline.errors import PipelineError
from pipeline.progress import Note, Progress, silent
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.runs import CONFIG, how_to_resume, new_run, setting_of, text_setting_of
from pipeline.training import devices
from pipeline.training.checkpoint import STATE, EpochResult, History, save_epoch, write_history
from pipeline.training.fast_layers import fast_layers
from pipeline.training.finish import finish_run, now_utc
from pipeline.training.freeze import ALL, frozen
from pipeline.training.head import LEARNING_RATE as HEAD_LEARNING_RATE
from pipeline.training.head import train_head
from pipeline.training.loop import Course, evaluate, run_epochs
from pipeline.training.mixed_precision import in_bfloat16
from pipeline.training.schedule import LearningRate
from pipeline.training.scorer import Scorer, class_weights_of, compiled_scorer, loss_of
from pipeline.training.start import start_again
from pipeline.training.teacher import load_teacher
from spelling import counted

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.data.spec import DatasetSpec

OPTIMIZERS = ("sgd", "rmsprop", "adam")


def start_run(config: TrainConfig, dataset: DatasetSpec, *, folder: Path, mark: str | None = None) -> Path:
    """Makes the folder of a new run, with its settings, and returns its path; `mark` as in new_run()."""
    settings = {
        "started_utc": now_utc(),
        "dataset_fingerprint": dataset.fingerprint,
        "config": dataclasses.asdict(config),
    }
    return new_run(folder, f"{label(str(config.family), config.knobs)}-{dataset.name}", settings, mark=mark)


def read_config(run: Path) -> TrainConfig:
    """The settings that a run was started with."""
    try:
        config = read_record_as(TrainConfig, setting_of(run, "config"))
        resolve(str(config.family), config.knobs)
        if config.optimizer not in OPTIMIZERS:
            raise ValueError(f"'optimizer' is {config.optimizer!r}, where one of {OPTIMIZERS} was expected")
    except (ValueError, KnobError) as error:
        raise PipelineError(
            f"{run / CONFIG} cannot be read as a run's settings ({error}). Train anew."
        ) from error
    return config


def check_same_data(run: Path, dataset: DatasetSpec) -> None:
    """Raises PipelineError if the images have changed since the run started: its figures would be wrong."""
    before = text_setting_of(run, "dataset_fingerprint")
    if dataset.fingerprint != before:
        raise PipelineError(
            f"the images of {dataset.source} have changed since {run.name} was started (fingerprint "
            f"{before[:12]}, now {dataset.fingerprint[:12]}). Put them back, or start a new training."
        )


def train(config: TrainConfig, dataset: Dataset, run: Path, *, progress: Progress = silent) -> TrainRecord:
    """Trains, or resumes, the run in folder `run` and returns its record.

    Images are raw 0-255 RGB; the model normalises them itself. Keeps the weights of the epoch with the best
    validation accuracy. Two trainings with the same settings on one machine give the same weights, also if
    one was killed and resumed: shuffling and augmentation depend on the seed and the epoch alone.
    """
    with _named_failure(dataset):
        with _prepared(config, dataset, run, progress) as (trainee, history):
            history = _run_epochs(trainee, history, run, progress)
        return _finish(trainee, history, run=run)


def train_until(
    config: TrainConfig, dataset: Dataset, run: Path, *, epoch: int, progress: Progress = silent
) -> History:
    """Trains the run up to an epoch of its schedule, and leaves it to be resumed; returns what it reached."""
    with _named_failure(dataset), _prepared(config, dataset, run, progress) as (trainee, history):
        return _run_epochs(trainee, history, run, progress, until=epoch)


@contextmanager
def _named_failure(dataset: Dataset) -> Iterator[None]:
    """Raises the data set's own error where the images are gone, which TensorFlow cannot say."""
    try:
        yield
    except tf.errors.OpError as error:
        if dataset.failure is None:
            raise
        raise dataset.failure from error


@contextmanager
def _prepared(
    config: TrainConfig, dataset: Dataset, run: Path, progress: Progress
) -> Iterator[tuple[_Trainee, History]]:
    """The model with what trains it, and the epochs that are done, the head's training among them."""
    if config.epochs < 1 and config.freeze != ALL:
        raise PipelineError(
            f"a training of {counted(config.epochs, 'epoch')} has nothing to keep. Give --epochs 1 or more."
        )
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    history = read_history(run)
    num_devices = min(config.batch_size, *map(dataset.num_examples, SPLITS))
    with devices.scope(num_devices):
        model = build(str(config.family), **config.knobs)
        if config.weights and not history.results:
            start_again(config, model)
    teacher = load_teacher(config.teacher) if config.teacher else None
    with _kept(model, config), _precision(model, config), fast_layers(model):
        with devices.scope(num_devices):
            weights = class_weights_of(config, dataset.spec)
            scorer = compiled_scorer(model, config, weights, teach=teacher)
        trainee = _Trainee(model=scorer, dataset=dataset, config=config, whole=model)
        if config.head_epochs and not history.results:
            history = _train_head(trainee, run, progress)
        yield trainee, history


@dataclass(frozen=True, kw_only=True)
class _Trainee(Scorer):
    whole: keras.Model
    """The model with its softmax."""


def _kept(model: keras.Model, config: TrainConfig) -> AbstractContextManager[None]:
    return frozen(model, str(config.family), config.freeze) if config.weights else nullcontext()


def _precision(model: keras.Model, config: TrainConfig) -> AbstractContextManager[None]:
    head = family_of(str(config.family)).head
    return in_bfloat16(model, head=head) if config.mixed_precision else nullcontext()


def _train_head(trainee: Scorer, run: Path, progress: Progress) -> History:
    """Trains the head alone, and keeps the weights as those after epoch 0."""
    config, scorer, spec = trainee.config, trainee.model, trainee.dataset.spec
    started = time.monotonic()
    loss, top1 = train_head(
        scorer,
        family_of(str(config.family)).head,
        lambda: trainee.batches("train"),
        loss=loss_of(config, class_weights_of(config, spec)),
        teach=scorer.teach,
        epochs=config.head_epochs,
        seed=config.seed,
        run=run,
        progress=progress,
    )
    validation_top1, validation_loss = evaluate(scorer, trainee.validation_batches())
    seconds = time.monotonic() - started
    result = EpochResult(
        epoch=0,
        learning_rate=HEAD_LEARNING_RATE,
        loss=loss,
        train_top1=top1,
        validation_loss=validation_loss,
        validation_top1=validation_top1,
        images_per_second=spec.num_train / seconds,
        seconds=seconds,
    )
    history = History(head=result)
    save_epoch(run, [*scorer.weights, *scorer.optimizer.variables], history)
    _save_history(run, history)
    progress(Note(f"the head alone: validation {validation_top1:.2f}%, train {top1:.2f}%, {seconds:.0f} s"))
    return history


def _save_history(run: Path, history: History) -> None:
    write_json(run / STATE, dataclasses.asdict(_State(history=history.epochs, head=history.head)))
    write_history(run, history.results)


def _run_epochs(
    trainee: Scorer, history: History, run: Path, progress: Progress, *, until: int | None = None
) -> History:
    config = trainee.config
    num_images = trainee.dataset.spec.num_train
    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    rate = LearningRate(
        highest=config.learning_rate,
        epochs=config.epochs,
        steps_per_epoch=-(-num_images // config.batch_size),
        schedule=config.schedule,
        warmup_epochs=config.warmup_epochs,
    )
    course = Course(
        learning_rate=rate,
        batch_size=config.batch_size,
        num_images=num_images,
        seed=config.seed,
        advice="Train anew.",
        patience=config.patience,
        until=until,
    )

    def save(history: History) -> None:
        _save_history(run, history)
        _log(writer, history.epochs[-1], run)

    outcome = run_epochs(trainee, course, history, run=run, save=save, progress=progress)
    if (lost := outcome.diverged) is not None:
        raise PipelineError(
            f"the loss became {lost.loss} in epoch {lost.epoch}: the training diverged. "
            f"Try a smaller --learning-rate than {config.learning_rate:g}. "
            f"The epochs before it are kept in {run}."
        )
    return outcome.history


@dataclass(frozen=True, kw_only=True)
class _State:
    """The content of a training's state.json."""

    history: tuple[EpochResult, ...]
    head: EpochResult | None = None


def read_history(run: Path) -> History:
    """The finished epochs of a run; empty before the first one ends."""
    if not (run / STATE).is_file():
        return History()
    try:
        state = read_record_as(_State, json_of(run / STATE))
        return History(epochs=state.history, head=state.head)
    except ValueError as error:
        raise PipelineError(
            f"{run / STATE} is damaged ({error}); it should name the finished epochs. Train anew."
        ) from error


def _log(writer: Any, result: EpochResult, run: Path) -> None:  # noqa: ANN401 - TensorFlow carries no types
    try:
        with writer.as_default(step=result.epoch):
            for name, value in dataclasses.asdict(result).items():
                tf.summary.scalar(name, value)
        writer.flush()
    except tf.errors.OpError as error:
        raise PipelineError(
            f"cannot write the TensorBoard log of {run} ({error.message}). The finished epochs are kept. "
            f"Free some space, then go on: {how_to_resume(run)}"
        ) from error


def _finish(trainee: _Trainee, history: History, *, run: Path) -> TrainRecord:
    config, best = trainee.config, history.best
    assert best is not None
    if config.mixed_precision:
        trainee.model.make_test_function(force=True)  # in float32, as the saved model computes
    test_top1, _ = evaluate(trainee.model, trainee.batches("test"))
    return finish_run(
        run,
        trainee.whole,
        trainee.dataset.spec,
        model_name=label(str(config.family), config.knobs),
        config=config,
        train_top1=history.results[-1].train_top1,
        validation_top1=best.validation_top1,
        test_top1=test_top1,
        best_epoch=best.epoch,
        epochs_run=len(history.epochs),
        seconds=sum(row.seconds for row in history.results),
    )

"""The training loop for Keras 3 and tf_keras models, for training and fine-tuning."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from pipeline.progress import Progress
from pipeline.training.checkpoint import EpochResult, History, forget_epochs, load_weights, save_epoch
from pipeline.training.memory import check_fits
from pipeline.training.progress import TrainingProgress
from pipeline.training.schedule import LearningRate


class Trainee(Protocol):
    """A model of class scores, compiled by compile_scores(), and its training images."""

    @property
    def model(self) -> Any:  # noqa: ANN401 - neither Keras carries types
        """Trained in place."""

    @property
    def framework(self) -> Any:  # noqa: ANN401
        """The model's package, keras or tf_keras."""

    def training_batches(self, epoch: int) -> tf.data.Dataset:
        """(inputs, labels) of an epoch (0-based); the order depends on seed and epoch alone."""

    def validation_batches(self) -> tf.data.Dataset:
        """(inputs, labels) in a fixed order."""

    def callbacks(self) -> Sequence[Any]:
        """New callbacks for an epoch."""

    def seed_dropout(self, random: np.random.Generator) -> None:
        """Seeds dropout from `random`, since no generator state is saved."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """The length and the learning rate of a training."""

    learning_rate: LearningRate
    batch_size: int
    num_images: int
    """That an epoch shows."""
    seed: int
    advice: str
    """Advice for damaged weights on resuming."""
    patience: int = 0
    """The training stops after as many epochs without a better one; 0 never stops it."""
    until: int | None = None
    """The epoch to pause after; None for the last one. The schedule is that of all epochs."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a training."""

    history: History
    diverged: EpochResult | None = None
    """The epoch whose loss was not finite, which ended the training; it is not in the history."""


def run_epochs(
    trainee: Trainee,
    course: Course,
    history: History,
    *,
    run: Path,
    save: Callable[[History], None],
    progress: Progress,
) -> Outcome:
    """Trains the epochs after `history`, and leaves the model with the weights of the best kept epoch.

    `save` is called after each epoch, when the run's folder has its weights, and writes the history. Two
    trainings of one course give the same weights, also if one was killed and resumed. Raises LargeBatchError
    if a batch cannot fit into memory.
    """
    variables = [*trainee.model.weights, *trainee.model.optimizer.variables]
    diverged = None
    check_fits(trainee.model, min(course.batch_size, course.num_images))
    if history.results:
        load_weights(variables, run / history.last_file, advice=course.advice)
    epochs, done = course.learning_rate.epochs, len(history.epochs)
    reported = TrainingProgress(progress, epochs=epochs, num_images=course.num_images, first_epoch=done)
    for epoch in range(done, epochs if course.until is None else min(course.until, epochs)):
        if has_waited(history, course.patience):
            break
        result = _run_epoch(trainee, course, epoch=epoch, progress=reported)
        if not math.isfinite(result.loss):
            diverged = result
            break
        history = dataclasses.replace(history, epochs=(*history.epochs, result))
        is_best = save_epoch(run, variables, history)
        save(history)
        forget_epochs(run, but=(history.last_file, history.best_file))
        reported.epoch_done(result, is_best=is_best)
    if history.best_file:
        load_weights(variables, run / history.best_file, advice=course.advice)
    return Outcome(history=history, diverged=diverged)


def has_waited(history: History, patience: int) -> bool:
    """Whether so many epochs were no better that the training ends; never with a patience of 0."""
    return bool(patience and history.best and len(history.epochs) - history.best.epoch >= patience)


def compile_scores(
    model: Any,  # noqa: ANN401
    framework: Any,  # noqa: ANN401
    *,
    optimizer: Any,  # noqa: ANN401
    loss: Any,  # noqa: ANN401
    metric: Any = None,  # noqa: ANN401
) -> None:
    """Compiles a model of class scores (logits) for training and evaluation.

    `metric`, called top1, is by default the share of images whose largest score is that of their class.
    """
    metric = metric or framework.metrics.SparseCategoricalAccuracy(name="top1")
    model.compile(optimizer=optimizer, loss=loss, metrics=[metric], jit_compile=False)
    model.optimizer.build(model.trainable_variables)


def evaluate(model: Any, batches: tf.data.Dataset) -> tuple[float, float]:  # noqa: ANN401
    """Percent right, and the loss, of a compiled model on batches of (inputs, labels)."""
    with warnings.catch_warnings():
        # the number of batches is known only at the end, since broken images are left out
        warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        scores = model.evaluate(batches, verbose=0, return_dict=True)
    return 100 * float(scores["top1"]), float(scores["loss"])


def _run_epoch(trainee: Trainee, course: Course, *, epoch: int, progress: TrainingProgress) -> EpochResult:
    started = time.monotonic()
    trainee.seed_dropout(np.random.default_rng([abs(course.seed), epoch]))
    fitted = trainee.model.fit(
        trainee.training_batches(epoch),
        initial_epoch=epoch,
        epochs=epoch + 1,
        callbacks=[_each_step(trainee, course, epoch, progress), *trainee.callbacks()],
        verbose=0,
        shuffle=False,
    )
    seconds = time.monotonic() - started
    loss = float(fitted.history["loss"][-1])
    top1, validation_loss = math.nan, math.nan
    if math.isfinite(loss):
        top1, validation_loss = evaluate(trainee.model, trainee.validation_batches())
    return EpochResult(
        epoch=epoch + 1,
        learning_rate=float(trainee.model.optimizer.learning_rate.numpy()),
        loss=loss,
        train_top1=100 * float(fitted.history["top1"][-1]),
        validation_loss=validation_loss,
        validation_top1=top1,
        images_per_second=course.num_images / seconds,
        seconds=time.monotonic() - started,
    )


def _each_step(trainee: Trainee, course: Course, epoch: int, progress: TrainingProgress) -> Any:  # noqa: ANN401
    """Sets the learning rate before each step, counts images after it, stops if the loss is not finite."""
    model, size = trainee.model, course.batch_size
    first_step = epoch * course.learning_rate.steps_per_epoch

    def begin(batch: int, logs: Any = None) -> None:  # noqa: ANN401, ARG001
        model.optimizer.learning_rate.assign(course.learning_rate.at(first_step + batch))

    def end(batch: int, logs: Any = None) -> None:  # noqa: ANN401
        progress.images_done(min(size, course.num_images - batch * size), epoch=epoch)
        if logs and not math.isfinite(logs["loss"]):
            model.stop_training = True

    return trainee.framework.callbacks.LambdaCallback(on_train_batch_begin=begin, on_train_batch_end=end)

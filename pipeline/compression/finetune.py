"""Fine-tunes a tf_keras twin; a killed fine-tuning resumes after the last finished epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tf_keras

from export.graph.rescaling import Rescaling
from export.head import HALF, Head, HeadKind
from pipeline.data.augment import Augment
from pipeline.data.spec import ImageShape
from pipeline.errors import PipelineError
from pipeline.progress import Progress
from pipeline.records.compression import LEARNING_RATES, CompressConfig
from pipeline.training.checkpoint import EpochResult, History
from pipeline.training.loop import Course, compile_scores, evaluate, run_epochs
from pipeline.training.schedule import LearningRate

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset

ADVICE = "Compress anew."
"""Advice for damaged weights on resuming."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The data set as the twin takes it, with targets for its class scores."""

    dataset: Dataset
    head: Head
    """What the class scores mean."""
    image_size: ImageShape
    rescaling: Rescaling
    augment: Augment

    def training(self, config: CompressConfig, epoch: int) -> tf.data.Dataset:
        """(values (b, height, width, channels), targets) of one epoch, shuffled and augmented."""
        batches = self.dataset.training_batches(
            image_size=self.image_size,
            batch_size=config.batch_size,
            augment=self.augment,
            seed=config.seed,
            epoch=epoch,
        )
        if config.steps_per_epoch is not None:
            batches = batches.take(config.steps_per_epoch)
        return batches.map(self._as_taken)

    def num_images(self, config: CompressConfig) -> int:
        """The number of images in an epoch."""
        num_train = self.dataset.spec.num_train
        return min(num_train, (config.steps_per_epoch or num_train) * config.batch_size)

    def of_split(self, split: str, batch_size: int) -> tf.data.Dataset:
        """(values (b, height, width, channels), targets) of a split, in its order."""
        return self.dataset.batches(split, image_size=self.image_size, batch_size=batch_size).map(
            self._as_taken
        )

    def _as_taken(self, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scale, offset = (
            tf.constant(each, tf.float32) for each in (self.rescaling.scale, self.rescaling.offset)
        )
        return pixels * scale + offset, self._targets(labels)

    def _targets(self, labels: tf.Tensor) -> tf.Tensor:
        """Numbers of classes (b,); for sigmoids 0 or 1 for each output (b, outputs)."""
        if self.head.kind is HeadKind.CLASSES:
            return labels
        if self.head.kind is HeadKind.BINARY:
            return tf.cast(labels[:, tf.newaxis], tf.float32)
        if self.dataset.spec.has_several_labels:
            return tf.cast(labels, tf.float32)
        return tf.one_hot(labels, self.head.num_outputs)


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """The model of one step with its wrappers, and its training."""

    step: str
    config: CompressConfig
    model: tf_keras.Model
    new_callbacks: Callable[[], list[tf_keras.callbacks.Callback]]
    first_kept: int = 1
    """The first epoch, counted from 1, whose weights may be kept; before it compression is not finished."""


def fine_tune(
    tuning: FineTuning,
    images: Images,
    *,
    run: Path,
    epochs: tuple[EpochResult, ...],
    save: Callable[[History], None],
    progress: Progress,
) -> tuple[History, str]:
    """Trains the model in place, resuming after `epochs`, and leaves it with the weights of the best epoch.

    `save` is called after each epoch, when the run's folder has its weights. Returns the history, and a note
    if the training diverged, was stopped, and the best epoch kept. Raises PipelineError if it diverged before
    there was one.
    """
    config = tuning.config
    num_images = images.num_images(config)
    rate = LearningRate(
        highest=_rate(config, tuning.step),
        epochs=config.epochs,
        steps_per_epoch=-(-num_images // config.batch_size),
    )
    course = Course(
        learning_rate=rate,
        batch_size=config.batch_size,
        num_images=num_images,
        seed=config.seed,
        advice=ADVICE,
    )
    compile_twin(tuning.model, config, images.head, rate=rate.highest)
    trainee = _Twin(tuning=tuning, images=images, config=config)
    history = History(epochs=epochs, first_kept=tuning.first_kept)
    outcome = run_epochs(trainee, course, history, run=run, save=save, progress=progress)
    note = ""
    if outcome.diverged is not None:
        note = _diverged(tuning, outcome.history, rate.highest, outcome.diverged.epoch)
    return outcome.history, note


@dataclass(frozen=True, kw_only=True)
class _Twin:
    """The model of one step, and its training images."""

    tuning: FineTuning
    images: Images
    config: CompressConfig
    framework: Any = tf_keras

    @property
    def model(self) -> tf_keras.Model:
        return self.tuning.model

    def training_batches(self, epoch: int) -> tf.data.Dataset:
        return self.images.training(self.config, epoch)

    def validation_batches(self) -> tf.data.Dataset:
        return self.images.of_split("validation", 2 * self.config.batch_size)

    def callbacks(self) -> list[tf_keras.callbacks.Callback]:
        return self.tuning.new_callbacks()

    def seed_dropout(self, random: np.random.Generator) -> None:
        for layer in self.model._flatten_layers():
            generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
            if generator is not None:
                generator.reset_from_seed(int(random.integers(2**31)))


def compile_twin(model: tf_keras.Model, config: CompressConfig, head: Head, *, rate: float) -> None:
    """Compiles a model of class scores for training and evaluation.

    Scores of a sigmoid get binary cross-entropy, and the share of outputs on the right side as their top-1.
    """
    optimizer = tf_keras.optimizers.SGD(
        rate, momentum=config.momentum, nesterov=True, global_clipnorm=config.clip_norm or None
    )
    if head.kind is HeadKind.CLASSES:
        loss, metric = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), None
    else:
        loss = tf_keras.losses.BinaryCrossentropy(from_logits=True)
        metric = tf_keras.metrics.MeanMetricWrapper(_share_right, name="top1")
    compile_scores(model, tf_keras, optimizer=optimizer, loss=loss, metric=metric)


def _share_right(targets: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """(b, outputs) -> (b,): the share of an image's logits on the right side of 0."""
    return tf.reduce_mean(tf.cast(tf.equal(targets > HALF, scores > 0.0), tf.float32), axis=-1)


def top1_of(model: tf_keras.Model, images: Images, split: str, config: CompressConfig) -> float:
    """Percent right of a compiled model on a split."""
    top1, _ = evaluate(model, images.of_split(split, 2 * config.batch_size))
    return top1


def _rate(config: CompressConfig, step: str) -> float:
    return LEARNING_RATES[step] if config.learning_rate is None else config.learning_rate


def _diverged(tuning: FineTuning, history: History, rate: float, epoch: int) -> str:
    """The note on a training that diverged after an epoch was kept; PipelineError if none was."""
    smaller = min(rate / 10, LEARNING_RATES[tuning.step])
    what = f"the fine-tuning of --{tuning.step} diverged in epoch {epoch} at a learning rate of {rate:g}"
    if history.best is None:
        raise PipelineError(
            f"{what}, before any epoch could be kept. Try a smaller one: --learning-rate {smaller:g}"
        )
    return f"{what}: stopped, and epoch {history.best.epoch} kept. Try --learning-rate {smaller:g}"

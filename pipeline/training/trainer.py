"""Trains a model into a run folder: model.keras, train.json, history.csv, TensorBoard logs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from export.files import write_json
from export.records import json_of, read_record_as
from models.build import build
from models.errors import KnobError
from models.registry import family_of, label, resolve
from pipeline.data import augment
from pipeline.errors import PipelineError
from pipeline.progress import Progress, silent
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.runs import CONFIG, how_to_resume, new_run, setting_of, text_setting_of
from pipeline.training.checkpoint import STATE, EpochResult, History, write_history
from pipeline.training.decay import set_weight_decay
from pipeline.training.finish import finish_run, now_utc
from pipeline.training.fused_norm import fused_norms
from pipeline.training.loop import Course, compile_scores, evaluate, run_epochs
from pipeline.training.schedule import LearningRate
from spelling import counted

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.data.spec import DatasetSpec

OPTIMIZERS = ("sgd", "rmsprop", "adam")


def start_run(config: TrainConfig, dataset: DatasetSpec, *, folder: Path) -> Path:
    """Makes the folder of a new run, with its settings, and returns its path."""
    settings = {
        "started_utc": now_utc(),
        "dataset_fingerprint": dataset.fingerprint,
        "config": dataclasses.asdict(config),
    }
    return new_run(folder, f"{label(str(config.family), config.knobs)}-{dataset.name}", settings)


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
    if config.epochs < 1:
        raise PipelineError(
            f"a training of {counted(config.epochs, 'epoch')} has nothing to keep. Give --epochs 1 or more."
        )
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    model = build(str(config.family), **config.knobs)
    trainee = _Scorer(model=_compiled_scorer(model, config), dataset=dataset, config=config)
    try:
        with fused_norms(model):
            history = _run_epochs(trainee, run, progress)
        return _finish(model, trainee, history, run=run)
    except tf.errors.OpError as error:
        if dataset.failure is None:
            raise
        raise dataset.failure from error  # the images are gone, which TensorFlow cannot say


@dataclass(frozen=True, kw_only=True)
class _Scorer:
    """A model without its softmax, and its training data set."""

    model: keras.Model
    dataset: Dataset
    config: TrainConfig
    framework: Any = keras

    def training_batches(self, epoch: int) -> tf.data.Dataset:
        return self.dataset.training_batches(
            image_size=self.config.knobs["image_size"],
            batch_size=self.config.batch_size,
            augment=self._augmentation(),
            seed=self.config.seed,
            epoch=epoch,
        )

    def validation_batches(self) -> tf.data.Dataset:
        return self.batches("validation")

    def batches(self, split: str) -> tf.data.Dataset:
        """A split's raw pixels and labels, in its order."""
        config = self.config
        return self.dataset.batches(
            split, image_size=config.knobs["image_size"], batch_size=2 * config.batch_size
        )

    def callbacks(self) -> Sequence[Any]:
        return ()

    def seed_dropout(self, random: np.random.Generator) -> None:
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign(random.integers(2**31, size=2))

    def _augmentation(self) -> augment.Augment:
        if not self.config.augment:
            return augment.NONE
        crop = family_of(str(self.config.family)).min_crop_area
        spec = self.dataset.spec
        return augment.suited(
            augment.preset(crop, image_size=self.config.knobs["image_size"]),
            mirror_keeps_labels=spec.mirror_keeps_labels,
            background=spec.background,
        )


def _compiled_scorer(model: keras.Model, config: TrainConfig) -> keras.Model:
    """The model without its softmax, with shared weights: cross-entropy is exact only on logits."""
    scorer = keras.Model(model.input, model.get_layer("logits").output, name="scorer")
    set_weight_decay(scorer, config)
    num_classes = scorer.output_shape[-1]
    loss = _loss(config.label_smoothing, num_classes)
    compile_scores(scorer, keras, optimizer=_optimizer(config), loss=loss)
    return scorer


def _optimizer(config: TrainConfig) -> keras.Optimizer:
    rate, momentum, clip = config.learning_rate, config.momentum, config.clip_norm or None
    makers: dict[str, Callable[[], keras.Optimizer]] = {
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=momentum, nesterov=True, global_clipnorm=clip),
        # decay 0.9 and epsilon 1, as TF-slim trained Inception and MobileNet
        "rmsprop": lambda: keras.optimizers.RMSprop(
            rate, rho=0.9, momentum=momentum, epsilon=1.0, global_clipnorm=clip
        ),
        "adam": lambda: keras.optimizers.Adam(rate, global_clipnorm=clip),
    }
    return makers[config.optimizer]()


def _loss(label_smoothing: float, num_classes: int) -> Callable[[Any, Any], Any]:
    def smoothed_cross_entropy(labels: Any, logits: Any) -> Any:  # noqa: ANN401
        targets = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), num_classes)
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=label_smoothing
        )

    return smoothed_cross_entropy


def _run_epochs(trainee: _Scorer, run: Path, progress: Progress) -> History:
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
    )

    def save(history: History) -> None:
        write_json(run / STATE, {"history": [dataclasses.asdict(row) for row in history.epochs]})
        write_history(run, history.epochs)
        _log(writer, history.epochs[-1], run)

    outcome = run_epochs(trainee, course, read_history(run), run=run, save=save, progress=progress)
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


def read_history(run: Path) -> History:
    """The finished epochs of a run; empty before the first one ends."""
    if not (run / STATE).is_file():
        return History()
    try:
        return History(epochs=read_record_as(_State, json_of(run / STATE)).history)
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


def _finish(model: keras.Model, trainee: _Scorer, history: History, *, run: Path) -> TrainRecord:
    config, best = trainee.config, history.best
    assert best is not None
    test_top1, _ = evaluate(trainee.model, trainee.batches("test"))
    return finish_run(
        run,
        model,
        trainee.dataset.spec,
        model_name=label(str(config.family), config.knobs),
        config=config,
        train_top1=history.epochs[-1].train_top1,
        validation_top1=best.validation_top1,
        test_top1=test_top1,
        best_epoch=best.epoch,
        epochs_run=len(history.epochs),
        seconds=sum(row.seconds for row in history.epochs),
    )

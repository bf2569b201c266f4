"""A data set and settings in, a finished run out: model.keras, train.json, history.csv, TensorBoard logs."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from export.files import write_json
from models.build import build
from models.registry import family_of, label
from pipeline.data import augment
from pipeline.errors import PipelineError
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.runs import CONFIG, new_folder, setting_of
from pipeline.training.checkpoint import (
    EpochResult,
    TrainState,
    best_of,
    load_weights,
    read_state,
    save_state,
)
from pipeline.training.decay import set_weight_decay
from pipeline.training.finish import finish_run, now_utc
from pipeline.training.progress import TrainingProgress
from pipeline.training.schedule import learning_rate_at

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.data.spec import DatasetSpec


def start_run(config: TrainConfig, dataset: DatasetSpec, *, folder: Path) -> Path:
    """Makes the folder of a new run, with its settings, and gives back its path."""
    run = new_folder(folder, f"{label(str(config.family), config.knobs)}-{dataset.name}")
    settings = {
        "started_utc": now_utc(),
        "dataset_fingerprint": dataset.fingerprint,
        "config": dataclasses.asdict(config),
    }
    write_json(run / CONFIG, settings)
    return run


def read_config(run: Path) -> TrainConfig:
    """The settings that a run was started with."""
    try:
        return TrainConfig(**setting_of(run, "config"))
    except TypeError as error:
        raise PipelineError(
            f"{run / CONFIG} was written by another version ({error}). Train anew."
        ) from error


def check_same_data(run: Path, dataset: DatasetSpec) -> None:
    """Refuses to go on with a run whose images have changed since: its figures would mean nothing."""
    before = setting_of(run, "dataset_fingerprint")
    if dataset.fingerprint != before:
        raise PipelineError(
            f"the images of {dataset.source} have changed since {run.name} was started (fingerprint "
            f"{before[:12]}, now {dataset.fingerprint[:12]}). Put them back, or start a new training."
        )


def train(config: TrainConfig, dataset: Dataset, run: Path) -> TrainRecord:
    """Trains, or goes on training, the run in folder `run` and gives back its record.

    The images come as raw 0-255 RGB; the model normalises them itself. The weights kept are those of the
    epoch with the best validation accuracy. Two trainings with the same settings on one machine give the
    same weights, also when one was killed and resumed: shuffling and augmentation depend on the seed and
    the epoch alone.
    """
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    model = build(str(config.family), **config.knobs)
    scorer = _compiled_scorer(model, config)
    state = read_state(run)
    if state is not None:
        load_weights(scorer, run / state.last_weights)
    try:
        state = _run_epochs(scorer, dataset, config=config, run=run, state=state)
        load_weights(scorer, run / state.best_weights)
        return _finish(model, scorer, dataset, config=config, run=run, state=state)
    except tf.errors.OpError as error:
        if dataset.failure is None:
            raise
        raise dataset.failure from error  # the images are gone, which TensorFlow cannot say


def _compiled_scorer(model: keras.Model, config: TrainConfig) -> keras.Model:
    """The model without its softmax, sharing its weights: cross-entropy is exact on logits alone."""
    scorer = keras.Model(model.input, model.get_layer("logits").output, name="scorer")
    set_weight_decay(scorer, config)
    num_classes = scorer.output_shape[-1]
    scorer.compile(
        optimizer=_optimizer(config),
        loss=_loss(config.label_smoothing, num_classes),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="top1")],
        jit_compile=False,
    )
    scorer.optimizer.build(scorer.trainable_variables)
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


class _EachStep(keras.callbacks.Callback):
    """Sets the learning rate before each step, counts images after it."""

    def __init__(
        self, config: TrainConfig, progress: TrainingProgress, *, epoch: int, num_images: int
    ) -> None:
        super().__init__()
        self.config = config
        self.progress = progress
        self.epoch = epoch
        self.steps = math.ceil(num_images / config.batch_size)
        self.num_images = num_images

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401, ARG002
        rate = learning_rate_at(self.config, self.epoch + (batch + 1) / self.steps)
        self.model.optimizer.learning_rate = rate

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401, ARG002
        done = min(self.config.batch_size, self.num_images - batch * self.config.batch_size)
        self.progress.images_done(done, epoch=self.epoch)


def _run_epochs(
    scorer: keras.Model, dataset: Dataset, *, config: TrainConfig, run: Path, state: TrainState | None
) -> TrainState:
    history = state.history if state else ()
    num_images = dataset.spec.num_train
    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    progress = TrainingProgress(epochs=config.epochs, num_images=num_images, first_epoch=len(history))
    with progress:
        for epoch in range(len(history), config.epochs):
            result = _run_epoch(scorer, dataset, config=config, epoch=epoch, progress=progress)
            history = (*history, result)
            if not math.isfinite(result.loss):
                raise PipelineError(
                    f"the loss became {result.loss} in epoch {epoch + 1}: the training diverged. "
                    f"Try a smaller --learning-rate than {config.learning_rate:g}. "
                    f"The epochs before it are kept in {run}."
                )
            state = save_state(run, scorer, history)
            progress.epoch_done(result, is_best=state.best_epoch == result.epoch)
            _log(writer, result, run)
    if state is None:
        raise PipelineError(
            f"a training of {config.epochs} epochs has nothing to keep. Give --epochs 1 or more."
        )
    return state


def _log(writer: Any, result: EpochResult, run: Path) -> None:  # noqa: ANN401 - TensorFlow carries no types
    try:
        with writer.as_default(step=result.epoch):
            for name, value in dataclasses.asdict(result).items():
                tf.summary.scalar(name, value)
        writer.flush()
    except tf.errors.OpError as error:
        raise PipelineError(
            f"cannot write the TensorBoard log of {run} ({error.message}). The finished epochs are kept. "
            f"Free some space, then go on: pipeline train --resume {run.name}"
        ) from error


def _run_epoch(
    scorer: keras.Model, dataset: Dataset, *, config: TrainConfig, epoch: int, progress: TrainingProgress
) -> EpochResult:
    started = time.monotonic()
    _seed_dropout(scorer, seed=config.seed, epoch=epoch)
    image_size = config.knobs["image_size"]
    batches = dataset.training_batches(
        image_size=image_size,
        batch_size=config.batch_size,
        augment=_augmentation(config, dataset),
        seed=config.seed,
        epoch=epoch,
    )
    each_step = _EachStep(config, progress, epoch=epoch, num_images=dataset.spec.num_train)
    fitted = scorer.fit(
        batches, initial_epoch=epoch, epochs=epoch + 1, callbacks=[each_step], verbose=0, shuffle=False
    )
    trained = time.monotonic()
    validation = evaluate(scorer, dataset, "validation", config=config)
    return EpochResult(
        epoch=epoch + 1,
        learning_rate=float(scorer.optimizer.learning_rate.numpy()),
        loss=fitted.history["loss"][-1],
        train_top1=100 * fitted.history["top1"][-1],
        validation_loss=validation["loss"],
        validation_top1=100 * validation["top1"],
        images_per_second=dataset.spec.num_train / (trained - started),
        seconds=time.monotonic() - started,
    )


def _seed_dropout(model: keras.Model, *, seed: int, epoch: int) -> None:
    """Lets what is dropped depend on (seed, epoch) alone: Keras saves no generator's state."""
    random = np.random.default_rng([abs(seed), epoch])
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(random.integers(2**31, size=2))


def _augmentation(config: TrainConfig, dataset: Dataset) -> augment.Augment:
    if not config.augment:
        return augment.NONE
    spec = dataset.spec
    return augment.suited(
        augment.preset(family_of(str(config.family)).min_crop_area, image_size=config.knobs["image_size"]),
        mirror_keeps_labels=spec.mirror_keeps_labels,
        background=spec.background,
    )


def evaluate(scorer: keras.Model, dataset: Dataset, split: str, *, config: TrainConfig) -> dict[str, float]:
    """loss and top1 (0 to 1) of the compiled scorer on a split."""
    batches = dataset.batches(split, image_size=config.knobs["image_size"], batch_size=2 * config.batch_size)
    with warnings.catch_warnings():
        # how many batches there are shows at their end, since broken images are left out
        warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        scores: dict[str, float] = scorer.evaluate(batches, verbose=0, return_dict=True)
    return scores


def _finish(
    model: keras.Model,
    scorer: keras.Model,
    dataset: Dataset,
    *,
    config: TrainConfig,
    run: Path,
    state: TrainState,
) -> TrainRecord:
    test = evaluate(scorer, dataset, "test", config=config)
    return finish_run(
        run,
        model,
        dataset.spec,
        model_name=label(str(config.family), config.knobs),
        config=config,
        train_top1=state.history[-1].train_top1,
        validation_top1=best_of(state.history).validation_top1,
        test_top1=100 * test["top1"],
        best_epoch=state.best_epoch,
        epochs_run=len(state.history),
        seconds=sum(row.seconds for row in state.history),
    )

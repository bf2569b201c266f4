"""Fine-tunes a tf_keras twin for some epochs, so that a killed one goes on after the last finished epoch."""

from __future__ import annotations

import io
import math
import time
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tf_keras

from export.files import write_bytes
from export.graph.rescaling import Rescaling
from pipeline.data.augment import Augment
from pipeline.errors import PipelineError
from pipeline.records.compression import LEARNING_RATES, CompressConfig
from pipeline.training.checkpoint import EpochResult, best_of
from pipeline.training.progress import TrainingProgress
from pipeline.training.schedule import cosine

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset

_LAST, _BEST = "last-{epoch:04d}.npz", "best-{epoch:04d}.npz"
"""A name for each epoch: while the next one's weights are written, the state still means the old ones."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The data set as the twin takes it."""

    dataset: Dataset
    image_size: int
    rescaling: Rescaling
    augment: Augment

    def training(self, config: CompressConfig, epoch: int) -> tf.data.Dataset:
        """(values (b, height, width, channels), labels (b,)) of one epoch, shuffled and augmented."""
        batches = self.dataset.training_batches(
            image_size=self.image_size,
            batch_size=config.batch_size,
            augment=self.augment,
            seed=config.seed,
            epoch=epoch,
        )
        if config.steps_per_epoch is not None:
            batches = batches.take(config.steps_per_epoch)
        return batches.map(self._rescaled)

    def num_images(self, config: CompressConfig) -> int:
        """How many images an epoch sees."""
        num_train = self.dataset.spec.num_train
        return min(num_train, (config.steps_per_epoch or num_train) * config.batch_size)

    def of_split(self, split: str, batch_size: int) -> tf.data.Dataset:
        """(values (b, height, width, channels), labels (b,)) of a split, in its order."""
        return self.dataset.batches(split, image_size=self.image_size, batch_size=batch_size).map(
            self._rescaled
        )

    def _rescaled(self, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scale, offset = (
            tf.constant(each, tf.float32) for each in (self.rescaling.scale, self.rescaling.offset)
        )
        return pixels * scale + offset, labels


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """One step's model with its wrappers, and how it is trained."""

    step: str
    model: tf_keras.Model
    callbacks: Callable[[], list[tf_keras.callbacks.Callback]]
    first_epoch_kept: int = 1
    """Counted from 1: weights of earlier epochs are not yet what was asked for."""


def fine_tune(
    tuning: FineTuning,
    images: Images,
    config: CompressConfig,
    *,
    run: Path,
    history: tuple[EpochResult, ...],
    save: Callable[[tuple[EpochResult, ...]], None],
) -> tuple[tuple[EpochResult, ...], str]:
    """Trains the model in place, from after `history` on, and leaves it with the weights of the best epoch.

    `save` is called after each epoch, when the run's folder holds its weights. Gives back the history, and a
    note where the training diverged: it is stopped then, and the best epoch kept. Raises PipelineError where
    it diverged before there was any.
    """
    compile_twin(tuning.model, config, rate=_rate(config, tuning.step))
    if history:
        _load(tuning.model, run / _LAST.format(epoch=len(history)))
    note = ""
    num_images = images.num_images(config)
    progress = TrainingProgress(epochs=config.epochs, num_images=num_images, first_epoch=len(history))
    with progress:
        for epoch in range(len(history), config.epochs):
            result = _run_epoch(tuning, images, config, epoch=epoch, progress=progress)
            if not math.isfinite(result.loss):
                note = _diverged(tuning, history, config, epoch)
                break
            history = (*history, result)
            is_best = _save_epoch(tuning, history, run)
            save(history)
            forget_epochs(run, but=_files_of(history, tuning))
            progress.epoch_done(result, is_best=is_best)
    _load(tuning.model, run / _BEST.format(epoch=best_epoch(history, tuning).epoch))
    return history, note


def forget_epochs(run: Path, *, but: Collection[str] = ()) -> None:
    """Removes the weights of single epochs from a run's folder, `but` those of these names."""
    for path in (*run.glob("last-*.npz"), *run.glob("best-*.npz")):
        if path.name not in but:
            path.unlink(missing_ok=True)


def _save_epoch(tuning: FineTuning, history: tuple[EpochResult, ...], run: Path) -> bool:
    """Writes the weights after the newest epoch; gives back whether it is the best one."""
    epoch = history[-1].epoch
    content = weights_content(_all_variables(tuning.model))
    last, *best = _files_of(history, tuning)
    write_bytes(run / last, content)
    is_best = _BEST.format(epoch=epoch) in best
    if is_best:
        write_bytes(run / _BEST.format(epoch=epoch), content)
    return is_best


def _files_of(history: tuple[EpochResult, ...], tuning: FineTuning) -> list[str]:
    """The names of the weights that a history needs: of its last epoch, and of its best if it has one yet."""
    files = [_LAST.format(epoch=len(history))]
    if _kept(history, tuning):
        files.append(_BEST.format(epoch=best_epoch(history, tuning).epoch))
    return files


def best_epoch(history: tuple[EpochResult, ...], tuning: FineTuning) -> EpochResult:
    """The epoch whose weights are kept."""
    return best_of(_kept(history, tuning))


def compile_twin(model: tf_keras.Model, config: CompressConfig, *, rate: float) -> None:
    """Compiles a model of logits for training and evaluation."""
    model.compile(
        optimizer=tf_keras.optimizers.SGD(
            rate, momentum=config.momentum, nesterov=True, global_clipnorm=config.clip_norm or None
        ),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tf_keras.metrics.SparseCategoricalAccuracy(name="top1")],
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)


def top1_of(model: tf_keras.Model, images: Images, split: str, config: CompressConfig) -> tuple[float, float]:
    """Percent right, and the loss, of a compiled model on a split."""
    scores = model.evaluate(images.of_split(split, 2 * config.batch_size), verbose=0, return_dict=True)
    return 100 * scores["top1"], scores["loss"]


def _rate(config: CompressConfig, step: str) -> float:
    return LEARNING_RATES[step] if config.learning_rate is None else config.learning_rate


class _EachStep(tf_keras.callbacks.Callback):
    """Sets the learning rate before each step, counts images after it, and stops where the loss is lost."""

    def __init__(self, progress: TrainingProgress, config: CompressConfig, rate: float, epoch: int) -> None:
        super().__init__()
        self.progress, self.config, self.rate, self.epoch = progress, config, rate, epoch
        self.steps = math.ceil(progress.num_images / config.batch_size)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401, ARG002
        done = (self.epoch + batch / self.steps) / self.config.epochs
        self.model.optimizer.learning_rate.assign(self.rate * cosine(done))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401
        size = self.config.batch_size
        self.progress.images_done(min(size, self.progress.num_images - batch * size), epoch=self.epoch)
        if logs and not math.isfinite(logs["loss"]):
            self.model.stop_training = True


def _run_epoch(
    tuning: FineTuning, images: Images, config: CompressConfig, *, epoch: int, progress: TrainingProgress
) -> EpochResult:
    started = time.monotonic()
    _seed_dropout(tuning.model, seed=config.seed, epoch=epoch)
    each_step = _EachStep(progress, config, _rate(config, tuning.step), epoch)
    fitted = tuning.model.fit(
        images.training(config, epoch),
        initial_epoch=epoch,
        epochs=epoch + 1,
        callbacks=[each_step, *tuning.callbacks()],
        verbose=0,
        shuffle=False,
    )
    seconds = time.monotonic() - started
    loss = float(fitted.history["loss"][-1])
    top1, validation_loss = (
        top1_of(tuning.model, images, "validation", config) if math.isfinite(loss) else (math.nan, math.nan)
    )
    return EpochResult(
        epoch=epoch + 1,
        learning_rate=float(tuning.model.optimizer.learning_rate.numpy()),
        loss=loss,
        train_top1=100 * float(fitted.history["top1"][-1]),
        validation_loss=validation_loss,
        validation_top1=top1,
        images_per_second=progress.num_images / seconds,
        seconds=time.monotonic() - started,
    )


def _seed_dropout(model: tf_keras.Model, *, seed: int, epoch: int) -> None:
    """Lets what is dropped depend on (seed, epoch) alone, so that a resumed run ends as one never stopped."""
    random = np.random.default_rng([seed, epoch])
    for layer in model._flatten_layers():
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            generator.reset_from_seed(int(random.integers(2**31)))


def _diverged(
    tuning: FineTuning, history: tuple[EpochResult, ...], config: CompressConfig, epoch: int
) -> str:
    """What to say of a training that diverged after something was kept; PipelineError where nothing was."""
    rate = _rate(config, tuning.step)
    smaller = min(rate / 10, LEARNING_RATES[tuning.step])
    what = f"the fine-tuning of --{tuning.step} diverged in epoch {epoch + 1} at a learning rate of {rate:g}"
    kept = _kept(history, tuning)
    if not kept:
        raise PipelineError(
            f"{what}, before any epoch could be kept. Try a smaller one: --learning-rate {smaller:g}"
        )
    return f"{what}: stopped, and epoch {best_of(kept).epoch} kept. Try --learning-rate {smaller:g}"


def _kept(history: tuple[EpochResult, ...], tuning: FineTuning) -> tuple[EpochResult, ...]:
    return tuple(row for row in history if row.epoch >= tuning.first_epoch_kept)


def weights_content(variables: Sequence[tf.Variable]) -> bytes:
    """The variables' values in their order, as an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, *[variable.numpy() for variable in variables])
    return buffer.getvalue()


def _load(model: tf_keras.Model, path: Path) -> None:
    load_weights(_all_variables(model), path)


def load_weights(variables: Sequence[tf.Variable], path: Path) -> None:
    """Fills variables with what weights_content() held; PipelineError for a damaged or a foreign file."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            values = [arrays[name] for name in arrays.files]
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise ValueError("its arrays are those of another model")
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise PipelineError(
            f"{path} cannot be read ({error}); it should hold the weights of the compression. Compress anew."
        ) from error
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _all_variables(model: tf_keras.Model) -> list[tf.Variable]:
    optimizer = getattr(model, "optimizer", None)
    return [*model.weights, *(optimizer.variables if optimizer is not None else [])]


def history_json(history: tuple[EpochResult, ...]) -> list[dict[str, Any]]:
    """The history as JSON holds it."""
    return [asdict(row) for row in history]

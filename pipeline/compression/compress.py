"""Compresses a trained model into a new run: prunes, clusters, trains quantized; can be resumed."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from export import native_output
from export.files import write_bytes, write_json
from export.records import json_of, read_record_as
from pipeline.compression import quantize, shrink
from pipeline.compression.finetune import ADVICE, FineTuning, Images, compile_twin, fine_tune, top1_of
from pipeline.compression.prepare import Prepared, prepared_of, take_back, training_pixels
from pipeline.compression.preserve import KeepStructure
from pipeline.compression.twin import take_weights
from pipeline.errors import PipelineError
from pipeline.progress import Note, Progress, silent
from pipeline.records.compression import (
    CompressConfig,
    CompressionRecord,
    StepReached,
)
from pipeline.records.training import TrainConfig, TrainRecord
from pipeline.runs import new_run
from pipeline.training.checkpoint import (
    STATE,
    EpochResult,
    History,
    forget_epochs,
    load_weights,
    weights_content,
    write_history,
)
from pipeline.training.finish import finish_run, now_utc
from spelling import counted

QUANTIZED = "quantized.npz"
"""The weights and ranges of the model with quantizers, from which int8 is exported."""
_WEIGHTS = "weights-{step}.npz"
_NUM_OBSERVED = 512
"""Number of training images to read a clustered model's ranges from if it is not trained quantized."""


def start_run(
    config: CompressConfig, name: str, *, folder: Path, fingerprint: str, pixels: dict[str, Any]
) -> Path:
    """Makes the folder of a new run, called `name` and a number, with its settings; returns its path.

    `pixels` are the scale and offset of a model from elsewhere.
    """
    settings = {
        "started_utc": now_utc(),
        "dataset_fingerprint": fingerprint,
        "compression": dataclasses.asdict(config),
        "pixels": pixels,
    }
    return new_run(folder, name, settings)


def compress(
    prepared: Prepared,
    images: Images,
    run: Path,
    *,
    parent: TrainConfig,
    name: str,
    progress: Progress = silent,
) -> TrainRecord:
    """Takes all steps, or resumes a killed run, and returns the new run's record.

    `parent` are the settings of the original training; `name` is the model's name in tables. `images` must be
    those that prove() was called with.
    """
    config = prepared.config
    tf_keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    # each step compiles its own models, for which TensorFlow warns of functions traced in a loop
    tf.get_logger().setLevel(logging.ERROR)
    try:
        state = _State.read(run)
        plain = prepared.twin.model
        compile_twin(plain, config, images.head, rate=0.0)
        if state.before is None:
            state = dataclasses.replace(state, before=top1_of(plain, images, "validation", config))
            state.write(run)
        for step in config.steps[: len(state.done)]:
            load_weights(plain.weights, run / _WEIGHTS.format(step=step), advice=ADVICE)
        for step in config.steps[len(state.done) :]:
            state = _take_step(step, prepared, images, run, state, progress)
        if config.is_quantized and not config.qat:
            _write_observed(prepared, images, run)
        return _finish(prepared, images, run, state, parent=parent, name=name)
    except tf.errors.OpError as error:
        if images.dataset.failure is None:
            raise
        raise images.dataset.failure from error  # the images are gone, which TensorFlow cannot say


def load_quantized(model: keras.Model, config: CompressConfig, run: Path) -> tf_keras.Model:
    """The trained twin with quantizers of a compressed run's model, from which int8 is exported.

    `model` is the run's model.keras. The twin takes rescaled values and returns class scores.
    """
    prepared = prepared_of(model, config)
    with native_output.captured():
        quantized = quantize.quantize(prepared.twin.model, config, input_range=prepared.input_range)
    load_weights(quantized.weights, run / QUANTIZED, advice=ADVICE)
    return quantized


@dataclasses.dataclass(frozen=True, kw_only=True)
class _State:
    """The finished steps, and the epochs of the current one. Written last, after the weights."""

    before: float | None = None
    done: tuple[StepReached, ...] = ()
    history: tuple[EpochResult, ...] = ()

    @staticmethod
    def read(run: Path) -> _State:
        if not (run / STATE).is_file():
            return _State()
        try:
            return read_record_as(_State, json_of(run / STATE))
        except ValueError as error:
            raise PipelineError(
                f"{run / STATE} is damaged ({error}); it should name the finished steps. Compress anew."
            ) from error

    def write(self, run: Path) -> None:
        write_json(run / STATE, dataclasses.asdict(self))


def _take_step(
    step: str, prepared: Prepared, images: Images, run: Path, state: _State, progress: Progress
) -> _State:
    """Fine-tunes with the step's wrappers, copies the weights back to the twin, and saves them."""
    config, plain = prepared.config, prepared.twin.model
    progress(Note(f"{_in_words(step, config)}: {counted(config.epochs, 'epoch')}"))
    started = time.monotonic()
    with native_output.captured():
        tuning = _tuning(step, prepared, images)
        if step == "qat" and not state.history:
            _observe(tuning.model, prepared, images)

    def save(history: History) -> None:
        dataclasses.replace(state, history=history.epochs).write(run)
        write_history(run, history.epochs)

    history, note = fine_tune(tuning, images, run=run, epochs=state.history, save=save, progress=progress)
    if note:
        progress(Note(f"pipeline: {note}"))
    with native_output.captured():
        _unwrap(step, tuning.model, plain)
    kept = history.best
    assert kept is not None
    reached = StepReached(
        step=step,
        validation_top1=kept.validation_top1,
        train_top1=kept.train_top1,
        best_epoch=kept.epoch,
        epochs_run=len(history.epochs),
        seconds=max(sum(row.seconds for row in history.epochs), time.monotonic() - started),
        note=note,
    )
    reached_top1 = f"validation {kept.validation_top1:.2f}%, before all {state.before:.2f}%"
    progress(Note(f"{_in_words(step, config)}: {reached_top1}"))
    if step == "qat":
        quantize.freeze_norms(tuning.model, plain, frozen=False)  # as load_quantized() builds it
        write_bytes(run / QUANTIZED, weights_content(tuning.model.weights))
    write_bytes(run / _WEIGHTS.format(step=step), weights_content(plain.weights))
    state = _State(before=state.before, done=(*state.done, reached))
    state.write(run)
    forget_epochs(run)
    return state


def _tuning(step: str, prepared: Prepared, images: Images) -> FineTuning:
    config, plain = prepared.config, prepared.twin.model
    if step == "prune":
        steps_an_epoch = -(-images.num_images(config) // config.batch_size)
        ramp = max(1, steps_an_epoch * config.epochs // 2)
        return FineTuning(
            step=step,
            config=config,
            model=shrink.prune(plain, config, end_step=ramp),
            new_callbacks=lambda: [tfmot.sparsity.keras.UpdatePruningStep()],
            first_kept=-(-ramp // steps_an_epoch),
        )
    if step == "cluster":
        return FineTuning(step=step, config=config, model=shrink.cluster(plain, config), new_callbacks=list)
    model = quantize.quantize(plain, config, input_range=prepared.input_range)
    quantize.freeze_norms(model, plain, frozen=config.freeze_norms)
    clustered = shrink.clustered_layers(plain, config)
    pruned = shrink.pruned_layers(plain, config)
    # from the plain twin: a resumed model's kernels are filled later, with the same clusters
    kernels = quantize.kernel_variables(model, [*{*clustered, *pruned}])
    kept = [(variable, name in clustered) for name, variable in kernels.items()]
    return FineTuning(
        step=step, config=config, model=model, new_callbacks=lambda: [KeepStructure(kept)] if kept else []
    )


def _unwrap(step: str, trained: tf_keras.Model, plain: tf_keras.Model) -> None:
    """Copies the trained weights to the plain twin, without the step's wrappers."""
    if step == "prune":
        _copy(tfmot.sparsity.keras.strip_pruning(trained), plain)
    elif step == "cluster":
        _copy(tfmot.clustering.keras.strip_clustering(trained), plain)
    else:
        quantize.take_weights(trained, plain)


def _copy(source: tf_keras.Model, target: tf_keras.Model) -> None:
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def _write_observed(prepared: Prepared, images: Images, run: Path) -> None:
    """Writes the model with quantizers whose ranges are read from training images instead of trained."""
    config, plain = prepared.config, prepared.twin.model
    with native_output.captured():
        quantized = quantize.quantize(plain, config, input_range=prepared.input_range)
    _observe(quantized, prepared, images)
    write_bytes(run / QUANTIZED, weights_content(quantized.weights))


def _observe(quantized: tf_keras.Model, prepared: Prepared, images: Images) -> None:
    """Reads the ranges of the activations from training images."""
    pixels = training_pixels(prepared, images, num_samples=_NUM_OBSERVED)
    values = images.rescaling(pixels.astype(np.float32))
    quantize.observe(quantized, values, batch_size=prepared.config.batch_size)
    quantize.fix_input_range(quantized, prepared.input_range)


def _finish(
    prepared: Prepared,
    images: Images,
    run: Path,
    state: _State,
    *,
    parent: TrainConfig,
    name: str,
) -> TrainRecord:
    config, plain = prepared.config, prepared.twin.model
    take_weights(prepared.twin, plain)
    take_back(prepared)
    compile_twin(plain, config, images.head, rate=0.0)
    validation = top1_of(plain, images, "validation", config)
    test = top1_of(plain, images, "test", config)
    return finish_run(
        run,
        prepared.model,
        images.dataset.spec,
        model_name=name,
        config=parent,
        train_top1=state.done[-1].train_top1,
        validation_top1=validation,
        test_top1=test,
        best_epoch=state.done[-1].best_epoch,
        epochs_run=sum(step.epochs_run for step in state.done),
        seconds=sum(step.seconds for step in state.done),
        parent=config.parent,
        compression=CompressionRecord(
            config=config,
            parent_validation_top1=float(state.before or 0.0),
            steps=state.done,
            layers=shrink.reached(plain, config),
        ),
    )


def _in_words(step: str, config: CompressConfig) -> str:
    return {
        "prune": "pruning" + (f" to {config.prune:.0%} zeros" if config.prune else " by layer"),
        "cluster": f"clustering to {config.cluster} values a layer",
        "qat": "quantization-aware training",
    }[step]

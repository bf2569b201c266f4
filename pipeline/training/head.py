"""Trains a net's head alone, on features that the rest of the net computes once for each image."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.progress import Doing, Progress
from pipeline.training.distillation import Loss, Teach, with_scores
from pipeline.training.schedule import cosine

LEARNING_RATE = 3e-3
"""Of Adam, at its highest."""
BATCH_SIZE = 64
WEIGHT_DECAY = 0.2
"""For features of variance 1: the loss gains WEIGHT_DECAY / 2 * sum(kernel**2), times their variance."""
_SAMPLE = 1024
"""Images from which that variance is estimated."""
_FILE = "features.f32"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the head learns from: of each image the features, the label, and the loss's target."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    targets: npt.NDArray[Any]
    """The labels, or with a teacher with_scores()."""


def train_head(
    scorer: keras.Model,
    head: str,
    batches: Callable[[], tf.data.Dataset],
    *,
    loss: Loss,
    epochs: int,
    seed: int,
    run: Path,
    progress: Progress,
    teach: Teach | None = None,
) -> tuple[float, float]:
    """Trains the layer `head` in place; returns the last epoch's loss and percent right.

    `batches` gives the images in a fixed order. Their features are in a file of the run's folder meanwhile.
    A teacher scores each image once.
    """
    layer = scorer.get_layer(head)
    extractor = keras.Model(scorer.input, layer.input)
    try:
        seen = _seen(extractor, batches, teach=teach, run=run, progress=progress)
        net = keras.Model(layer.input, scorer.output)
        # a copy, since the net's own variables may be mirrored on several devices
        copy = keras.models.clone_model(net)
        copy.set_weights(net.get_weights())
        found = _fit(copy, seen, loss=loss, epochs=epochs, seed=seed)
        net.set_weights(copy.get_weights())
        return found
    finally:
        (run / _FILE).unlink(missing_ok=True)


def _seen(
    extractor: keras.Model,
    batches: Callable[[], tf.data.Dataset],
    *,
    teach: Teach | None,
    run: Path,
    progress: Progress,
) -> _Seen:
    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def forward(images: Any, labels: Any) -> tuple[Any, Any]:  # noqa: ANN401
        targets = labels if teach is None else with_scores(labels, teach(images))
        return extractor(images, training=False), targets

    labels, targets, started = [], [], time.monotonic()
    with (run / _FILE).open("wb") as file:
        for images, of_batch in batches():
            features, of_loss = forward(images, of_batch)
            file.write(features.numpy().astype("<f4").tobytes())
            labels.append(of_batch.numpy())
            targets.append(of_loss.numpy())
            done = sum(map(len, labels))
            progress(Doing("features", f"{done / (time.monotonic() - started):,.0f} images/s", done))
    held = np.concatenate(labels)
    shape = (len(held), *extractor.output_shape[1:])
    features = np.memmap(run / _FILE, dtype="<f4", mode="r", shape=shape)
    return _Seen(features=features, labels=held, targets=np.concatenate(targets))


def _fit(net: keras.Model, seen: _Seen, *, loss: Loss, epochs: int, seed: int) -> tuple[float, float]:
    features, labels = seen.features, seen.labels
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build(net.trainable_variables)
    kernels = [variable for variable in net.trainable_variables if variable.name == "kernel"]

    # features are not scaled, so that the head stays a plain layer: the penalty is
    penalty = WEIGHT_DECAY * float(np.var(features[:: -(-len(labels) // _SAMPLE)], axis=0).mean())

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(inputs: Any, targets: Any, classes: Any) -> tuple[Any, Any]:  # noqa: ANN401
        with tf.GradientTape() as tape:
            scores = net(inputs, training=True)
            errors = tf.reduce_mean(loss(targets, scores))
            decay = tf.add_n([tf.nn.l2_loss(kernel.value) for kernel in kernels])
            total = errors + penalty * decay
        variables = net.trainable_variables
        gradients = tape.gradient(total, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        right = tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32) == classes, tf.float32)
        return errors, tf.reduce_sum(right)

    starts = range(0, len(labels), BATCH_SIZE)
    losses: list[float] = []
    num_right = 0.0
    for epoch in range(epochs):
        order = np.random.default_rng([abs(seed), 3, epoch]).permutation(len(labels))
        losses, num_right = [], 0.0
        for number, begin in enumerate(starts):
            optimizer.learning_rate.assign(
                LEARNING_RATE * cosine((epoch * len(starts) + number) / (epochs * len(starts)))
            )
            chosen = np.sort(order[begin : begin + BATCH_SIZE])
            batch = (features[chosen], seen.targets[chosen], labels[chosen])
            error, right = step(*map(tf.constant, batch))
            losses.append(float(error))
            num_right += float(right)
    return float(np.mean(losses)), 100 * num_right / len(labels)

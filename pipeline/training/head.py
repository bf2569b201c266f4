"""Trains a net's head alone, on features that the rest of the net computes once for each image."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.progress import Doing, Progress
from pipeline.training.schedule import cosine

LEARNING_RATE = 3e-3
"""Of Adam, at its highest."""
BATCH_SIZE = 64
WEIGHT_DECAY = 0.2
"""For features of variance 1: the loss gains WEIGHT_DECAY / 2 * sum(kernel**2), times their variance."""
_SAMPLE = 1024
"""Images from which that variance is estimated."""
_FILE = "features.f32"

Loss = Callable[[Any, Any], Any]


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
) -> tuple[float, float]:
    """Trains the layer `head` in place; returns the last epoch's loss and percent right.

    `batches` gives the images in a fixed order. Their features are in a file of the run's folder meanwhile.
    """
    layer = scorer.get_layer(head)
    extractor = keras.Model(scorer.input, layer.input)
    try:
        features, labels = _features(extractor, batches, run=run, progress=progress)
        return _fit(
            keras.Model(layer.input, scorer.output), features, labels, loss=loss, epochs=epochs, seed=seed
        )
    finally:
        (run / _FILE).unlink(missing_ok=True)


def _features(
    extractor: keras.Model,
    batches: Callable[[], tf.data.Dataset],
    *,
    run: Path,
    progress: Progress,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def forward(images: Any) -> Any:  # noqa: ANN401
        return extractor(images, training=False)

    labels, started = [], time.monotonic()
    with (run / _FILE).open("wb") as file:
        for images, of_batch in batches():
            file.write(forward(images).numpy().astype("<f4").tobytes())
            labels.append(of_batch.numpy())
            done = sum(map(len, labels))
            progress(Doing("features", f"{done / (time.monotonic() - started):,.0f} images/s", done))
    held = np.concatenate(labels)
    shape = (len(held), *extractor.output_shape[1:])
    return np.memmap(run / _FILE, dtype="<f4", mode="r", shape=shape), held


def _fit(
    net: keras.Model,
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    *,
    loss: Loss,
    epochs: int,
    seed: int,
) -> tuple[float, float]:
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build(net.trainable_variables)
    kernels = [variable for variable in net.trainable_variables if variable.name == "kernel"]

    # features are not scaled, so that the head stays a plain layer: the penalty is
    penalty = WEIGHT_DECAY * float(np.var(features[:: -(-len(labels) // _SAMPLE)], axis=0).mean())

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(inputs: Any, targets: Any) -> tuple[Any, Any]:  # noqa: ANN401
        with tf.GradientTape() as tape:
            scores = net(inputs, training=True)
            errors = tf.reduce_mean(loss(targets, scores))
            decay = tf.add_n([tf.nn.l2_loss(kernel.value) for kernel in kernels])
            total = errors + penalty * decay
        variables = net.trainable_variables
        gradients = tape.gradient(total, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        right = tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32) == targets, tf.float32)
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
            error, right = step(tf.constant(features[chosen]), tf.constant(labels[chosen]))
            losses.append(float(error))
            num_right += float(right)
    return float(np.mean(losses)), 100 * num_right / len(labels)

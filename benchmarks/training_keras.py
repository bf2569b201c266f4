"""Our side, and plain Keras's, of training.py: a net trained on one batch for each line that is read.

python training_keras.py ours|keras NET PRECISION THREADS STEPS
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from models.build import build
from models.registry import family_of, resolve
from pipeline.records.training import TrainConfig
from pipeline.training.fast_layers import fast_layers
from pipeline.training.mixed_precision import POLICY, in_bfloat16
from pipeline.training.scorer import compiled_scorer

BATCH, SIZE, CLASSES = 64, 32, 10
SHAPE = {"image_size": SIZE, "num_classes": CLASSES}
KNOBS = {
    "mobilenet": {"alpha": 1.0, "dropout": 0.0},
    "densenet": {"depth": 40, "growth_rate": 12, "bottleneck": True, "compression": 0.5},
}


def main() -> None:
    """Prints the number of parameters, then images a second for each line of the standard input."""
    whose, family, precision, threads, steps = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.float32)
    batches = tf.data.Dataset.from_tensors((images, np.arange(BATCH, dtype=np.int32) % CLASSES)).repeat()
    config = _config(family, precision)
    with ExitStack() as stack:
        model = _ours(config, stack) if whose == "ours" else _keras(config)
        model.fit(batches.take(3), verbose=0)
        print(sum(int(np.prod(each.shape)) for each in model.trainable_weights), flush=True)
        for _ in sys.stdin:
            wall, cpu = time.monotonic(), time.process_time()
            model.fit(batches.take(steps), verbose=0)
            images_done = steps * BATCH
            found = [images_done / (time.monotonic() - wall), images_done / (time.process_time() - cpu)]
            print(json.dumps(found), flush=True)


def _config(family: str, precision: str) -> TrainConfig:
    recipe = family_of(family).recipe
    config = TrainConfig(family=family, knobs=resolve(family, {**KNOBS[family], **SHAPE}))
    return replace(
        config,
        optimizer=recipe.optimizer,
        weight_decay=1e-4 if family == "densenet" else 0.0,
        learning_rate=1e-3,
        mixed_precision=precision == "bfloat16",
    )


def _ours(config: TrainConfig, stack: ExitStack) -> keras.Model:
    """As `pipeline train` makes it."""
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    model = build(str(config.family), **config.knobs)
    if config.mixed_precision:
        stack.enter_context(in_bfloat16(model, head=family_of(str(config.family)).head))
    stack.enter_context(fast_layers(model))
    return compiled_scorer(model, config, [1.0] * CLASSES)


def _keras(config: TrainConfig) -> keras.Model:
    """As Keras's own guide does: a policy for all layers, compile() and fit()."""
    if config.mixed_precision:
        keras.mixed_precision.set_global_policy(POLICY)
    model = build(str(config.family), **config.knobs)
    scores = keras.layers.Activation("linear", dtype="float32")(model.get_layer("logits").output)
    scorer = keras.Model(model.input, scores)
    optimizers = {
        "rmsprop": lambda: keras.optimizers.RMSprop(1e-3, rho=0.9, momentum=0.9, epsilon=1.0),
        "sgd": lambda: keras.optimizers.SGD(1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4),
    }
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    scorer.compile(optimizers[config.optimizer](), loss, metrics=["accuracy"])
    return scorer


if __name__ == "__main__":
    main()

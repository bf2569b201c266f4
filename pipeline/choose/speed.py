"""How fast families train and files convert on this machine, from a few steps and one file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from models.build import build
from models.registry import family_of
from pipeline.choose.candidates import Candidate, Net
from pipeline.choose.shapes import Exporter
from pipeline.progress import Doing, Progress

NUM_STEPS = 2
"""Timed steps, after one that is not: it traces."""
BATCH_SIZE = 32


def training_rates(
    nets: Sequence[Net], macs: Mapping[str, int], *, num_classes: int, progress: Progress
) -> dict[str, float]:
    """Family -> seconds for an image and mult-add, of a few steps of its middle net."""
    found = {}
    for family in dict.fromkeys(net.family for net in nets if not net.is_own):
        members = sorted((net for net in nets if net.family == family), key=lambda net: macs[net.name])
        middle = members[len(members) // 2]
        progress(Doing(f"timing a few steps of {middle.name}"))
        found[family] = _secs_per_image(middle, num_classes) / macs[middle.name]
    return found


def export_secs(candidates: Sequence[Candidate], macs: Mapping[str, int], exporter: Exporter) -> float:
    """Seconds that the export of the middle candidate takes."""
    ordered = sorted(
        (each for each in candidates if not each.net.is_own), key=lambda each: macs[each.net.name]
    )
    if not ordered:
        return 0.0
    with tempfile.TemporaryDirectory(prefix="pipeline-untrained-") as scratch:
        begun = time.monotonic()
        exporter.random(ordered[len(ordered) // 2], Path(scratch))
        return time.monotonic() - begun


def _secs_per_image(net: Net, num_classes: int) -> float:
    model = build(net.family, **net.resolved(num_classes))
    model.compile(optimizer=family_of(net.family).recipe.optimizer, loss="sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH_SIZE, *model.input_shape[1:])).astype(np.float32)
    labels = random.integers(0, num_classes, BATCH_SIZE)
    model.train_on_batch(images, labels)
    seconds = []
    for _ in range(NUM_STEPS):
        begun = time.monotonic()
        model.train_on_batch(images, labels)
        seconds.append(time.monotonic() - begun)
    keras.backend.clear_session()
    return min(seconds) / BATCH_SIZE

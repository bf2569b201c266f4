"""Reports a training's progress: images per second, time left, and one line per epoch."""

from __future__ import annotations

import statistics
import time

from pipeline.progress import Doing, Note, Progress
from pipeline.training.checkpoint import EpochResult


class TrainingProgress:
    """Reports a training of `epochs` epochs of `num_images` images each, from `first_epoch` (0-based) on."""

    def __init__(self, progress: Progress, *, epochs: int, num_images: int, first_epoch: int = 0) -> None:
        self._progress = progress
        self._epochs = epochs
        self._num_images = num_images
        self._before = first_epoch * num_images
        self._images = 0
        self._scores = ""
        self._seconds: list[float] = []
        self._started = time.monotonic()
        self._report(first_epoch)

    def images_done(self, count: int, *, epoch: int) -> None:
        """Adds `count` images of the epoch (0-based)."""
        self._images += count
        self._report(epoch)

    def epoch_done(self, result: EpochResult, *, is_best: bool) -> None:
        """Reports an epoch's result, and the time left in words."""
        self._scores = f"loss {result.loss:.3f}, validation {result.validation_top1:.2f}%"
        self._seconds.append(result.seconds)
        left = statistics.median(self._seconds[-5:]) * (self._epochs - result.epoch)
        self._progress(
            Note(
                f"epoch {result.epoch}/{self._epochs}  {self._scores}{' (best)' if is_best else ''}, "
                f"train {result.train_top1:.2f}%, {result.images_per_second:,.0f} images/s, "
                f"{_duration(left)} left"
            )
        )

    def _report(self, epoch: int) -> None:
        speed = self._images / max(1e-9, time.monotonic() - self._started)
        detail = f"epoch {epoch + 1}/{self._epochs}, {speed:,.0f} images/s"
        detail += f", {self._scores}" if self._scores else ""
        total = self._epochs * self._num_images
        self._progress(Doing("training", detail, self._before + self._images, total))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )

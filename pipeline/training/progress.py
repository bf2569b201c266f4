"""What a training shows on stderr: a bar with images per second and time left, and a line an epoch."""

from __future__ import annotations

import statistics
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.training.checkpoint import EpochResult


class TrainingProgress:
    """Shows a training of `epochs` epochs of `num_images` images each, from `first_epoch` (0-based) on."""

    def __init__(self, *, epochs: int, num_images: int, first_epoch: int = 0) -> None:
        self.console = Console(stderr=True)
        self.epochs = epochs
        self.num_images = num_images
        self.first_epoch = first_epoch
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]}  {task.fields[scores]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self.console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self.task: TaskID | None = None
        self.started = time.monotonic()
        self.images = 0
        self.seconds: list[float] = []

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        self.task = self.bar.add_task(
            "train",
            total=self.epochs * self.num_images,
            completed=self.first_epoch * self.num_images,
            epoch=f"{self.first_epoch + 1}/{self.epochs}",
            speed="",
            scores="",
        )
        self.started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def images_done(self, count: int, *, epoch: int) -> None:
        """Adds `count` images of the epoch (0-based)."""
        self.images += count
        speed = self.images / max(1e-9, time.monotonic() - self.started)
        if self.task is not None:
            self.bar.update(
                self.task, advance=count, epoch=f"{epoch + 1}/{self.epochs}", speed=f"{speed:,.0f} images/s"
            )

    def epoch_done(self, result: EpochResult, *, is_best: bool) -> None:
        """Shows an epoch's result; when piped, with the time left in words."""
        scores = f"loss {result.loss:.3f}, validation {result.validation_top1:.2f}%"
        if self.task is not None:
            self.bar.update(self.task, scores=scores)
        self.seconds.append(result.seconds)
        left = statistics.median(self.seconds[-5:]) * (self.epochs - result.epoch)
        self.console.print(
            f"epoch {result.epoch}/{self.epochs}  {scores}{' (best)' if is_best else ''}, "
            f"train {result.train_top1:.2f}%, {result.images_per_second:,.0f} images/s, "
            f"{_duration(left)} left",
            highlight=False,
            soft_wrap=True,
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )

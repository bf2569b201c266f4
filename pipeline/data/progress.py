"""Shows how far a scan is, on stderr, once it has lasted a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.data.registry import load
from pipeline.data.spec import Progress

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset

PATIENCE_SECS = 2.0
"""Nothing is shown for what takes less."""


def load_shown(name_or_path: str) -> Dataset:
    """The data set, as registry.load gives it; how far a long scan is stands on stderr."""
    with shown() as progress:
        return load(name_or_path, progress=progress)


@contextmanager
def shown(patience_secs: float = PATIENCE_SECS) -> Iterator[Progress]:
    """Yields what registry.load() takes as `progress`: a bar at a terminal, elsewhere one line."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
    begun = time.monotonic()
    tasks: dict[str, int] = {}

    def update(what: str, done: int, total: int) -> None:
        if what not in tasks:
            if time.monotonic() - begun < patience_secs:
                return
            if console.is_terminal:
                bar.start()
            else:
                console.print(f"{what}: {done:,} of {total:,} so far", highlight=False)
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done)  # type: ignore[arg-type]

    try:
        yield update
    finally:
        if bar.live.is_started:  # stopping one that never began prints an empty line
            bar.stop()

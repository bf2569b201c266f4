"""What the tests of hold share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NET = ["densenet", "--depth", "7", "--growth-rate", "4", "--image-size", "16"]
QUICK_BENCH = ["--num-runs", "4", "--num-rounds", "2", "--min-secs", "0", "--warmup-min-secs", "0"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    test: str
    found: str
    wanted: str
    holds: bool


def write_images(path: Path) -> None:
    """Three classes of 16x16 noise, each brighter in another channel."""
    chance = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 120), ("test", 30)):
        labels = np.arange(count) % 3
        images = chance.integers(0, 128, (count, 16, 16, 3))
        images[np.arange(count), :, :, labels] += 100
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.uint8)}
    np.savez(path, **arrays)


def is_done(words: Sequence[str], status: int) -> bool:
    """Whether a command did its work; a benchmark on a busy machine is a finding."""
    return status == 0 or (status == 1 and words[0] == "bench")


def litter_in(runs: Path) -> list[str]:
    """What nobody needs any more in a runs folder: temporary files, and a run without its settings."""
    found = [path for path in runs.rglob("*") if path.name.startswith(".partial")]
    found += [run for run in runs.iterdir() if run.is_dir() and not (run / "config.json").exists()]
    return [str(path.relative_to(runs)) for path in found]

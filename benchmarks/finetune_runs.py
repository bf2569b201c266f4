"""Runs the pipeline's commands for benchmarks/finetune.py, and makes tables of what they print."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

SHARES = {"validation": 0.1, "test": 0.1}
PIPELINE = Path(sys.executable).with_name("pipeline")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A net or a file of one split or seed."""

    what: str
    top1: float
    """Percent."""
    wall_secs: float
    cpu_secs: float


def told(rows: list[Row], begun: str) -> list[Row]:
    """The rows, told on stderr as well."""
    for row in rows:
        print(f"{begun}: {row}", file=sys.stderr, flush=True)
    return rows


def print_table(rows: list[Row]) -> None:
    """A Markdown table: the mean of each kind of net, each split or seed, and the longest seconds."""
    print("\n| what | top-1, mean | each | wall s | CPU s |\n| --- | ---: | --- | ---: | ---: |")
    for what in dict.fromkeys(row.what for row in rows):
        of_what = [row for row in rows if row.what == what]
        each = ", ".join(f"{row.top1:.1f}" for row in of_what)
        wall, cpu = (max(getattr(row, name) for row in of_what) for name in ("wall_secs", "cpu_secs"))
        print(f"| {what} | {mean(row.top1 for row in of_what):.1f}% | {each} | {wall:.0f} | {cpu:.0f} |")


def link_split(photos: Path, target: Path, seed: int) -> None:
    """Makes train/, validation/ and test/CLASS folders of links to the photos."""
    random = np.random.default_rng(seed)
    for folder in sorted(each for each in photos.iterdir() if each.is_dir()):
        files = sorted(folder.iterdir())
        order, begin = random.permutation(len(files)), 0
        for split, share in SHARES.items():
            end = begin + round(share * len(files))
            _link(target / split / folder.name, [files[index] for index in order[begin:end]])
            begin = end
        _link(target / "train" / folder.name, [files[index] for index in order[begin:]])


def _link(folder: Path, files: list[Path]) -> None:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file.name).symlink_to(file)


def together(shares: list[tuple[float, int]]) -> float:
    """Percent of all images, from percents and numbers of images."""
    return sum(top1 * num for top1, num in shares) / sum(num for _, num in shares)


def command(place: Path, *words: str) -> tuple[Any, float, float]:
    """The records that a command prints, its wall seconds and its CPU seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PIPELINE_RUNS": str(place / "runs")}
    done = subprocess.run(
        [PIPELINE, *words, "--json"], env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), time.monotonic() - started, cpu


def trained(place: Path, what: str, *words: str, splits: tuple[str, ...] = tuple(SHARES)) -> tuple[Row, Path]:
    """The row of `pipeline train WORDS`, over the images of these splits, and the run's folder."""
    (record,), wall, cpu = command(place, "train", *words)
    top1 = together([(record[f"{split}_top1"], record[f"num_{split}"]) for split in splits])
    return Row(what=what, top1=top1, wall_secs=wall, cpu_secs=cpu), place / "runs" / record["run"]

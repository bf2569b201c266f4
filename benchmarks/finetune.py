"""A folder of few photos from published weights: the head alone, the whole net, and its int8 file.

Three splits of the folder (80/10/10, by seed, each class divided alike), each trained, exported and verified
by the commands that a user would call. Figures are of validation and test images together, since either is
small; validation chose the epoch, so its share is slightly high. Seconds are of whole commands, imports
included; the files' are the export's.

    python benchmarks/finetune.py FOLDER WEIGHTS [IMAGE_SIZE]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

SEEDS = (0, 1, 2)
SHARES = {"validation": 0.1, "test": 0.1}
PIPELINE = Path(sys.executable).with_name("pipeline")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A net of one split; percent of the validation and test images together."""

    what: str
    top1: float
    wall_secs: float
    cpu_secs: float


def main() -> None:
    """Prints a Markdown table."""
    photos, weights = (Path(name).absolute() for name in sys.argv[1:3])
    size = sys.argv[3] if len(sys.argv) > 3 else "160"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            place = Path(folder) / str(seed)
            link_split(photos, place / "photos", seed)
            rows += of_training(place, weights, size, seed)
        for seed in SEEDS:
            rows += of_files(Path(folder) / str(seed), seed)
    print("| what | top-1, mean of the splits | each split | wall s | CPU s |")
    print("| --- | ---: | --- | ---: | ---: |")
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
            link(target / split / folder.name, [files[index] for index in order[begin:end]])
            begin = end
        link(target / "train" / folder.name, [files[index] for index in order[begin:]])


def link(folder: Path, files: list[Path]) -> None:
    """A folder of links to the files."""
    folder.mkdir(parents=True)
    for file in files:
        (folder / file.name).symlink_to(file)


def of_training(place: Path, weights: Path, size: str, seed: int) -> list[Row]:
    """The head alone, and the whole net."""
    train = ("train", "mobilenet", "--weights", str(weights), "--image-size", size, "--seed", str(seed))
    train = (*train, "--data", str(place / "photos"))
    rows = []
    for what, options in {"head alone": ("--freeze", "all"), "fine-tuned": ()}.items():
        (record,), wall, cpu = command(place, *train, *options)
        shares = [(record[f"{split}_top1"], record[f"num_{split}"]) for split in SHARES]
        rows.append(Row(what=what, top1=together(shares), wall_secs=wall, cpu_secs=cpu))
        print(f"split {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    return rows


def of_files(place: Path, seed: int) -> list[Row]:
    """The files of the whole net, which was trained last; their seconds are the export's."""
    _, wall, cpu = command(place, "export", "--float32", "--int8")
    verified = [each for split in SHARES for each in command(place, "verify", "--split", split)[0]]
    rows = []
    for precision in ("float32", "int8"):
        of_file = [each for each in verified if each["path"].endswith(f"_{precision}.tflite")]
        top1 = together([(each["tflite_top1"], each["num_samples"]) for each in of_file])
        rows.append(Row(what=f"fine-tuned, {precision} file", top1=top1, wall_secs=wall, cpu_secs=cpu))
        print(f"split {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    return rows


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


if __name__ == "__main__":
    main()

"""A folder of many small images: scanned twice, opened for a training; and the decode path.

    python benchmarks/large_folder.py --files 200000 1280000
    python benchmarks/large_folder.py --files --threads 1 2 16

Makes distinct JPEG files in CLASS folders (4 KB of disk each) and deletes them afterwards. Times are wall and
CPU; other work on the machine lengthens the wall time alone.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data import pixels
from pipeline.data.augment import Augment
from pipeline.data.image_folder import FileSource
from pipeline.data.reader import Reader
from pipeline.data.registry import load
from pipeline.data.spec import ReadSettings, shape_of
from pipeline.home import CACHE_VARIABLE

SIDE = 224
NUM_PICTURES = 500
"""Different pictures among the small files; a comment in each makes their contents distinct."""
NUM_PHOTOS = 256
PHOTO_SIZE = (500, 375)
"""The usual size of ImageNet's photos."""


def picture(number: int, size: tuple[int, int], *, noise: int = 0, quality: int = 85) -> bytes:
    """A JPEG of random shapes."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (size[1] // 12, size[0] // 12, 3), np.uint8)
    whole = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.int16)
    whole = (whole + random.integers(-noise, noise + 1, whole.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "JPEG", quality=quality)
    return file.getvalue()


def make(folder: Path, num_files: int, num_classes: int) -> None:
    """Writes distinct small JPEG files, in turn to each class."""
    pictures = [picture(number, (64, 48), quality=50) for number in range(NUM_PICTURES)]
    for number in range(num_classes):
        (folder / f"class{number:05}").mkdir(parents=True)
    for number in range(num_files):
        start, rest = pictures[number % NUM_PICTURES][:2], pictures[number % NUM_PICTURES][2:]
        comment = b"\xff\xfe" + (14).to_bytes(2, "big") + b"%012d" % number
        path = folder / f"class{number % num_classes:05}" / f"img_{number:08}.JPEG"
        path.write_bytes(start + comment + rest)


def run(command: Sequence[str], cache: Path) -> tuple[str, str]:
    """Seconds, CPU seconds and peak memory of a command, and what it prints."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, CACHE_VARIABLE: str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    told = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    seconds = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    return f"{seconds:.1f} s, {cpu:.1f} s CPU, {usage.ru_maxrss / 1024:.0f} MB", told


def first_batch(folder: Path) -> None:
    """Opens the folder and reads a batch of a training's first epoch, as the trainer does."""
    start = time.perf_counter()
    dataset = load(str(folder))
    opened = time.perf_counter() - start
    batches = dataset.training_batches(
        image_size=SIDE, batch_size=64, augment=Augment(mirror=True, min_crop_area=0.25), seed=0, epoch=0
    )
    next(iter(batches))
    print(
        f"opened after {opened:.1f} s, first batch {time.perf_counter() - start - opened:.1f} s later", end=""
    )


def reading(photos: Sequence[Path], num_threads: int, secs: float) -> str:
    """Images a second of the reader, and the process's CPU time for each."""
    source = FileSource([str(path) for path in photos])
    reader = Reader(source, ReadSettings(num_threads=num_threads, cache_fraction=0))
    every, shape = np.arange(len(photos)), shape_of(SIDE)
    reader.read(every, shape)
    cpu, start, done = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() - start < secs:
        reader.read(every[:64], shape)
        done += 64
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return f"{done / wall:,.0f} images/s, {1000 * cpu / done:.2f} ms CPU each, {cpu / wall:.2f} cores busy"


def steps(photos: Sequence[Path]) -> dict[str, float]:
    """Milliseconds of CPU of each step of reading an image, in one thread."""
    contents = [path.read_bytes() for path in photos]
    shape, at_least = shape_of(SIDE), SIDE * pixels.OVERSAMPLE
    decoded = [pixels.decode(content, at_least=at_least).image for content in contents]
    resized = [pixels.resize(image, shape) for image in decoded]
    box = (62, 0, 437, 375)
    bilinear = Image.Resampling.BILINEAR
    rows = np.zeros((len(photos), *shape), np.uint8)

    def loaded(place: int) -> None:
        with Image.open(io.BytesIO(contents[place]), formats=pixels.FORMATS) as image:
            image.draft(None, (at_least, at_least))
            image.load()

    def opened(place: int) -> None:
        with Image.open(io.BytesIO(contents[place]), formats=pixels.FORMATS) as image:
            image.draft(None, (at_least, at_least))

    def copied(place: int) -> None:
        rows[place] = resized[place]

    def spent(step: Callable[[int], object]) -> float:
        for place in range(len(photos)):
            step(place)
        start = time.thread_time()
        for place in range(len(photos)):
            step(place)
        return 1000 * (time.thread_time() - start) / len(photos)

    header = spent(opened)
    decode = spent(loaded) - header
    resize = spent(lambda place: decoded[place].resize(shape[:2], bilinear, box=box))
    whole = spent(lambda place: pixels.from_bytes(contents[place], shape))
    copy = spent(copied)
    return {
        "read the file": spent(lambda place: photos[place].read_bytes()),
        "open (header)": header,
        "decode": decode,
        "resize": resize,
        "copy to the batch": copy,
        "the rest, in Python": whole - header - decode - resize,
    }


def main() -> None:
    """Prints a line for each measurement."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--files", type=int, nargs="*", default=[200_000])
    options.add_argument("--classes", type=int, default=1000)
    options.add_argument("--threads", type=int, nargs="*", default=[1, os.cpu_count() or 1])
    options.add_argument("--secs", type=float, default=5.0, help="for each number of threads")
    options.add_argument("--scratch", type=Path, help="folder for the files; default: a temporary one")
    options.add_argument("--first-batch", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.first_batch:
        first_batch(given.first_batch)
        return
    pipeline = str(Path(sys.executable).with_name("pipeline"))
    for num_files in given.files:
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            folder, cache = Path(scratch) / "photos", Path(scratch) / "cache"
            start = time.perf_counter()
            make(folder, num_files, given.classes)
            print(f"{num_files:,} files, made in {time.perf_counter() - start:.0f} s:", flush=True)
            for name in ("first", "second"):
                figures, _ = run([pipeline, "data", str(folder), "--json"], cache)
                print(f"  pipeline data, the {name} time: {figures}", flush=True)
            command = [sys.executable, "-P", __file__, "--first-batch", str(folder)]
            print("  training: {}; {}".format(*run(command, cache)), flush=True)
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        photos = [Path(scratch) / f"{number}.jpg" for number in range(NUM_PHOTOS)]
        for number, path in enumerate(photos):
            path.write_bytes(picture(number, PHOTO_SIZE, noise=9))
        size = np.mean([path.stat().st_size for path in photos]) / 1000
        print(f"JPEG of {PHOTO_SIZE[0]} x {PHOTO_SIZE[1]}, {size:.0f} kB, to {SIDE} x {SIDE}:", flush=True)
        for name, milliseconds in steps(photos).items():
            print(f"  {name}: {milliseconds:.3f} ms CPU")
        for num_threads in given.threads:
            print(f"  {num_threads} threads: {reading(photos, num_threads, given.secs)}", flush=True)


if __name__ == "__main__":
    main()

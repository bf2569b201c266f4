"""The overhead of `pipeline bench --adb` over benchmark_model's own time, per model already on a phone.

On the device lab: Google's adb, Debian's adb daemon, and a tool that runs the files with LiteRT and logs its
start and end (tests/device_lab; needs root and Debian). Each call is its own process, as for a user, so its
wall clock includes Python's start, identifying the phone, the checksums, the runs, the result files, the
table and the store. The overhead is the wall clock minus the tool's own time; a model's share is its growth
from one model to N. For comparison, in turns: a bare loop over `adb shell`, without pushes and checks.

    python benchmarks/adb_overhead.py [--models 8] [--rounds 1,10] [--repetitions 3]
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.bench.host import machine_name

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # behind the installed packages of the same names

from device_lab.lab import Lab
from device_lab.phone import Phone

LIMIT_SECS = 0.5
"""Maximum overhead of a model."""
ALPHAS = (0.25, 0.5, 0.75, 1.0)
SIZES = (96, 128)


def main() -> int:
    """Prints a table; 1 when a model costs more than the limit."""
    arguments = _parser().parse_args()
    rounds = [int(word) for word in arguments.rounds.split(",")]
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch, Lab() as lab, lab.inside():
        files = _models(Path(scratch), arguments.models)
        phone = lab.phone("pixel7")
        os.environ |= {"PIPELINE_RUNS": f"{scratch}/runs", "XDG_CACHE_HOME": f"{scratch}/cache"}
        _bench(lab, files, num_rounds=1)  # puts all files on the phone, where they stay
        print(f"{len(files)} int8 MobileNets on a lab phone; {machine_name()}")
        print("rounds  models  wall s  tool s  ours s  per model s   start s  bare adb shell, per model s")
        for num_rounds in rounds:
            for _ in range(arguments.repetitions):
                worst = max(worst, _compare(lab, phone, files, num_rounds))
    print(f"worst per model: {worst:.3f} s; the limit is {LIMIT_SECS} s")
    return 0 if worst <= LIMIT_SECS else 1


def _compare(lab: Lab, phone: Phone, files: list[Path], num_rounds: int) -> float:
    """Prints one line: the overhead per model, from the difference between all files and one file."""
    wall, tool = _timed(lab, phone, files, num_rounds)
    wall_one, tool_one = _timed(lab, phone, files[:1], num_rounds)
    ours, ours_one = wall - tool, wall_one - tool_one
    per_model = (ours - ours_one) / (len(files) - 1)
    bare = _bare(lab, phone, num_rounds)
    print(
        f"{num_rounds:6}  {len(files):6}  {wall:6.2f}  {tool:6.2f}  {ours:6.2f}  {per_model:11.3f}  "
        f"{ours_one - per_model:8.2f}  {bare:10.3f}",
        flush=True,
    )
    return per_model


def _timed(lab: Lab, phone: Phone, files: list[Path], num_rounds: int) -> tuple[float, float]:
    """Wall clock of a call, and the tool's own part of it, its probe included."""
    before = len(phone.runs())
    begin = time.monotonic()
    _bench(lab, files, num_rounds=num_rounds)
    wall = time.monotonic() - begin
    return wall, sum(each.seconds or 0.0 for each in phone.runs()[before:])


def _bench(lab: Lab, files: list[Path], *, num_rounds: int) -> None:
    settings = ["--num-rounds", str(num_rounds), "--min-secs", "0.5", "--warmup-min-secs", "0.05"]
    trust = ["--max-drift", "9"]  # the machine is busy with the benchmark itself
    words = [
        "bench",
        "--adb",
        "--again",
        "--keep",
        "--benchmark-model",
        str(lab.benchmark_model),
        *settings,
        *trust,
    ]
    program = "from pipeline.cli import main; main()"
    subprocess.run(
        [sys.executable, "-P", "-c", program, *words, *map(str, files)], check=True, capture_output=True
    )


def _bare(lab: Lab, phone: Phone, num_rounds: int) -> float:
    """Overhead in seconds of `adb shell benchmark_model` over the tool's own time, for num_rounds runs."""
    folder = "/data/local/tmp/keras-mobile-pipeline/files"
    names = phone.shell(f"ls {folder}").stdout.split()
    models = [
        name
        for name in names
        if (phone.storage / "keras-mobile-pipeline/files" / name).read_bytes()[4:8] == b"TFL3"
    ]
    tool = next(name for name in names if name not in models)
    command = f"{folder}/{tool} --graph={folder}/{models[0]} --num_runs=50 --min_secs={0.5 / num_rounds}"
    before = len(phone.runs())
    begin = time.monotonic()
    for _ in range(num_rounds):
        lab.adb("-s", phone.serial, "shell", shlex.join(shlex.split(command)))
    wall = time.monotonic() - begin
    return wall - sum(each.seconds or 0.0 for each in phone.runs()[before:])


def _models(folder: Path, count: int) -> list[Path]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np

    from export.convert import convert
    from export.precisions import Precision
    from export.settings import ExportSettings
    from models.build import build

    files = []
    for alpha, size in [(alpha, size) for size in SIZES for alpha in ALPHAS][:count]:
        pixels = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
        model = build("mobilenet", alpha=alpha, image_size=size, num_classes=1001)
        file = folder / f"mobilenet_alpha{alpha}_{size}_int8.tflite"
        file.write_bytes(convert(model, ExportSettings(Precision.INT8), pixels=pixels))
        files.append(file)
    return files


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--rounds", default="1,10")
    parser.add_argument("--repetitions", type=int, default=3)
    return parser


if __name__ == "__main__":
    sys.exit(main())

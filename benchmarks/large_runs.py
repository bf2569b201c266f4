"""CPU seconds of `pipeline runs` and of finding the newest run, in a folder of many runs.

    python benchmarks/large_runs.py --runs 1000 5000

Makes runs of synthetic records with two exported files each, then lists them twice: the first time reads
every record, the second what the first remembered.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from large_report import artifact, sha256

from export.artifact import sidecar_content, sidecar_path
from export.files import write_json
from export.precisions import Precision
from export.settings import ExportSettings
from pipeline.records.training import TrainConfig, TrainRecord, record_as_json

PRECISIONS = (Precision.FLOAT16, Precision.INT8)
NEWEST = "from pathlib import Path; from pipeline.runs import newest_run; print(newest_run(Path('{}')).name)"


def make_run(folder: Path, number: int) -> None:
    """A finished run with two exported files, as training and export leave it."""
    chance = random.Random(number)
    finished = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    run = folder / f"mobilenet_alpha0.5_160-photos-{number}"
    (run / "export").mkdir(parents=True)
    model_sha256 = sha256(f"model {number}")
    for precision in PRECISIONS:
        file = run / "export" / f"mobilenet_alpha0.5_160_{precision}.tflite"
        file.write_bytes(f"{number} {precision}".encode())
        described = replace(
            artifact(number, chance),
            path=file.name,
            parent_sha256=model_sha256,
            settings=ExportSettings(precision),
        )
        sidecar_path(file).write_bytes(sidecar_content(described))
    record = TrainRecord(
        run=run.name,
        model_name="mobilenet_alpha0.5_160",
        model_sha256=model_sha256,
        config=TrainConfig(family="mobilenet", knobs={"alpha": 0.5, "image_size": 160}, data="photos"),
        dataset="photos",
        dataset_fingerprint=sha256("photos"),
        class_names=tuple(f"class {each}" for each in range(10)),
        num_train=8000,
        num_validation=1000,
        num_test=1000,
        parameters=831_234,
        macs=76_543_210,
        train_top1=99.1,
        validation_top1=chance.uniform(80, 95),
        test_top1=chance.uniform(80, 95),
        best_epoch=11,
        epochs_run=12,
        seconds=345.6,
        versions={"keras": "3.15.0"},
        started_utc=(finished - timedelta(minutes=6)).isoformat(),
        finished_utc=finished.isoformat(),
    )
    write_json(run / "train.json", record_as_json(record))


def timed(command: list[str], folder: Path, cache: Path) -> str:
    """CPU and wall seconds of a command, and the size of what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        env={**os.environ, "PIPELINE_RUNS": str(folder), "PIPELINE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{cpu:.2f} s CPU, {seconds:.2f} s, {len(done.stdout) / 1e6:.2f} MB"


def main() -> None:
    """Prints a line for each command and number of runs."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, nargs="*", default=[0, 1000, 5000])
    options.add_argument("--keep", type=Path, help="folder for the runs")
    given = options.parse_args()
    pipeline = str(Path(sys.executable).with_name("pipeline"))
    with tempfile.TemporaryDirectory() as scratch:
        place = given.keep or Path(scratch)
        for num_runs in given.runs:
            folder = place / f"runs-{num_runs}"
            if not folder.exists():
                folder.mkdir(parents=True)
                for number in range(num_runs):
                    make_run(folder, number)
            cache = Path(scratch) / f"cache-{num_runs}"
            for title in ("first", "again"):
                print(f"{num_runs} runs, {title}: {timed([pipeline, 'runs'], folder, cache)}", flush=True)
            print(f"{num_runs} runs, --json: {timed([pipeline, 'runs', '--json'], folder, cache)}")
            if num_runs:
                newest = [sys.executable, "-P", "-c", NEWEST.format(folder)]
                print(f"{num_runs} runs, the newest: {timed(newest, folder, cache)}", flush=True)


if __name__ == "__main__":
    main()

"""What many trainings cost beside training: a trial's start, a task of the engine, the parent's memory.

    python benchmarks/sweep.py start        # CPU of a trial, and of further ones in its process
    python benchmarks/sweep.py tasks        # 1,000 tasks of a millisecond, here and through Ray
    python benchmarks/sweep.py memory       # the parent's memory with 10,000 trials
    python benchmarks/sweep.py              # all three

CPU seconds are those of this process and its children, so that they hardly depend on what else runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.progress import Progress
from pipeline.steps.settings import TrainSettings
from pipeline.trials import local, on_ray
from pipeline.trials.book import keep
from pipeline.trials.engine import run
from pipeline.trials.settings import EngineSettings
from pipeline.trials.tasks import Heard, Outcome
from pipeline.trials.trial import Trial, TrialEntry

THIS = "sweep_benchmark"
NUM_TASKS = 1_000
NUM_TRIALS = 10_000
MEGABYTE = 1e6


def do_nothing(task: Any, runs: Path, progress: Progress) -> Any:  # noqa: ANN401, ARG001
    """Work of a millisecond."""
    time.sleep(0.001)
    return task


def start() -> None:
    """A small training of one epoch: by the command, as a trial, and as one of three in one process."""
    alone = _cpu_secs_of(lambda folder: _carry_out(folder, num_trials=1))
    three = _cpu_secs_of(lambda folder: _carry_out(folder, num_trials=3))
    command = _cpu_secs_of(_train_by_command)
    further = (three - alone) / 2
    print(
        f"one trial {alone:.1f} s of CPU, each further one in its process {further:.1f} s: a process's start "
        f"is {alone - further:.1f} s; the same training by pipeline train {command:.1f} s"
    )


def _carry_out(folder: Path, *, num_trials: int) -> None:
    trials = [
        Trial(
            name=f"seed {seed}",
            family="mobilenet",
            data="digits",
            settings=TrainSettings(knobs={"alpha": 0.25}, epochs=1, seed=seed),
        )
        for seed in range(num_trials)
    ]
    results = run(trials, EngineSettings(at_once=1), runs=folder)
    assert all(each.status == "done" for each in results), results


def _train_by_command(folder: Path) -> None:
    words = "from pipeline.cli import main; main()"
    options = ["train", "mobilenet", "--alpha", "0.25", "--epochs", "1", "--data", "digits"]
    limits = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
    subprocess.run(
        [sys.executable, "-P", "-c", words, *options],
        env={**os.environ, **limits, "PIPELINE_RUNS": str(folder)},
        capture_output=True,
        check=True,
    )


def _cpu_secs_of(work: Callable[[Path], None]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        spent = _cpu_secs()
        work(Path(folder))
        return _cpu_secs() - spent


def tasks() -> None:
    """Tasks of a millisecond, one after another through each engine."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / f"{THIS}.py"
        module.write_text(Path(__file__).read_text())
        os.environ["PYTHONPATH"] = folder
        work = f"{THIS}:do_nothing"
        machine = local.Machine(at_once=2)
        _timed(
            "this machine, 2 processes",
            lambda: local.run_tasks(_numbers(), work, folder=Path(folder), machine=machine),
        )
        if importlib.util.find_spec("ray") is None:
            print("Ray: not installed (pip install 'keras-mobile-pipeline[ray]')")
            return
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        from ray.cluster_utils import Cluster

        started = time.monotonic()
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        print(f"a Ray head starts in {time.monotonic() - started:.1f} s")
        there = on_ray.Cluster(address=cluster.address)
        _timed("Ray, 2 CPUs", lambda: on_ray.run_tasks(_numbers(), work, folder=Path(folder), cluster=there))
        cluster.shutdown()


def memory() -> None:
    """The parent of so many trials that are done already, each with its record on disk."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        trials = [
            Trial(
                name=f"seed {seed}",
                family="mobilenet",
                data="digits",
                settings=TrainSettings(seed=seed, epochs=1),
            )
            for seed in range(NUM_TRIALS)
        ]
        (runs / "run").mkdir()
        before, begun = _resident_bytes(), time.process_time()
        for trial in trials:
            keep(TrialEntry(key=trial.key, run="run", epochs=1, test_top1=50.0), runs)
        written, begun = time.process_time() - begun, time.process_time()
        results = run(trials, runs=runs)
        print(
            f"{len(results):,} trials that are done: {time.process_time() - begun:.1f} s of CPU to find them "
            f"({written:.1f} s to write their records), {(_resident_bytes() - before) / MEGABYTE:.0f} MB for "
            f"their results, {_resident_bytes() / MEGABYTE:.0f} MB in all"
        )


def _numbers() -> list[dict[str, int]]:
    return [{"number": number} for number in range(NUM_TASKS)]


def _timed(name: str, engine: Callable[[], Iterator[Heard]]) -> None:
    begun, first, spent = time.monotonic(), 0.0, _cpu_secs()
    count = 0
    for heard in engine():
        if isinstance(heard, Outcome):
            assert not heard.failure, heard.failure
            count += 1
            first = first or time.monotonic()
    ended = time.monotonic()
    print(
        f"{name}: {count:,} tasks of 1 ms in {ended - begun:.1f} s, the first after {first - begun:.1f} s; "
        f"then {1000 * (ended - first) / (count - 1):.2f} ms a task, "
        f"{1000 * (_cpu_secs() - spent) / count:.2f} ms of CPU"
    )


def _cpu_secs() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


PARTS: dict[str, Callable[[], None]] = {"start": start, "tasks": tasks, "memory": memory}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them by default")
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()
    sys.stdout.flush()

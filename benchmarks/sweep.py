"""What many trainings cost beside training: a trial's start, a task of the engine, the parent's memory.

    python benchmarks/sweep.py start        # a process's start to its first step, and a second trial in it
    python benchmarks/sweep.py tasks        # 1,000 tasks of a millisecond, here and through Ray
    python benchmarks/sweep.py memory       # the parent's memory with 10,000 trials
    python benchmarks/sweep.py              # all three

CPU seconds are those of this process and its children: they do not depend on what else runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
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
from pipeline.trials.engine import EngineSettings, run
from pipeline.trials.progress import Standing
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
    """A small training of one epoch, twice in one process: what is spent before its first step."""
    trials = [
        Trial(
            name=f"seed {seed}",
            family="mobilenet",
            data="digits",
            settings=TrainSettings(knobs={"alpha": 0.25}, epochs=1, seed=seed),
        )
        for seed in range(3)
    ]
    seen: dict[str, dict[str, float]] = {}

    def report(standing: Standing) -> None:
        for each in standing.running:
            times = seen.setdefault(each.name, {"begun": time.monotonic()})
            if each.what == "training" and each.share > 0:
                times.setdefault("first step", time.monotonic())
        if standing.newest is not None:
            seen[standing.newest.name]["ended"] = time.monotonic()

    with tempfile.TemporaryDirectory() as folder:
        results = run(trials, EngineSettings(at_once=1), runs=Path(folder), report=report)
    for result in results:
        times = seen[result.name]
        print(
            f"{result.name}: first step reported after {times['first step'] - times['begun']:.1f} s, "
            f"all of it {times['ended'] - times['begun']:.1f} s, of which {result.seconds:.1f} s in its epoch"
        )


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

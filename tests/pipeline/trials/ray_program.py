"""Drives a Ray cluster of several nodes on this machine; prints what came of it as JSON.

A program of its own, since Ray leaves warnings and threads in the process that drives it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}

import numpy as np
from ray.cluster_utils import Cluster as RayCluster

from pipeline.errors import PipelineError
from pipeline.trials.on_ray import Cluster, places, run_tasks
from pipeline.trials.tasks import Heard, Outcome, Started

WORK = "pipeline_trials_fake_work:do"
EPOCHS = 12
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}


def main(folder: Path) -> dict[str, Any]:
    """Everything on one cluster, since starting one takes seconds."""
    head = RayCluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    nodes = [head.add_node(**NODE) for _ in range(2)]
    here = Cluster(address=head.address)
    found = {"places": places(here), "failing": failing(folder / "failing", here)}
    found["killed"] = killed(
        folder / "killed", here, lambda: head.remove_node(nodes[0], allow_graceful=False)
    )
    found["lost"] = lost(folder / "lost", here, lambda: head.head_node.kill_gcs_server(check_alive=False))
    head.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    again = RayCluster(initialize_head=True, head_node_args=NODE)
    found["again"] = resumed(folder / "lost", Cluster(address=again.address))
    again.shutdown()
    return found


def trained(folder: Path, data: Path) -> dict[str, dict[str, list[str]]]:
    """Two small trainings through Ray and through the engine of this machine: digests of what they made.

    On the cluster each trains on a node of its own, of which one is killed after an epoch.
    """
    from export.precisions import Precision
    from pipeline.steps.settings import TrainSettings
    from pipeline.trials.engine import run
    from pipeline.trials.progress import Standing, unreported
    from pipeline.trials.settings import EngineSettings
    from pipeline.trials.trial import Trial

    cluster = RayCluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    nodes = [cluster.add_node(**NODE) for _ in range(2)]

    def kill_once_two_train(standing: Standing) -> None:
        if nodes and [each.share >= 1 / EPOCHS for each in standing.running] == [True, True]:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            cluster.add_node(**NODE)

    trials = [
        Trial(
            name=f"seed {seed}",
            family="densenet",
            data=str(data),
            settings=TrainSettings(
                knobs={"depth": 7, "growth_rate": 4, "image_size": 16},
                epochs=EPOCHS,
                batch_size=16,
                seed=seed,
            ),
            precisions=(Precision.INT8,),
        )
        for seed in (0, 1)
    ]
    found: dict[str, dict[str, list[str]]] = {}
    for name, settings, report in (
        ("ray", EngineSettings(ray=cluster.address), kill_once_two_train),
        ("local", EngineSettings(at_once=2), unreported),
    ):
        results = run(trials, settings, runs=folder / name, report=report)
        found[name] = {
            "status": [each.status + each.reason for each in results],
            "weights": [weights_digest(folder / name / str(each.run)) for each in results],
            "files": [file.sha256 for each in results for file in each.files],
        }
    cluster.shutdown()
    found["killed"] = {"nodes": [str(2 - len(nodes))]}
    return found


def weights_digest(run: Path) -> str:
    """A SHA-256 of the weights after the last epoch, the optimizer's among them."""
    (path,) = run.glob("last-*.npz")
    digest = hashlib.sha256()
    with np.load(path) as arrays:
        for name in arrays.files:
            digest.update(name.encode() + arrays[name].tobytes())
    return digest.hexdigest()


def failing(folder: Path, cluster: Cluster) -> list[dict[str, Any]]:
    """A task that refuses, one that has a bug, one whose process dies once, one whose process always dies."""
    tasks: list[dict[str, Any]] = [{"number": number} for number in range(12)]
    tasks[1]["refuses"] = "the loss became nan. Try less."
    tasks[2]["breaks"] = "by nothing"
    tasks[3]["dies"] = 1
    tasks[4]["dies"] = 99
    return outcomes(started(tasks, folder, cluster))


def killed(folder: Path, cluster: Cluster, kill: Any) -> list[dict[str, Any]]:
    """A node is killed once a task runs on each."""
    tasks = [{"number": number, "seconds": 1.0} for number in range(6)]
    heard, begun = [], 0
    for each in started(tasks, folder, cluster):
        heard.append(each)
        begun += isinstance(each, Started)
        if begun == 2 and kill is not None:
            kill()
            kill = None
    return outcomes(heard)


def lost(folder: Path, cluster: Cluster, kill: Any) -> str:
    """The head is killed after the first outcome; what the caller is told."""
    tasks = [{"number": number, "seconds": 8.0 if number else 0.0} for number in range(12)]
    try:
        for each in started(tasks, folder, dataclasses.replace(cluster, patience_secs=2.0)):
            if isinstance(each, Outcome) and kill is not None:
                kill()
                kill = None
    except PipelineError as error:
        return str(error)
    return "nothing"


def resumed(folder: Path, cluster: Cluster) -> dict[str, int]:
    """With another head: the tasks that were not tried, as an engine asks for them."""
    left = [number for number in range(12) if not (folder / f"tried-{number}").exists()]
    found = outcomes(started([{"number": number} for number in left], folder, cluster))
    return {"left": len(left), "done": len(found)}


def started(tasks: list[dict[str, Any]], folder: Path, cluster: Cluster) -> Iterator[Heard]:
    folder.mkdir(exist_ok=True)
    return run_tasks(tasks, WORK, folder=folder, cluster=cluster)


def outcomes(heard: Any) -> list[dict[str, Any]]:
    found = sorted((each for each in heard if isinstance(each, Outcome)), key=lambda each: each.index)
    return [{"reply": each.reply, "failure": each.failure, "details": each.details} for each in found]


if __name__ == "__main__":
    begun = time.monotonic()
    folder = Path(sys.argv[1])
    result = trained(folder, Path(sys.argv[2])) if len(sys.argv) > 2 else main(folder)
    print(json.dumps({**result, "seconds": time.monotonic() - begun}))

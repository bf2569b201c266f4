"""Runs tasks on the nodes of a Ray cluster, which places, retries and counts them.

Every node has this project installed, in the same version, and sees the runs folder at the same path: a task
whose node dies begins again on another one and goes on from the last epoch there. Ray is an extra.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from export.files import write_bytes
from pipeline.errors import MissingToolError, PipelineError, UsageError
from pipeline.progress import Doing, Event
from pipeline.trials.book import TRIALS
from pipeline.trials.tasks import (
    Heard,
    Outcome,
    Said,
    Started,
    attempted,
    event_as_json,
    event_from_json,
    find_work,
)
from pipeline.trials.version import project_digest

RETRIES = 3
"""How often Ray begins a task again whose node or process has died."""
POLL_SECS = 1.0
SAY_SECS = 2.0
ANSWER_SECS = 5.0
"""How long the head may take to accept a connection."""
CHECK_SECS = 120.0
"""How long a node may take to say what is installed on it."""
RAYS_THREADS = "ray_"
"""How the names of its threads in this process begin."""
THREAD_LIMITS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster, and what each task takes of it."""

    address: str
    """HOST:PORT of its head, or auto for the one that was started on this machine."""
    cpus: int = 1
    gpus: float = 0.0
    patience_secs: float = 20.0
    """How long the head may not answer before it counts as lost; Ray itself ends the process after 60 s."""


def run_tasks(tasks: Sequence[Any], work: str, *, folder: Path, cluster: Cluster) -> Iterator[Heard]:
    """As local.run_tasks, on the cluster's nodes.

    MissingToolError without Ray, UsageError for an address where no head answers, PipelineError if a node has
    another version or does not see the folder, before any task begins, and if the head is lost.
    """
    with _connected(cluster.address) as head, _shared_mark(folder) as mark:
        _check_nodes(folder, mark, cluster)
        yield from _heard(tasks, work, folder=folder, cluster=cluster, head=head)


def places(cluster: Cluster) -> int:
    """How many tasks the cluster carries out at once now. Raises what run_tasks does for its address."""
    with _connected(cluster.address):
        return sum(
            int(min(node["Resources"].get(name, 0.0) // each for name, each in _wanted(cluster).items()))
            for node in _alive_nodes()
        )


def node_trouble(folder: str, mark: str, digest: str) -> str:
    """What keeps a node from carrying out tasks, as the end of a sentence about it; empty if nothing does."""
    if project_digest() != digest:
        return "has another version of this project. Install the same one there"
    if not (Path(folder) / TRIALS / mark).is_file():
        return f"does not see {folder}. Give a folder that all nodes see at that path: --runs FOLDER"
    return ""


def carried_out(
    task: Any,  # noqa: ANN401
    work: str,
    folder: str,
    *,
    threads: int,
    inbox: Any,  # noqa: ANN401
    index: int,
) -> dict[str, Any]:
    """What `attempted` returns, on a node; its progress goes to the inbox."""
    if "tensorflow" not in sys.modules:
        os.environ.update(dict.fromkeys(THREAD_LIMITS, str(threads)), TF_CPP_MIN_LOG_LEVEL="3")
    inbox.put.remote((index, {"where": socket.gethostname()}))
    said = 0.0

    def tell(event: Event) -> None:
        nonlocal said
        if isinstance(event, Doing) and time.monotonic() - said > SAY_SECS:
            said = time.monotonic()
            inbox.put.remote((index, event_as_json(event)))

    return attempted(find_work(work), task, Path(folder), tell)


class Inbox:
    """An actor on the caller's node that collects what tasks say."""

    def __init__(self) -> None:
        self._said: list[tuple[int, dict[str, Any]]] = []

    def put(self, said: tuple[int, dict[str, Any]]) -> None:
        """Adds a report."""
        self._said.append(said)

    def take(self) -> list[tuple[int, dict[str, Any]]]:
        """The reports since the last call."""
        said, self._said = self._said, []
        return said


@contextlib.contextmanager
def _connected(address: str) -> Iterator[str]:
    """Within it, this process drives the cluster; the head's address. What Ray prints of nodes is dropped."""
    if importlib.util.find_spec("ray") is None:
        raise MissingToolError(
            "ray is not installed here. Install it: pip install 'keras-mobile-pipeline[ray]'"
        )
    import ray

    before = sys.stdout
    sys.stdout = cast(TextIO, _WithoutRay(before))
    try:
        _connect(address)
        yield str(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()
        sys.stdout = before


class _WithoutRay:
    """Standard output, to which Ray's threads print the log of a dead node, without that."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith(RAYS_THREADS):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)


def _wanted(cluster: Cluster) -> dict[str, float]:
    """What a task takes, by Ray's names."""
    wanted = {"CPU": float(cluster.cpus), "GPU": cluster.gpus}
    return {name: each for name, each in wanted.items() if each > 0}


def _alive_nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _connect(address: str) -> None:
    import ray

    refused = UsageError(
        f"no Ray head answers at {address}. Expected HOST:PORT of 'ray start --head', or auto on one of its "
        "nodes. Check the address and the firewall, then run the same command again: nothing is lost."
    )
    if address != "auto" and not _answers(address):
        raise refused
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise refused from error


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_SECS):
            return True
    except (OSError, ValueError, OverflowError):
        return False


@contextlib.contextmanager
def _shared_mark(folder: Path) -> Iterator[str]:
    """The name of a file in the folder that every node must see."""
    mark = f"shared-{secrets.token_hex(8)}"
    path = folder / TRIALS / mark
    write_bytes(path, b"")
    try:
        yield mark
    finally:
        path.unlink(missing_ok=True)


def _check_nodes(folder: Path, mark: str, cluster: Cluster) -> None:
    """Asks every node; PipelineError, which names the node, for the first that cannot take part."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    digest = project_digest()
    asked = {}
    nodes, wanted = _alive_nodes(), _wanted(cluster)
    if not any(all(node["Resources"].get(name, 0.0) >= wanted[name] for name in wanted) for node in nodes):
        raise PipelineError(
            f"no node of the cluster has {cluster.cpus} CPUs and {cluster.gpus:g} GPUs, which each trial "
            "takes. Give less with --num-cpus and --num-gpus, or start such a node."
        )
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ask = ray.remote(num_cpus=0, scheduling_strategy=there, max_retries=0)(node_trouble)
        asked[ask.remote(str(folder), mark, digest)] = node["NodeManagerAddress"]
    for answer, address in asked.items():
        try:
            trouble = ray.get(answer, timeout=CHECK_SECS)
        except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
            continue  # gone, which the head has not noticed yet
        except ray.exceptions.RayError as error:
            trouble = f"cannot run this project ({_one_line(error)}). Install it there, in this version"
        if trouble:
            raise PipelineError(f"the node {address} {trouble}, then run the same command again.")


def _heard(tasks: Sequence[Any], work: str, *, folder: Path, cluster: Cluster, head: str) -> Iterator[Heard]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    inbox = ray.remote(num_cpus=0, scheduling_strategy=here)(Inbox).remote()
    remote = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=RETRIES)(carried_out)
    pending = {
        remote.remote(task, work, str(folder), threads=cluster.cpus, inbox=inbox, index=index): index
        for index, task in enumerate(tasks)
    }
    answered = time.monotonic()
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECS)
        if ready or _answers(head):
            answered = time.monotonic()
        if time.monotonic() - answered > cluster.patience_secs:
            raise PipelineError(
                f"the Ray head at {head} does not answer any more. What was finished is kept. Start it "
                "again, then run the same command again."
            )
        yield from _reports(inbox)
        for each in ready:
            yield _outcome(each, pending.pop(each))


def _reports(inbox: Any) -> Iterator[Heard]:  # noqa: ANN401 - an actor
    import ray

    try:
        said = ray.get(inbox.take.remote(), timeout=POLL_SECS)
    except ray.exceptions.RayError:  # busy, or its node is gone: reports are not needed
        return
    for index, content in said:
        if "where" in content:
            yield Started(index=index, where=content["where"])
        else:
            yield Said(index=index, event=event_from_json(content))


def _outcome(reference: Any, index: int) -> Outcome:  # noqa: ANN401
    import ray

    try:
        answer = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Outcome(index=index, failure=_one_line(error), details=str(error))
    except ray.exceptions.RayError as error:
        times = f", {RETRIES + 1} times"
        return Outcome(index=index, failure=f"its process ended ({_one_line(error)}){times}.")
    return Outcome(
        index=index,
        reply=answer.get("reply"),
        failure=answer.get("failure", ""),
        details=answer.get("details", ""),
    )


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        (lines[-1] if type(error).__name__ == "RayTaskError" else lines[0]) if lines else type(error).__name__
    )

"""Which delegate took which nodes, from what benchmark_model writes for --model_runtime_info_output_file.

The message is ModelRuntimeDetails of profiling/proto/model_runtime_info.proto, in TensorFlow and in LiteRT.
It holds the graph as the runtime runs it, but neither times nor flags.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from android_bench.delegates import DELEGATES, Delegation, delegation_reasons, kind_of
from android_bench.errors import LogError
from android_bench.printed.protos import Fields, message_class, parsed
from android_bench.printed.run import BenchmarkReport
from android_bench.reasons import Reason

_FIELDS: Fields = {
    "ModelRuntimeDetails": (("model_name", 1, "string"), ("subgraphs", 2, "RuntimeSubgraph*")),
    "RuntimeSubgraph": (
        ("nodes", 3, "Node*"),
        ("execution_plan", 4, "int32*"),
        ("subgraph_type", 5, "int32"),
    ),
    "Node": (("id", 1, "int32"), ("delegate_node_details", 8, "DelegateNodeDetails")),
    "DelegateNodeDetails": (("delegate_name", 1, "string"), ("tflite_node_ids_replaced", 2, "int32*")),
}
_OF_A_DELEGATE = 2
"""subgraph_type of a graph inside a delegate."""


@dataclass(frozen=True, kw_only=True)
class RuntimeInfo:
    """What took the nodes of the graph when the timed runs began."""

    graph: str | None
    num_nodes: int
    """Of the file's graph, without the delegates' own nodes."""
    delegations: tuple[Delegation, ...]


def read_runtime_info(content: bytes) -> RuntimeInfo:
    """Parses the file. LogError if it is empty, damaged, or has no node."""
    message = parsed(_message_class(), content, "the runtime info")
    subgraphs = [each for each in message.subgraphs if each.subgraph_type != _OF_A_DELEGATE]
    delegated = [each for each in subgraphs if _kept(each)] or subgraphs[:1]
    num_nodes = sum(len(_own_nodes(each)) for each in delegated)
    if not num_nodes:
        raise LogError(f"the runtime info's {len(content)} bytes hold no node of a graph: it is cut")
    found: dict[str, list[tuple[str, int]]] = {}
    for subgraph in delegated:
        for node in _kept(subgraph):
            name = node.delegate_node_details.delegate_name
            taken = _own_nodes(subgraph) & set(node.delegate_node_details.tflite_node_ids_replaced)
            found.setdefault(name, []).append((name, len(taken)))
    partitions = sum(map(_num_partitions, delegated))
    return RuntimeInfo(
        graph=message.model_name or None,
        num_nodes=num_nodes,
        delegations=tuple(
            _delegation(name, sum(taken for _, taken in nodes), num_nodes, partitions)
            for name, nodes in found.items()
        ),
    )


def with_runtime_info(report: BenchmarkReport, info: RuntimeInfo, asked: Sequence[str]) -> BenchmarkReport:
    """The report with the delegates of the runtime info; `asked` are kinds besides the tool's own flags.

    A delegate that was asked for and is not in it took no node. Where text and file differ, it is not valid.
    """
    kinds = tuple(dict.fromkeys((*report.asked_delegates, *asked)))
    found = {each.kind for each in info.delegations}
    missing = [each for each in DELEGATES if each.off_cpu and each.kind in kinds and each.kind not in found]
    delegations = (*info.delegations, *(_delegation(each.kind, 0, info.num_nodes, 0) for each in missing))
    before = delegation_reasons(report.delegations, report.asked_delegates)
    return replace(
        report,
        graph=report.graph or info.graph,
        delegations=delegations,
        reasons=(
            *(each for each in report.reasons if each not in before),
            *delegation_reasons(delegations, kinds),
            *_differences(report.delegations, delegations),
        ),
    )


def _differences(told: Sequence[Delegation], filed: Sequence[Delegation]) -> list[str]:
    taken = {each.kind: each.taken for each in filed}
    off_cpu = {each.kind: each.title for each in DELEGATES if each.off_cpu}
    return [
        Reason.TEXT_AND_FILE_DIFFER.text(
            name=f"nodes on {off_cpu[each.kind]}", told=each.taken, filed=taken[each.kind]
        )
        for each in told
        if each.kind in off_cpu and each.taken is not None and taken.get(each.kind, each.taken) != each.taken
    ]


def _delegation(name: str, taken: int, total: int, partitions: int) -> Delegation:
    return Delegation(
        name=name,
        kind=kind_of(name),
        taken=taken,
        total=total,
        partitions=partitions or None,
        extent="none" if taken == 0 else "all" if taken >= total else "part",
    )


def _own_nodes(subgraph: Any) -> set[int]:  # noqa: ANN401 - protobuf makes its classes at run time
    """The ids of the nodes that the file has, not those that delegates put in their place."""
    return {node.id for node in subgraph.nodes if not node.HasField("delegate_node_details")}


def _kept(subgraph: Any) -> list[Any]:  # noqa: ANN401 - as above
    """The delegates' nodes that run; a delegate that was taken off again leaves its own behind."""
    plan = set(subgraph.execution_plan)
    return [node for node in subgraph.nodes if node.HasField("delegate_node_details") and node.id in plan]


def _num_partitions(subgraph: Any) -> int:  # noqa: ANN401 - as above
    """The delegates' nodes and the runs of other nodes between them."""
    delegates = {node.id for node in _kept(subgraph)}
    runs = groupby(subgraph.execution_plan, key=lambda each: each if each in delegates else None)
    return sum(1 for _ in runs)


@functools.cache
def _message_class() -> Any:  # noqa: ANN401 - as above
    return message_class("tflite.profiling", _FIELDS, "ModelRuntimeDetails")

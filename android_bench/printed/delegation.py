"""Which delegates took how much of the graph, from the lines of the tool and of the runtime."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from android_bench.printed.lines import LogLine

Kind = Literal["xnnpack", "gpu", "nnapi", "hexagon", "other"]
Extent = Literal["all", "part", "none", "unknown"]
OFF_CPU: tuple[Kind, ...] = ("gpu", "nnapi", "hexagon")
"""Delegates that take work off the CPU; XNNPACK is the CPU itself."""

_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("xnnpack", re.compile("xnnpack", re.IGNORECASE)),
    ("hexagon", re.compile("hexagon", re.IGNORECASE)),
    ("nnapi", re.compile("nnapi", re.IGNORECASE)),
    ("gpu", re.compile("gpu|opencl|^litert_(cl|gl|vulkan|metal)", re.IGNORECASE)),
)
_EXTENTS: dict[Extent, str] = {
    "all": "the whole graph",
    "part": "a part of the graph",
    "none": "no node",
    "unknown": "not told",
}
_COUNT = r"(\d{1,9})"
_REPLACING = re.compile(
    rf"Replacing {_COUNT} out of {_COUNT} node\(s\) with delegate \((?P<name>.+?)\) node, "
    rf"yielding {_COUNT} partitions? for (?P<graph>subgraph \d+|the whole graph)\."
)
_APPLIED = re.compile(
    r"Explicitly applied (?P<name>.+?) delegate, and the model graph will be "
    rf"(?P<extent>completely|partially) executed by the delegate(?: w/ {_COUNT} delegate kernels)?\.?"
)
_NOT_EXECUTED = re.compile(
    r"Though (?P<name>.+?) delegate is explicitly applied, "
    r"the model graph will not be executed by the delegate\.?"
)
_ON_GPU = re.compile(
    rf"(?:First )?{_COUNT} operations will run on the GPU, and the remaining {_COUNT}"
    r"(?: operations will run)? on the CPU\.?"
)
_NODES_DELEGATED = re.compile(
    rf"(?P<name>\S+) delegate: {_COUNT} nodes delegated out of {_COUNT} nodes"
    rf"(?:,? with {_COUNT} partitions)?\.?"
)
_CREATED = re.compile(r"Created TensorFlow Lite (?P<name>XNNPACK) delegate for CPU\.")


@dataclass(frozen=True, kw_only=True)
class Delegation:
    """What one delegate took of the graph; nodes are None where no line counts them."""

    name: str
    """As printed, where nodes are replaced if there: TfLiteGpuDelegateV2, LITERT_CL, GPU."""
    kind: Kind
    taken: int | None
    total: int | None
    partitions: int | None
    extent: Extent
    """'unknown' only for an XNNPACK of which nothing is said but that it was created."""

    @property
    def share(self) -> str:
        """What it took, in a few words: '49 of 49 nodes', 'a part of the graph'."""
        if self.taken is not None and self.total is not None:
            return f"{self.taken} of {self.total} nodes"
        return _EXTENTS[self.extent]


@dataclass(kw_only=True)
class _Said:
    """What the lines about one delegate say."""

    name: str
    kind: Kind
    nodes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Taken, total and partitions for each subgraph; a later line about one corrects an earlier."""
    operations: tuple[int, int] | None = None
    extent: Extent | None = None
    partitions: int | None = None
    not_executed: bool = False


def kind_of(name: str) -> Kind:
    """The kind of a delegate by its printed name."""
    return next((kind for kind, form in _KINDS if form.search(name)), "other")


def find_delegations(lines: Iterable[LogLine]) -> tuple[Delegation, ...]:
    """One Delegation for each kind ('other': for each name), in the order of their first lines.

    A delegate that "will not be executed" took nothing, whatever it replaced before.
    """
    said: dict[str, _Said] = {}
    for line in lines:
        if "delegate" in line.text or "on the GPU" in line.text:
            _note(line.text, said)
    return tuple(_merged(each) for each in said.values())


def delegation_reasons(delegations: Sequence[Delegation], asked: Sequence[Kind]) -> list[str]:
    """Why the graph did not run where it was meant to: GPU, NNAPI and Hexagon are to take all of it."""
    off_cpu = {each.kind: each for each in delegations if each.kind in OFF_CPU}
    silent = [kind for kind in asked if kind in OFF_CPU and kind not in off_cpu]
    reasons = [f"no line says that {_title(kind)} took any node" for kind in silent]
    for kind, each in off_cpu.items():
        if each.extent == "none":
            reasons.append(f"{_title(kind)} took no node{f' of {each.total}' if each.total else ''}")
        elif each.extent == "part":
            reasons.append(f"{_title(kind)} took only {each.share}")
    return reasons


def _title(kind: Kind) -> str:
    return "Hexagon" if kind == "hexagon" else kind.upper()


def _note(text: str, said: dict[str, _Said]) -> None:
    """Adds what one line says."""
    if found := _REPLACING.fullmatch(text):
        taken, total, partitions = (int(found[group]) for group in (1, 2, 4))
        each = _of(found["name"], said)
        each.name = found["name"]
        each.nodes[found["graph"]] = (taken, total, partitions)
    elif found := _NODES_DELEGATED.fullmatch(text):
        partitions = int(found[4] or 0)
        _of(found["name"], said).nodes.setdefault("told", (int(found[2]), int(found[3]), partitions))
    elif found := _APPLIED.fullmatch(text):
        each = _of(found["name"], said)
        each.extent = "all" if found["extent"] == "completely" else "part"
        each.partitions = int(found[3]) if found[3] else None
    elif found := _NOT_EXECUTED.fullmatch(text):
        _of(found["name"], said).not_executed = True
    elif found := _ON_GPU.fullmatch(text):
        _of("GPU", said).operations = (int(found[1]), int(found[1]) + int(found[2]))
    elif found := _CREATED.fullmatch(text):
        _of(found["name"], said)


def _of(name: str, said: dict[str, _Said]) -> _Said:
    kind = kind_of(name)
    return said.setdefault(name if kind == "other" else kind, _Said(name=name, kind=kind))


def _merged(said: _Said) -> Delegation:
    nodes = [counts for graph, counts in said.nodes.items() if graph != "told" or len(said.nodes) == 1]
    taken, total = said.operations or (None, None)
    partitions = said.partitions
    if nodes:
        taken, total, counted = (sum(column) for column in zip(*nodes, strict=True))
        partitions = counted or partitions
    extent: Extent = said.extent or "unknown"
    if taken is not None and total is not None:
        extent = "none" if taken == 0 else "all" if taken >= total else "part"
    if said.not_executed:
        taken, partitions, extent = 0 if total is not None else None, None, "none"
    return Delegation(
        name=said.name, kind=said.kind, taken=taken, total=total, partitions=partitions, extent=extent
    )

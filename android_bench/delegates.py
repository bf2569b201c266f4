"""The delegates that can run a file, and what a log says that they took. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["xnnpack", "gpu", "nnapi", "hexagon", "other"]
Extent = Literal["all", "part", "none", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Delegate:
    """One delegate, as the tools print it."""

    kind: Kind
    title: str
    name: re.Pattern[str]
    """Found in the name that it has in a log."""
    echo: str
    """The tool's words for its flag, in lower case."""
    off_cpu: bool = True


DELEGATES = (
    Delegate(
        kind="xnnpack",
        title="XNNPACK",
        name=re.compile("xnnpack", re.IGNORECASE),
        echo="use xnnpack",
        off_cpu=False,
    ),
    Delegate(
        kind="gpu",
        title="GPU",
        name=re.compile("gpu|opencl|^litert_(cl|gl|vulkan|metal)", re.IGNORECASE),
        echo="use gpu",
    ),
    Delegate(kind="nnapi", title="NNAPI", name=re.compile("nnapi", re.IGNORECASE), echo="use nnapi"),
    Delegate(kind="hexagon", title="Hexagon", name=re.compile("hexagon", re.IGNORECASE), echo="use hexagon"),
)
_FORMS = {
    name: re.compile(re.sub(r"#(\w+)", r"(?P<\1>\\d{1,9})", form))
    for name, form in {
        "replaced": r"Replacing #taken out of #total node\(s\) with delegate \((?P<name>.+?)\) node, "
        r"yielding #partitions partitions? for (?P<graph>subgraph \d+|the whole graph)\.",
        "counted": r"(?P<name>\S+) delegate: #taken nodes delegated out of #total nodes"
        r"(?:,? with #partitions partitions)?\.?",
        "on_gpu": r"(?:First )?#taken operations will run on the (?P<name>GPU), and the remaining #left"
        r"(?: operations will run)? on the CPU\.?",
        "applied": r"Explicitly applied (?P<name>.+?) delegate, and the model graph will be "
        r"(?P<extent>completely|partially) executed by the delegate(?: w/ #partitions delegate kernels)?\.?",
        "refused": r"Though (?P<name>.+?) delegate is explicitly applied, "
        r"the model graph will not be executed by the delegate\.?",
        "created": r"Created TensorFlow Lite (?P<name>XNNPACK) delegate for CPU\.",
    }.items()
}


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
        words: dict[Extent, str] = {
            "all": "the whole graph",
            "part": "a part of the graph",
            "none": "no node",
            "unknown": "not told",
        }
        return words[self.extent]


Said = dict[str, str | None]
"""What a line says of a delegate, by the groups of its form."""


def find_delegations(texts: Iterable[str]) -> tuple[Delegation, ...]:
    """One Delegation for each kind ('other': for each name), in the order of their first lines.

    A delegate that "will not be executed" took nothing, whatever it replaced before.
    """
    said: dict[str, list[tuple[str, Said]]] = {}
    for text in texts:
        for form_name, form in _FORMS.items():
            if found := form.fullmatch(text):
                kind = kind_of(found["name"])
                key = found["name"] if kind == "other" else kind
                said.setdefault(key, []).append((form_name, found.groupdict()))
                break
    return tuple(_delegation(each) for each in said.values())


def kind_of(name: str) -> Kind:
    """The kind of a delegate by its printed name."""
    return next((each.kind for each in DELEGATES if each.name.search(name)), "other")


def delegation_reasons(delegations: Sequence[Delegation], asked: Sequence[Kind]) -> list[str]:
    """Why the graph did not run where it was meant to: a delegate off the CPU is to take all of it."""
    took = {each.kind: each for each in delegations}
    reasons, rows = [], [each for each in DELEGATES if each.off_cpu]
    reasons += [
        f"no line says that {row.title} took any node"
        for kind in asked
        for row in rows
        if row.kind == kind and kind not in took
    ]
    titles = {row.kind: row.title for row in rows}
    for each in delegations:
        if each.kind in titles and each.extent == "none":
            of_all = f" of {each.total}" if each.total else ""
            reasons.append(f"{titles[each.kind]} took no node{of_all}")
        elif each.kind in titles and each.extent == "part":
            reasons.append(f"{titles[each.kind]} took only {each.share}")
    return reasons


def _delegation(lines: Sequence[tuple[str, Said]]) -> Delegation:
    """What the lines about one delegate say: the nodes replaced in each subgraph, else its own count."""
    said: dict[str, list[Said]] = {}
    for form_name, groups in lines:
        said.setdefault(form_name, []).append(groups)
    replaced, applied = said.get("replaced", []), said.get("applied", [{}])[-1]
    subgraphs = {each["graph"]: each for each in replaced}  # a later line about one corrects an earlier
    counts = [*subgraphs.values()] or said.get("counted", [])[:1]
    partitions = sum(_number(each, "partitions") for each in counts) or _number(applied, "partitions")
    counts = counts or said.get("on_gpu", [])[-1:]
    taken = sum(_number(each, "taken") for each in counts) if counts else None
    total = sum(_number(each, "total") or _number(each, "taken") + _number(each, "left") for each in counts)
    extent: Extent = "unknown"
    if "refused" in said:
        taken, partitions, extent = 0 if counts else None, 0, "none"
    elif taken is not None:
        extent = "none" if taken == 0 else "all" if taken >= total else "part"
    elif applied:
        extent = "all" if applied["extent"] == "completely" else "part"
    name = replaced[-1]["name"] if replaced else lines[0][1]["name"]
    return Delegation(
        name=name or "",
        kind=kind_of(lines[0][1]["name"] or ""),
        taken=taken,
        total=total if counts else None,
        partitions=partitions or None,
        extent=extent,
    )


def _number(said: Said, group: str) -> int:
    return int(said.get(group) or 0)

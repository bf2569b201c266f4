"""The delegates that can run a file, and what part of the graph each took by its log. Standard library only.

A delegate is one row of DELEGATES: its option, the tools' flags, its names in a log, and its line in
docs/devices.md come from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from android_bench.reasons import Reason

Tool = Literal["tflite", "litert"]
TFLITE: Tool = "tflite"
LITERT: Tool = "litert"
TOOL_NAMES: dict[Tool, str] = {TFLITE: "TFLite", LITERT: "LiteRT v2"}
"""The two tools named benchmark_model: TFLite's and LiteRT v2's."""
Extent = Literal["all", "part", "none", "unknown"]
OTHER = "other"
"""The kind of a delegate that has no row here."""


@dataclass(frozen=True, kw_only=True)
class Delegate:
    """One delegate: its option, its flags, and its names in logs."""

    kind: str
    """Its name in records: xnnpack, gpu, nnapi, npu, hexagon."""
    word: str | None
    """Its --delegate word; None for one that is only recognized in logs."""
    title: str
    flags: Mapping[Tool, Mapping[str, str]] = field(default_factory=dict)
    """The flags for each tool that has it."""
    name: str
    """Regular expression for its name in a log, case-insensitive."""
    echo: str
    """The tool's words when it repeats the flag, in lower case."""
    off_cpu: bool = True
    """Whether it should take nodes off the CPU; a run in which it took none is then invalid."""
    note: str

    def matches(self, printed_name: str) -> bool:
        """Whether this name in a log means this delegate."""
        return re.search(self.name, printed_name, re.IGNORECASE) is not None


DELEGATES = (
    Delegate(
        kind="xnnpack",
        word="cpu",
        title="XNNPACK",
        flags={TFLITE: {}, LITERT: {}},
        name="xnnpack",
        echo="use xnnpack",
        off_cpu=False,
        note="the CPU; XNNPACK takes what it can by itself",
    ),
    Delegate(
        kind="gpu",
        word="gpu",
        title="GPU",
        flags={TFLITE: {"use_gpu": "true"}, LITERT: {"use_gpu": "true"}},
        name="gpu|opencl|^litert_(cl|gl|vulkan|metal)",
        echo="use gpu",
        note="OpenCL or OpenGL; computes in float16 unless a flag says otherwise",
    ),
    Delegate(
        kind="nnapi",
        word="nnapi",
        title="NNAPI",
        flags={TFLITE: {"use_nnapi": "true"}},
        name="nnapi",
        echo="use nnapi",
        note="deprecated since Android 15",
    ),
    Delegate(
        kind="npu",
        word="npu",
        title="NPU",
        flags={LITERT: {"use_npu": "true"}},
        name=r"dispatchdelegate|\bnpu\b",
        echo="use npu",
        note="needs the vendor's libraries on the phone: `-- --dispatch_library_path=FOLDER`, and for a file "
        "that was not compiled for it `--compiler_plugin_library_path=FOLDER`. Untried on a real NPU",
    ),
    Delegate(
        kind="hexagon",
        word=None,
        title="Hexagon",
        name="hexagon",
        echo="use hexagon",
        note="read in logs alone: it needs Qualcomm's old libraries on the phone",
    ),
)
WORDS = tuple(each.word for each in DELEGATES if each.word is not None)
"""What --delegate takes."""
FLAGS = frozenset(name for each in DELEGATES for flags in each.flags.values() for name in flags)

_FORMS = {
    name: re.compile(re.sub(r"#(\w+)", r"(?P<\1>\\d{1,9})", form))
    for name, form in {
        "replaced": r"Replacing #taken out of #total node\(s\) with delegate \((?P<name>.+?)\) node, "
        r"yielding #partitions partitions? for (?P<graph>subgraph \d+(?: \([^()]*\))?|the whole graph)\.",
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
    """The part of the graph that one delegate took; node counts are None where the log has none."""

    name: str
    """As printed, preferably in the line on replaced nodes: TfLiteGpuDelegateV2, LITERT_CL, GPU."""
    kind: str
    taken: int | None
    total: int | None
    partitions: int | None
    extent: Extent
    """'unknown' only for XNNPACK, when the log says only that it was created."""

    @property
    def share(self) -> str:
        """Short description of the part taken: '49 of 49 nodes', 'a part of the graph'."""
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
"""The named groups that matched in a line about a delegate."""


def find_delegations(texts: Iterable[str]) -> tuple[Delegation, ...]:
    """One Delegation per kind ('other': per name), in the order of their first lines.

    A delegate that "will not be executed" took nothing, even if it replaced nodes earlier.
    """
    said: dict[str, list[tuple[str, Said]]] = {}
    for text in texts:
        for form_name, form in _FORMS.items():
            if found := form.fullmatch(text):
                kind = kind_of(found["name"])
                key = found["name"] if kind == OTHER else kind
                said.setdefault(key, []).append((form_name, found.groupdict()))
                break
    return tuple(_delegation(each) for each in said.values())


def delegate_named(word: str) -> Delegate:
    """The delegate with this --delegate word."""
    return next(each for each in DELEGATES if each.word == word)


def part_taken(delegations: Sequence[Delegation], word: str) -> str | None:
    """The part of the graph that the requested delegate took; None for the whole graph or the CPU."""
    asked = delegate_named(word)
    parts = (each for each in delegations if each.kind == asked.kind and each.extent == "part")
    return next((each.share for each in parts if asked.off_cpu), None)


def kind_of(name: str) -> str:
    """The kind of the delegate with this printed name."""
    return next((each.kind for each in DELEGATES if each.matches(name)), OTHER)


def delegation_reasons(delegations: Sequence[Delegation], asked: Sequence[str]) -> list[str]:
    """Why the run did not use the requested delegates: they took no nodes, or the log does not say.

    A delegate that took part of the graph gives no reason; Delegation.share says which part.
    """
    took = {each.kind: each for each in delegations}
    rows = {each.kind: each for each in DELEGATES if each.off_cpu}
    silent = [rows[kind].title for kind in asked if kind in rows and kind not in took]
    reasons = [Reason.DELEGATE_SILENT.text(delegate=title) for title in silent]
    for kind, each in took.items():
        if kind in rows and each.extent == "none":
            of_all = f" of {each.total}" if each.total else ""
            reasons.append(Reason.DELEGATE_TOOK_NOTHING.text(delegate=rows[kind].title, of_all=of_all))
    return reasons


def _delegation(lines: Sequence[tuple[str, Said]]) -> Delegation:
    """The Delegation from the lines about one delegate: nodes replaced per subgraph, else its own count."""
    said: dict[str, list[Said]] = {}
    for form_name, groups in lines:
        said.setdefault(form_name, []).append(groups)
    replaced, applied = said.get("replaced", []), said.get("applied", [{}])[-1]
    subgraphs = {each["graph"]: each for each in replaced}  # the last line of a subgraph counts
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

"""The operator profile (--enable_op_profiling) of benchmark_model, from its text or its CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from android_bench.delegates import OTHER, kind_of
from android_bench.printed.lines import NUMBER, LogLine, read_lines

_TITLE_INIT = "Profiling Info for Benchmark Initialization:"
_TITLE_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_NESTED = re.compile(r"(?:Subgraph \(index: |Delegate internal:).*")
"""Heads of nested tables, left out since an operator of the main table includes their time."""
_HEADING = re.compile(r"=+ (?P<name>[A-Z][\w ]+) =+")
_RUN_ORDER = "Run Order"
_TEXT_HEADER = re.compile(r"\[node type\]\s+(?P<start>\[start\]\s+)?\[first\]\s+\[avg ms\]\s+.*\[Name\]")
_CSV_HEADER = re.compile(r"node type, (?P<start>start, )?first, avg_ms, .*, name")
_NUM_NODES = re.compile(r"Number of nodes executed: (?P<count>\d{1,9})")
_ANY = rf"(?:-?{NUMBER}|-?nan|-?inf)"
_ROWS = {
    (is_csv, has_start): re.compile(
        r"(?P<type>\S.*?)"
        + "".join(f"{gap}{part}" for part in ([_ANY] if has_start else []) + [_ANY, rf"(?P<avg>{NUMBER})"])
        + f"{gap}{_ANY}%{gap}{_ANY}%{gap}{_ANY}"
        + rf"{gap}(?P<times>\d{{1,18}}){gap}(?P<name>\S.*)"
    )
    for is_csv, gap in ((True, ", "), (False, r"\s+"))
    for has_start in (True, False)
}
_QUANTIZATION = re.compile(r"(?:tfl\.)?(?:(?:de|fake_?)?quant(?:ize)?|convert|requantize)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """One operator of the graph, in the order of the run."""

    node_type: str
    """CONV_2D, an XNNPACK name such as 'Convolution (NHWC, QC8) IGEMM', or a delegate's node."""
    name: str
    """Its output tensor, or the delegate's operator."""
    avg_ms: float
    """Average time of one call."""
    times_called: int
    """Calls in one inference; always 0 in versions before 2020."""
    inference_ms: float
    """Time of all its calls in one inference."""
    share_percent: float
    """Share of the time of all operators; computed here, since old versions printed it wrong."""
    delegated: bool
    """Whether a delegate ran it."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The operators of the timed runs, and of the initialisation."""

    operators: tuple[OperatorTime, ...]
    complete: bool
    """False if the text does not prove that these are all operators of the timed runs."""
    init_operators: tuple[OperatorTime, ...]


@dataclass(frozen=True, kw_only=True)
class TypeTime:
    """All operators of one type."""

    node_type: str
    count: int
    inference_ms: float
    share_percent: float


def parse_profile(text: str) -> Profile:
    """The profile in a run's text or CSV; without one, no operators and not complete."""
    return profile_of(read_lines(text))


def profile_of(lines: Sequence[LogLine]) -> Profile:
    """The profile in a run's lines.

    Cut rows are left out. LiteRT v2 prints one table without a title, for the timed runs.
    """
    init, runs = _sections(lines)
    rows, complete = _table(runs)
    return Profile(
        operators=_with_shares(rows),
        complete=complete,
        init_operators=_with_shares(_table(init)[0]),
    )


def summarize(profile: Profile) -> tuple[TypeTime, ...]:
    """The operators of the timed runs grouped by type, slowest first."""
    by_type: dict[str, list[OperatorTime]] = {}
    for operator in profile.operators:
        by_type.setdefault(operator.node_type, []).append(operator)
    types = [
        TypeTime(
            node_type=node_type,
            count=len(operators),
            inference_ms=math.fsum(each.inference_ms for each in operators),
            share_percent=math.fsum(each.share_percent for each in operators),
        )
        for node_type, operators in by_type.items()
    ]
    return tuple(sorted(types, key=lambda each: -each.inference_ms))


def is_quantization(node_type: str) -> bool:
    """Whether operators of this type only convert between number types.

    QUANTIZE, DEQUANTIZE and FAKE_QUANT of TFLite, Convert (NC, F32, QS8) and the like of XNNPACK.
    """
    return _QUANTIZATION.match(node_type) is not None


def is_delegate_node(node_type: str) -> bool:
    """Whether this is a delegate's own node, whose operators the tool does not list.

    TfLiteNnapiDelegate, TfLiteXNNPackDelegate (before TensorFlow 2.10), LITERT_CL; DELEGATE in 2019.
    """
    return "delegate" in node_type.lower() or kind_of(node_type) != OTHER


def _sections(lines: Sequence[LogLine]) -> tuple[list[LogLine], list[LogLine]]:
    """The lines of the initialisation's and of the timed runs' tables, of the first run in the text."""
    init: list[LogLine] = []
    runs: list[LogLine] = []
    section, num_titles = runs, 0
    for line in lines:
        if line.text == _TITLE_INIT and not init:
            section = init
        elif line.text == _TITLE_RUNS:
            num_titles += 1
            if num_titles > 1:
                break
            section = runs
        section.append(line)
    return init, runs


def _table(lines: Iterable[LogLine]) -> tuple[list[OperatorTime], bool]:
    """The rows of the first `Run Order` table, and whether their number is the one the tool prints."""
    rows: list[OperatorTime] = []
    inside, num_tables, form = False, 0, _ROWS[False, False]
    for line in lines:
        if _NESTED.match(line.text):
            break
        if heading := _HEADING.fullmatch(line.text):
            inside = heading["name"] == _RUN_ORDER
            num_tables += inside
            if num_tables > 1:
                break
        elif found := _NUM_NODES.fullmatch(line.text):
            return rows, int(found["count"]) == len(rows) > 0
        elif inside:
            form = _form(line.text) or form
            row = _row(line, form)
            rows += [row] if row else []
    return rows, False


def _form(text: str) -> re.Pattern[str] | None:
    """The pattern of rows under this header; None if the line is not a header."""
    if found := _CSV_HEADER.fullmatch(text):
        return _ROWS[True, found["start"] is not None]
    found = _TEXT_HEADER.fullmatch(text)
    return None if found is None else _ROWS[False, found["start"] is not None]


def _row(line: LogLine, form: re.Pattern[str]) -> OperatorTime | None:
    found = form.fullmatch(line.text) if line.ended else None
    if found is None:
        return None
    name = found["name"].replace("\t", ",")  # in the CSV, a name's commas have become tabs
    return OperatorTime(
        node_type=found["type"],
        name=name,
        avg_ms=float(found["avg"]),
        times_called=int(found["times"]),
        inference_ms=0.0,
        share_percent=0.0,
        delegated=name.startswith("Delegate/") or is_delegate_node(found["type"]),
    )


def _with_shares(rows: Sequence[OperatorTime]) -> tuple[OperatorTime, ...]:
    """The rows with their time in one inference and its share of the total."""
    counted = any(row.times_called for row in rows)
    times = [row.avg_ms * (row.times_called if counted else 1) for row in rows]
    whole = math.fsum(times)
    return tuple(
        replace(row, inference_ms=time, share_percent=time / whole * 100 if whole else 0.0)
        for row, time in zip(rows, times, strict=True)
    )

"""Parses the output of one run of benchmark_model: times in ms, sizes in bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from android_bench.delegates import (
    DELEGATES,
    LITERT,
    TFLITE,
    Delegation,
    Tool,
    delegation_reasons,
    find_delegations,
)
from android_bench.errors import LogError
from android_bench.printed.lines import (
    NUMBER,
    LogLine,
    Stats,
    find_failure,
    first_error,
    parse_stats,
    read_lines,
)
from android_bench.printed.summary import MIB, Summary, all_matches, scaled, summaries
from android_bench.reasons import Reason

Asked = Mapping[str, str | None]
"""The requested runs and seconds of a block, as printed."""
ANCHOR = re.compile(
    rf"Running benchmark for at least (?P<runs>\d{{1,18}}) iterations and at least (?P<min>-?{NUMBER}) "
    rf"seconds(?: but terminate if exceeding (?P<max>{NUMBER}) seconds)?\.?"
)
"""The first line of a block; versions of early 2019 have no tail."""
ECHO = re.compile(r"(?P<name>[A-Z#][\w#/(). -]*?)\s*: \[(?P<value>.*)\]")
"""The line in which the tool repeats a flag."""
FILLED = 0.9
"""Runs that took this share of the maximum time were ended by it: the tool also works between runs."""

_INIT = re.compile(rf"Initialized session in (?P<value>{NUMBER})ms\.?")
_LOADING = re.compile(r"Loading model from: (?P<path>\S.*)")
_SIZE = re.compile(rf"The input model file size \(MB\): (?P<value>{NUMBER})")
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init=(?P<init>-?{NUMBER}) overall=(?P<overall>-?{NUMBER})"
)
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: (?P<value>{NUMBER})")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: (?P<flags>.*)")
_DUPLICATE = re.compile(r"Duplicate flags: (?P<name>.*)")
_MISNAMED = re.compile(r"Tensor # (?P<index>\d+) is named (?P<name>.*) but flags call it (?P<given>.*)")


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """A completed run. None for what the tool did not print.

    Both tools print the file's size in MB of 1,000,000 bytes and memory in MB of 1024 * 1024 bytes: their
    sources divide kB by 1024 (init_footprint_kb 42724 in a result file is printed as init=41.7).
    """

    tool: Tool
    """Which of the two tools named benchmark_model: TFLite's or LiteRT v2's."""
    graph: str | None
    num_threads: int | None
    """As the tool repeats it; None if it was not given or the version is old."""
    asked_delegates: tuple[str, ...]
    asked_runs: int | None
    """Of the timed block, like the seconds."""
    asked_min_secs: float | None
    asked_max_secs: float | None
    init_ms: float | None
    first_ms: float | None
    """The first inference after initialisation, warm-up included."""
    warmup: Stats | None
    timed: Stats
    model_size_bytes: int | None
    init_memory_bytes: int | None
    """Memory growth of the process until the model was ready."""
    overall_memory_bytes: int | None
    """Memory growth until the end."""
    peak_memory_bytes: int | None
    delegations: tuple[Delegation, ...]
    unconsumed_flags: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why the run is not the requested one, by the text alone; empty if it is."""


@dataclass(frozen=True)
class _Block:
    """The warm-up's runs or the timed runs."""

    anchor: Asked
    line: LogLine | None = None
    """The line with its figures; None if missing."""

    @property
    def stats(self) -> Stats | None:
        """The figures; None if their line is missing or cut."""
        return parse_stats(self.line.text) if self.line is not None and self.line.ended else None

    @property
    def quoted(self) -> str:
        return "" if self.line is None else self.line.quoted


def parse_run(text: str, *, status: int | None = None) -> BenchmarkReport:
    """Parses the output of exactly one process, with its streams merged in any order.

    LogError with the reason if it failed, was cut, or timed no inference.
    """
    lines = read_lines(text)
    if failure := find_failure(lines, status):
        raise LogError(failure.reason)
    report = report_of(lines)
    if report.timed.count is None:
        raise LogError(Reason.CUT.text(where=": it has a summary, but no line of the timed block"))
    return report


def report_of(lines: Sequence[LogLine]) -> BenchmarkReport:
    """The report of the lines of one run that did not fail; LogError if it is not completed."""
    found = summaries(lines)
    if not found:
        raise LogError(_why_cut(lines))
    if len(found) > 1:
        raise LogError(Reason.SEVERAL_RUNS.text(found=f"{len(found)} runs where one was expected"))
    timed, warmup, anchor = _blocks(lines, found[0])
    return _report(lines, found[0], timed, warmup, anchor)


def unfinished_report(lines: Sequence[LogLine]) -> BenchmarkReport:
    """The report of a run that has both blocks but no summary, which is not valid; LogError without them."""
    blocks = _found_blocks(lines)
    timed = blocks[-1].stats if len(blocks) == 2 else None
    if timed is None or not timed.count:
        raise LogError(_why_cut(lines))
    whole = [line for line in lines if line.ended]
    init = next(all_matches(_INIT, whole), None)
    summary = Summary(
        tool=LITERT if any("litert" in line.file for line in lines) else TFLITE,
        init_ms=None if init is None else float(init["value"]),
        warmup=Stats(count=None),
        timed=timed,
    )
    cause = first_error(lines)
    after = f" after the error '{cause.quoted}'" if cause else ""
    report = _report(lines, summary, timed, blocks[0].stats, blocks[-1].anchor)
    return replace(report, reasons=(Reason.NO_SUMMARY.text(after=after), *report.reasons))


def _report(
    lines: Sequence[LogLine], summary: Summary, timed: Stats, warmup: Stats | None, anchor: Asked
) -> BenchmarkReport:
    whole = [line for line in lines if line.ended]
    echo: dict[str, str] = {}
    for found in all_matches(ECHO, whole):
        echo.setdefault(found["name"].lower(), found["value"])  # the first counts
    asked_runs = int(anchor.get("runs") or 0) or _whole_number(echo.get("min num runs"))
    asked_max_secs = _seconds(anchor.get("max") or echo.get("max runs duration (seconds)"))
    asked = tuple(each.kind for each in DELEGATES if echo.get(each.echo) in ("1", "true"))
    delegations = find_delegations(line.text for line in whole)
    init_memory, overall_memory, peak_memory = _memory(whole, summary)
    flags = [flag for found in all_matches(_UNCONSUMED, whole) for flag in _split_flags(found["flags"])]
    return BenchmarkReport(
        tool=summary.tool,
        graph=echo.get("graph") or _loaded(whole),
        num_threads=_whole_number(echo.get("num threads")),
        asked_delegates=asked,
        asked_runs=asked_runs,
        asked_min_secs=_seconds(anchor.get("min") or echo.get("min runs duration (seconds)")),
        asked_max_secs=asked_max_secs,
        init_ms=summary.init_ms,
        first_ms=_first_ms(timed, warmup, summary),
        warmup=warmup,
        timed=timed,
        model_size_bytes=scaled(next(all_matches(_SIZE, whole), None), "value", 1e6),
        init_memory_bytes=init_memory,
        overall_memory_bytes=overall_memory,
        peak_memory_bytes=peak_memory,
        delegations=delegations,
        unconsumed_flags=tuple(flags),
        reasons=(
            *(Reason.UNKNOWN_FLAG.text(flag=flag) for flag in flags),
            *(Reason.FLAG_TWICE.text(flag=found["name"].strip()) for found in all_matches(_DUPLICATE, whole)),
            *(Reason.MISNAMED_INPUT.text(**found.groupdict()) for found in all_matches(_MISNAMED, whole)),
            *delegation_reasons(delegations, asked),
            *count_reasons(timed, asked_runs, asked_max_secs),
            *_resolution_reasons(timed),
        ),
    )


def count_reasons(timed: Stats, asked_runs: int | None, max_secs: float | None) -> list[str]:
    """The reason, if fewer runs were timed than requested although the maximum time was not reached."""
    if timed.count is None or asked_runs is None or timed.count >= asked_runs:
        return []
    if max_secs and timed.count * (timed.avg_ms or 0.0) / 1000 >= FILLED * max_secs:
        return []
    return [Reason.FEWER_RUNS.text(made=timed.count, asked=asked_runs)]


def _resolution_reasons(timed: Stats) -> list[str]:
    middle_ms = timed.avg_ms if timed.median_ms is None else timed.median_ms
    return [Reason.BELOW_RESOLUTION.text()] if middle_ms == 0 else []


def _blocks(
    lines: Sequence[LogLine], summary: Summary
) -> tuple[Stats, Stats | None, Mapping[str, str | None]]:
    """Figures of the timed runs and of the warm-up, and the request for the timed runs as printed.

    LogError unless the summary agrees with both. Only the summary's figures if the text has no blocks.
    """
    blocks = _found_blocks(lines)
    if len(blocks) > 2:
        raise LogError(Reason.SEVERAL_RUNS.text(found=f"{len(blocks)} blocks of runs, and a run has two"))
    if not blocks:
        if not summary.ended:
            raise LogError(Reason.CUT.text(where=" in its summary"))
        if not summary.timed.avg_ms:
            raise LogError(Reason.NOT_TIMED.text(why=""))
        return summary.timed, summary.warmup if summary.warmup.avg_ms else None, {}
    timed = _timed(blocks[-1], summary, alone=len(blocks) == 1)
    return timed, _warmup(blocks[0], summary) if len(blocks) == 2 else None, blocks[-1].anchor


def _found_blocks(lines: Sequence[LogLine]) -> list[_Block]:
    blocks: list[_Block] = []
    for line in lines:
        if anchor := ANCHOR.fullmatch(line.text):
            blocks.append(_Block(anchor=anchor.groupdict()))
        elif line.is_stats:
            begun = blocks.pop().anchor if blocks and blocks[-1].line is None else {}
            blocks.append(_Block(anchor=begun, line=line))
    return blocks


def _timed(block: _Block, summary: Summary, *, alone: bool) -> Stats:
    stats = block.stats
    if stats is None:
        raise LogError(Reason.CUT.text(where=f" in the timed block: '{block.quoted}'"))
    if stats.count == 0:
        raise LogError(Reason.NOT_TIMED.text(why=" (count=0, a dry run)"))
    if not summary.agrees(summary.timed, stats):
        raise LogError(Reason.SUMMARY_DIFFERS.text(block=f"timed block '{block.quoted}'"))
    if alone and summary.agrees(summary.warmup, stats):
        raise LogError(Reason.CUT.text(where=": it has one block of runs, and it could be the warm-up"))
    return stats


def _warmup(block: _Block, summary: Summary) -> Stats | None:
    """The warm-up's figures; None if their line is cut or there was no warm-up."""
    stats = block.stats
    if stats is None or stats.count == 0:
        return None
    if not summary.agrees(summary.warmup, stats):
        raise LogError(Reason.SUMMARY_DIFFERS.text(block=f"warm-up '{block.quoted}'"))
    return stats


def _why_cut(lines: Sequence[LogLine]) -> str:
    if not lines:
        return Reason.PRINTED_NOTHING.text()
    if any(line.is_summary for line in lines):
        return Reason.CUT.text(where=" in its summary")
    if cause := first_error(lines):
        return Reason.CUT.text(where=f": no summary after the error '{cause.quoted}'")
    if shell := next((line for line in lines if line.is_shell_error), None):
        return Reason.FAILED.text(said=shell.quoted)
    if cut := next((line for line in lines if line.is_stats and parse_stats(line.text) is None), None):
        return Reason.CUT.text(where=f" in a block of runs: '{cut.quoted}'")
    return Reason.CUT.text(where=f": no summary after '{lines[-1].quoted}'")


def _loaded(lines: Sequence[LogLine]) -> str | None:
    """The file that LiteRT v2's tool says it loads; it does not repeat its flag."""
    found = next(all_matches(_LOADING, lines), None)
    return found["path"] if found else None


def _split_flags(flags: str) -> list[str]:
    return [f"--{flag}".strip() for flag in re.split(r"(?:^|\s)--", flags) if flag.strip()]


def _seconds(told: str | None) -> float | None:
    return float(told) if told is not None and re.fullmatch(f"-?{NUMBER}", told) else None


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text) else None


def _first_ms(timed: Stats, warmup: Stats | None, summary: Summary) -> float | None:
    """The first run of the warm-up, or of the timed runs without a warm-up."""
    if warmup is not None:
        return summary.first_ms if warmup.first_ms is None else warmup.first_ms
    return timed.first_ms if summary.warmup.avg_ms == 0 else summary.first_ms


def _memory(lines: Sequence[LogLine], summary: Summary) -> tuple[int | None, int | None, int | None]:
    """Memory until the model was ready, until the end, and at the peak, in bytes."""
    if summary.tool == LITERT:
        return summary.memory_bytes
    delta, peak = next(all_matches(_MEMORY, lines), None), next(all_matches(_PEAK, lines), None)
    return scaled(delta, "init", MIB), scaled(delta, "overall", MIB), scaled(peak, "value", MIB)

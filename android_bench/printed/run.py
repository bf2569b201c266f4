"""What one run of benchmark_model printed, as values: times in ms, sizes in bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from android_bench.errors import LogError
from android_bench.printed.block import Figures, read_figures
from android_bench.printed.delegation import Delegation, Extent, Kind, delegation_reasons, find_delegations
from android_bench.printed.failure import find_failure, first_error, is_shell_error, quoted
from android_bench.printed.lines import NUMBER, LogLine, read_lines
from android_bench.printed.stats import Stats, is_stats, parse_stats
from android_bench.printed.summary import MIB, Summary, Tool, is_summary, read_summaries

__all__ = [
    "BenchmarkReport",
    "Delegation",
    "Extent",
    "Kind",
    "Stats",
    "Tool",
    "parse_run",
    "report_of",
]

ECHO = re.compile(r"(?P<name>[A-Z#][\w#/(). -]*?)\s*: \[(?P<value>.*)\]")
"""How the tool repeats a flag that it was given."""

_SIZE = re.compile(rf"The input model file size \(MB\): (?P<size>{NUMBER})")
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init=(?P<init>-?{NUMBER}) overall=(?P<overall>-?{NUMBER})"
)
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: (?P<peak>{NUMBER})")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: (?P<flags>.*)")
_DUPLICATE = re.compile(r"Duplicate flags: (?P<name>.*)")
_MISNAMED = re.compile(r"Tensor # (?P<index>\d+) is named (?P<name>.*) but flags call it (?P<told>.*)")
_ASKED: dict[str, Kind] = {
    "use gpu": "gpu",
    "use nnapi": "nnapi",
    "use hexagon": "hexagon",
    "use xnnpack": "xnnpack",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """A completed run. None where the tool did not print it.

    The file's size is printed in MB of 1,000,000 bytes, memory in MB of 1024 * 1024, by both tools: their
    sources divide kB by 1024, and runs whose result files say init_footprint_kb 42724 print init=41.7.
    """

    tool: Tool
    """Google's two tools of the same name: TFLite's, or LiteRT v2's."""
    graph: str | None
    num_threads: int | None
    """As the tool repeats it; None where it was not given or an old version."""
    asked_delegates: tuple[Kind, ...]
    asked_runs: int | None
    """Of the timed block, as are the seconds."""
    asked_min_secs: float | None
    asked_max_secs: float | None
    init_ms: float
    first_ms: float | None
    """The first inference after initialisation, warm-up included."""
    warmup: Stats | None
    timed: Stats
    model_size_bytes: int | None
    init_memory_bytes: int | None
    """What the process grew by until the model was ready."""
    overall_memory_bytes: int | None
    """What it grew by until the end."""
    peak_memory_bytes: int | None
    delegations: tuple[Delegation, ...]
    unconsumed_flags: tuple[str, ...]
    duplicate_flags: tuple[str, ...]
    misnamed_inputs: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why the run is not what was asked for, judged from the text alone; empty when it is."""


@dataclass(frozen=True, kw_only=True)
class _Warnings:
    """What the tool warns of and goes on with exit status 0."""

    unconsumed_flags: tuple[str, ...]
    duplicate_flags: tuple[str, ...]
    misnamed_inputs: tuple[str, ...]

    def reasons(self) -> list[str]:
        """Each as a reason why the run is not what was asked for."""
        return [
            *(f"the tool does not know the flag {flag}" for flag in self.unconsumed_flags),
            *(f"the flag {name} was given twice, and the first counts" for name in self.duplicate_flags),
            *self.misnamed_inputs,
        ]


def parse_run(text: str, *, status: int | None = None) -> BenchmarkReport:
    """What exactly one process printed, its streams merged in any order, and its exit status where known.

    LogError with the reason where it failed, was cut, or timed no inference.
    """
    lines = read_lines(text)
    if failure := find_failure(lines, status):
        raise LogError(failure.reason)
    report = report_of(lines)
    if report.timed.count is None:
        raise LogError("the text is cut: it has a summary, but no line of the timed block")
    return report


def report_of(lines: Sequence[LogLine]) -> BenchmarkReport:
    """The report of the lines of one run that did not fail; LogError where they hold no completed one."""
    summaries = read_summaries(lines)
    if not summaries:
        raise LogError(_why_cut(lines))
    if len(summaries) > 1:
        raise LogError(f"the text holds {len(summaries)} runs where one was expected")
    summary = summaries[0]
    figures = read_figures(lines, summary)
    whole = [line for line in lines if line.ended]
    echo = _echo(whole)
    asked = tuple(kind for name, kind in _ASKED.items() if echo.get(name) in ("1", "true"))
    delegations = find_delegations(whole)
    warnings = _warnings(whole)
    asked_runs = figures.asked_runs or _whole_number(echo.get("min num runs"))
    init_memory, overall_memory, peak_memory = _memory(whole, summary)
    return BenchmarkReport(
        tool=summary.tool,
        graph=echo.get("graph") or None,
        num_threads=_whole_number(echo.get("num threads")),
        asked_delegates=asked,
        asked_runs=asked_runs,
        asked_min_secs=_seconds(figures.asked_min_secs or echo.get("min runs duration (seconds)")),
        asked_max_secs=_seconds(figures.asked_max_secs or echo.get("max runs duration (seconds)")),
        init_ms=summary.init_ms,
        first_ms=_first_ms(figures, summary),
        warmup=figures.warmup,
        timed=figures.timed,
        model_size_bytes=_model_size(whole),
        init_memory_bytes=init_memory,
        overall_memory_bytes=overall_memory,
        peak_memory_bytes=peak_memory,
        delegations=delegations,
        unconsumed_flags=warnings.unconsumed_flags,
        duplicate_flags=warnings.duplicate_flags,
        misnamed_inputs=warnings.misnamed_inputs,
        reasons=(
            *warnings.reasons(),
            *delegation_reasons(delegations, asked),
            *_count_reasons(figures.timed.count, asked_runs),
        ),
    )


def _why_cut(lines: Sequence[LogLine]) -> str:
    if not lines:
        return "the tool printed nothing"
    if any(is_summary(line.text) for line in lines):
        return "the text is cut in its summary"
    if cause := first_error(lines):
        return f"the text is cut: no summary after the error '{quoted(cause.text)}'"
    if shell := next((line for line in lines if is_shell_error(line.text)), None):
        return quoted(shell.text)
    cut = next((line for line in lines if is_stats(line.text) and parse_stats(line.text) is None), None)
    if cut is not None:
        return f"the text is cut in a block of runs: '{quoted(cut.text)}'"
    return f"the text is cut: no summary after '{quoted(lines[-1].text)}'"


def _echo(lines: Sequence[LogLine]) -> dict[str, str]:
    """The flags that the tool repeats, by its lower-case words for them; the first counts."""
    values: dict[str, str] = {}
    for found in _all(ECHO, lines):
        values.setdefault(found["name"].lower(), found["value"])
    return values


def _all(form: re.Pattern[str], lines: Sequence[LogLine]) -> Iterator[re.Match[str]]:
    return (found for line in lines if (found := form.fullmatch(line.text)) is not None)


def _split_flags(flags: str) -> list[str]:
    return [f"--{flag}".strip() for flag in re.split(r"(?:^|\s)--", flags) if flag.strip()]


def _warnings(lines: Sequence[LogLine]) -> _Warnings:
    return _Warnings(
        unconsumed_flags=tuple(
            flag for found in _all(_UNCONSUMED, lines) for flag in _split_flags(found["flags"])
        ),
        duplicate_flags=tuple(found["name"].strip() for found in _all(_DUPLICATE, lines)),
        misnamed_inputs=tuple(
            f"tensor {found['index']} is named {found['name']}, but the flags call it {found['told']}"
            for found in _all(_MISNAMED, lines)
        ),
    )


def _seconds(told: str | None) -> float | None:
    return float(told) if told is not None and re.fullmatch(f"-?{NUMBER}", told) else None


def _model_size(lines: Sequence[LogLine]) -> int | None:
    found = next(_all(_SIZE, lines), None)
    return None if found is None else round(float(found["size"]) * 1e6)


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text) else None


def _first_ms(figures: Figures, summary: Summary) -> float | None:
    """The warm-up's first run, or the timed one's where none warmed up."""
    if figures.warmup is not None:
        exact = figures.warmup.first_ms
        return summary.first_ms if exact is None else exact
    return figures.timed.first_ms if summary.warmup.avg_ms == 0 else summary.first_ms


def _memory(lines: Sequence[LogLine], summary: Summary) -> tuple[int | None, int | None, int | None]:
    """Until the model was ready, until the end, and at the highest, in bytes."""
    if summary.tool == "litert":
        return summary.init_memory_bytes, summary.overall_memory_bytes, summary.peak_memory_bytes
    delta, peak = next(_all(_MEMORY, lines), None), next(_all(_PEAK, lines), None)
    return (
        None if delta is None else round(float(delta["init"]) * MIB),
        None if delta is None else round(float(delta["overall"]) * MIB),
        None if peak is None else round(float(peak["peak"]) * MIB),
    )


def _count_reasons(count: int | None, asked: int | None) -> list[str]:
    if count is None or asked is None or count >= asked:
        return []
    return [f"the run count fell short: {count} of {asked}"]

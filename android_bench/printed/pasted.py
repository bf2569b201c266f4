"""A log pasted from anywhere: the runs of benchmark_model that completed in it, and those that did not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from android_bench.delegates import DELEGATES
from android_bench.errors import LogError
from android_bench.printed.lines import (
    BENCHMARKING_FAILED,
    LITERT_BLOCK,
    Failure,
    LogLine,
    find_failure,
    parse_stats,
    read_lines,
)
from android_bench.printed.run import ANCHOR, ECHO, BenchmarkReport, report_of

_COMMAND, _STARTING, _ECHO, _BLOCKS, _SUMMARY, _REST = 0, 1, 3, 7, 8, 9
_ORDER: tuple[tuple[int, re.Pattern[str]], ...] = (
    (_COMMAND, re.compile(r".*benchmark_model\S*\s(?:.*\s)?--\w.*")),
    (_COMMAND, re.compile(r"Running TensorFlow Lite benchmark with args: .*")),
    (_STARTING, re.compile(r"STARTING!")),
    (2, re.compile(r"Log parameter values verbosely: \[.*")),
    (4, re.compile(r"Loaded model .*")),
    (5, re.compile(r"The input model file size \(MB\): .*")),
    (6, re.compile(r"Initialized session in .*")),
    (_BLOCKS, ANCHOR),
    (_REST, re.compile(r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) .*")),
)
"""What a run prints, in its order, once each but for the command, the flags and the blocks."""
_FLAGS = {
    *("graph", "num threads", "min num runs", "min warmup runs"),
    *("min runs duration (seconds)", "max runs duration (seconds)"),
    *(each.echo for each in DELEGATES),
}
"""The flags that a run repeats, in the tool's words for them."""
_EARLY = re.compile(
    r"Created TensorFlow Lite .*|Replacing \d+ out of .*|(?:Explicitly applied|Though) .* delegate.*"
    r"|.* nodes delegated out of .*|(?:First )?\d+ operations will run on the GPU.*"
    r"|(?:Unconsumed cmdline|Duplicate) flags: .*|Initialized TensorFlow Lite runtime\."
)
"""Of before the first block; where stderr was merged first, they come before STARTING! of their run."""


@dataclass(frozen=True, kw_only=True)
class ParsedLog:
    """What a log holds, in its order."""

    runs: tuple[BenchmarkReport, ...]
    failures: tuple[Failure, ...]
    """Runs that failed or were cut."""


@dataclass(kw_only=True)
class _Run:
    """The lines that belong to one run, as far as they have been read."""

    lines: list[LogLine] = field(default_factory=list)
    reached: int = -1
    """How far the run has come, by _ORDER."""
    num_anchors: int = 0
    num_stats: int = 0
    is_cut: bool = False
    """Its last block of runs is."""
    refused: bool = False
    """The tool was not started, or died without a word."""
    last: LogLine | None = None
    """The last line of the tool's own."""

    @property
    def is_of_the_tool(self) -> bool:
        failed = any(BENCHMARKING_FAILED in line.text for line in self.lines)
        return self.reached >= _STARTING or self.refused or failed


def parse_log(text: str) -> ParsedLog:
    """Every run of benchmark_model in a text; it raises nothing, and a text without one gives neither.

    The text may hold several runs, the shell's prompts, logcat of several processes, and prefixes of any kind
    (lines.read_lines). A run is completed when its summary is whole and agrees with its blocks of runs.
    """
    streams: dict[int | None, list[LogLine]] = {}
    for line in read_lines(text):
        streams.setdefault(line.pid, []).append(line)
    runs = [run for lines in streams.values() for run in _split(lines) if run.is_of_the_tool]
    runs.sort(key=lambda run: run.lines[0].number)
    outcomes = [_outcome(run) for run in runs]
    return ParsedLog(
        runs=tuple(each for each in outcomes if isinstance(each, BenchmarkReport)),
        failures=tuple(each for each in outcomes if isinstance(each, Failure)),
    )


def _outcome(run: _Run) -> BenchmarkReport | Failure:
    if failure := find_failure(run.lines, 1 if run.refused else None):
        return failure
    try:
        return report_of(run.lines)
    except LogError as error:
        last = run.last or run.lines[-1]
        return Failure(line=last.number, reason=str(error))


def _split(lines: Iterable[LogLine]) -> list[_Run]:
    """The runs of one process's or one terminal's lines."""
    runs, late = [_Run()], list[LogLine]()
    for line in lines:
        rank = _rank(line)
        if rank is None and runs[-1].reached >= _SUMMARY:
            late.append(line)  # of this run, or of the next one's stderr
            continue
        if rank is not None and _begins(rank, line, runs[-1]):
            mine, next_ones = _divide(late)
            runs[-1].lines += mine
            runs.append(_Run(lines=next_ones))
            late = []
        elif rank is not None:
            runs[-1].lines += late
            late = []
        _add(line, rank, runs[-1])
    runs[-1].lines += late
    return [run for run in runs if run.lines]


def _rank(line: LogLine) -> int | None:
    """How far a run is that prints this line; None for a line that may stand anywhere."""
    if line.is_summary:
        return _SUMMARY
    if line.is_stats:
        return _BLOCKS
    echo = ECHO.fullmatch(line.text)
    if echo is not None and echo["name"].lower() in _FLAGS:
        return _ECHO
    return next((rank for rank, form in _ORDER if form.fullmatch(line.text)), None)


def _begins(rank: int, line: LogLine, run: _Run) -> bool:
    """Whether a line is of another run than the one before it."""
    if run.refused or rank < run.reached or (run.is_cut and line.text == LITERT_BLOCK):
        return True
    if rank == _BLOCKS:
        return run.num_stats >= 2 if line.is_stats else run.num_anchors >= 2
    return rank == run.reached and rank not in (_COMMAND, _ECHO)


def _add(line: LogLine, rank: int | None, run: _Run) -> None:
    if rank is None and line.is_crash and run.reached < _COMMAND:
        return  # of something that ran before
    run.lines.append(line)
    if rank is None:
        refusal = line.is_crash or ("benchmark" in line.text and line.is_shell_error)
        run.refused |= refusal and run.reached <= _COMMAND
        return
    run.reached, run.last = max(rank, run.reached), line
    if line.is_stats:
        run.num_stats += 1
        run.is_cut = parse_stats(line.text) is None
    elif rank == _BLOCKS:
        run.num_anchors += 1


def _divide(late: Sequence[LogLine]) -> tuple[list[LogLine], list[LogLine]]:
    """The lines after a summary: those of its own run, and those that another's stderr printed early.

    A run that has a summary failed, if it did, in its runs: an error of before them is another's.
    """
    another = any(line.is_setup_failure for line in late)
    early = []
    for line in late:
        is_error = line.marked_error or line.is_fatal if another else line.marked_error and not line.is_fatal
        if is_error or _EARLY.fullmatch(line.text):
            early.append(line)
    return [line for line in late if line not in early], early

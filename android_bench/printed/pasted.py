"""Parses a pasted log: the runs of benchmark_model in it, completed and failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from android_bench.adb_words import failure_said
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
from android_bench.printed.profile import Profile, profile_of
from android_bench.printed.run import ANCHOR, ECHO, BenchmarkReport, report_of, unfinished_report
from android_bench.printed.summary import summaries
from android_bench.reasons import Reason

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
"""The lines of a run in order; each occurs once, except the command, the flags and the blocks."""
_FLAGS = {
    *("graph", "num threads", "min num runs", "min warmup runs"),
    *("min runs duration (seconds)", "max runs duration (seconds)"),
    *(each.echo for each in DELEGATES),
}
"""The tool's names of the flags that a run repeats."""
_FIGURES = re.compile(
    r"(?<!microseconds\): )count=\d+ first=\d|nference timings in us: .*\d|Inference \(avg\): +\d"
)
"""What only the tool prints, wherever it stands."""
_OUR_PROGRAMS = re.compile(r"benchmark|\btaskset: ")
_EARLY = re.compile(
    r"Created TensorFlow Lite .*|Replacing \d+ out of .*|(?:Explicitly applied|Though) .* delegate.*"
    r"|.* nodes delegated out of .*|(?:First )?\d+ operations will run on the GPU.*"
    r"|(?:Unconsumed cmdline|Duplicate) flags: .*|Initialized TensorFlow Lite runtime\."
)
"""Lines from before the first block; if stderr was merged first, they precede the run's STARTING!."""


@dataclass(frozen=True, kw_only=True)
class ParsedLog:
    """The runs of a log, in order."""

    runs: tuple[BenchmarkReport, ...]
    profiles: tuple[Profile, ...]
    """Of each run; without operators where it was not profiled."""
    failures: tuple[Failure, ...]
    """Runs that failed or were cut."""


@dataclass(kw_only=True)
class _Run:
    """The lines of one run read so far."""

    lines: list[LogLine] = field(default_factory=list)
    begun: int = -1
    """The rank in _ORDER that it began with."""
    reached: int = -1
    """The last rank that was reached."""
    mixed: bool = False
    """Whether lines of another run stand between its own."""
    num_anchors: int = 0
    num_stats: int = 0
    is_cut: bool = False
    """Whether its last block of runs is cut."""
    refused: bool = False
    """The tool was not started, or died without output."""
    last: LogLine | None = None
    """The last line that the tool itself printed."""

    @property
    def is_of_the_tool(self) -> bool:
        failed = any(BENCHMARKING_FAILED in line.text for line in self.lines)
        return self.reached >= _STARTING or self.refused or failed

    @property
    def is_over(self) -> bool:
        """Whether it has a summary or says why it has none."""
        return self.reached >= _SUMMARY or self.refused or find_failure(self.lines, None) is not None


def parse_log(text: str) -> ParsedLog:
    """Every run of benchmark_model in a text. Raises nothing; empty for a text without runs.

    The text may hold several runs, shell prompts, logcat of several processes, and prefixes of any kind
    (prefixes.py). A run counts as completed if its summary is complete and agrees with its blocks. One with
    both blocks but without a summary is a report too, which is not valid.
    """
    lines, adb_failures = _without_adb(read_lines(text))
    fragments = [_split(stream) for stream in _streams(lines)]
    for stream in fragments:
        _mark_mixed(stream)
    runs = [run for stream in fragments for run in stream if run.is_of_the_tool]
    runs.sort(key=lambda run: run.lines[0].number)
    outcomes = [_outcome(run) for run in runs]
    failures = [*adb_failures, *(each for each in outcomes if isinstance(each, Failure))]
    told = [
        (run, each) for run, each in zip(runs, outcomes, strict=True) if isinstance(each, BenchmarkReport)
    ]
    if not runs and not failures:
        failures = [_inside(line) for line in lines if _FIGURES.search(line.text)][:1]
    return ParsedLog(
        runs=tuple(report for _, report in told),
        profiles=tuple(profile_of(run.lines) for run, _ in told),
        failures=tuple(sorted(failures, key=lambda each: each.line)),
    )


def _inside(line: LogLine) -> Failure:
    reason = (
        f"the tool's figures stand inside a longer line: '{line.quoted}'. Give its lines as it printed them"
    )
    return Failure(line=line.number, reason=reason)


def _without_adb(lines: Sequence[LogLine]) -> tuple[list[LogLine], list[Failure]]:
    """The lines that are not adb's, and what it failed at, each once."""
    rest, found = [], dict[str, Failure]()
    for line in lines:
        reason = failure_said(line.text)
        if reason is None:
            rest.append(line)
        else:
            found.setdefault(reason, Failure(line=line.number, reason=reason))
    return rest, list(found.values())


def _streams(lines: Sequence[LogLine]) -> Iterable[list[LogLine]]:
    """The lines of each process; all together if only one is named, since not every format names it."""
    if len({line.pid for line in lines} - {None}) <= 1:
        return [list(lines)]
    streams: dict[int | None, list[LogLine]] = {}
    for line in lines:
        streams.setdefault(line.pid, []).append(line)
    return streams.values()


def _outcome(run: _Run) -> BenchmarkReport | Failure:
    if failure := find_failure(run.lines, 1 if run.refused else None):
        return failure
    try:
        report = report_of(run.lines) if summaries(run.lines) else unfinished_report(run.lines)
    except LogError as error:
        last = run.last or run.lines[-1]
        return Failure(line=last.number, reason=str(error))
    if not run.mixed:
        return report
    mixed = Reason.SEVERAL_RUNS.text(found="the lines of two runs, one between the other")
    return replace(report, reasons=(mixed, *report.reasons))


def _mark_mixed(fragments: Sequence[_Run]) -> None:
    """Marks the runs of two processes that wrote into one text at once, and whose lines cannot be told apart.

    Where one goes on in the middle of a run that the lines before did not finish, these were of another.
    """
    together: list[_Run] = []
    for run in fragments:
        if run.begun <= _STARTING and together and together[-1].is_over:
            together = []
        together.append(run)
        goes_on = _STARTING < run.begun < _SUMMARY and not all(each.is_over for each in together[:-1])
        if goes_on or together[0].mixed:
            for each in together:
                each.mixed = True


def _split(lines: Iterable[LogLine]) -> list[_Run]:
    """The runs of one process's or one terminal's lines."""
    runs, late = [_Run()], list[LogLine]()
    for line in lines:
        rank = _rank(line)
        if rank is None and runs[-1].reached >= _SUMMARY:
            late.append(line)  # this run's, or the next one's stderr
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
    """The line's rank in _ORDER; None for a line that may occur anywhere."""
    if line.is_summary:
        return _SUMMARY
    if line.is_stats:
        return _BLOCKS
    echo = ECHO.fullmatch(line.text)
    if echo is not None and echo["name"].lower() in _FLAGS:
        return _ECHO
    return next((rank for rank, form in _ORDER if form.fullmatch(line.text)), None)


def _begins(rank: int, line: LogLine, run: _Run) -> bool:
    """Whether this line starts a new run."""
    if run.refused or rank < run.reached or (run.is_cut and line.text == LITERT_BLOCK):
        return True
    if rank == _BLOCKS:
        return run.num_stats >= 2 if line.is_stats else run.num_anchors >= 2
    return rank == run.reached and rank not in (_COMMAND, _ECHO)


def _add(line: LogLine, rank: int | None, run: _Run) -> None:
    if rank is None and line.is_crash and run.reached < _COMMAND:
        return  # from an earlier run
    run.lines.append(line)
    if rank is None:
        refusal = line.is_crash or (_OUR_PROGRAMS.search(line.text) and line.is_shell_error)
        run.refused |= bool(refusal) and run.reached <= _COMMAND
        return
    run.begun = rank if run.begun < 0 else run.begun
    run.reached, run.last = max(rank, run.reached), line
    if line.is_stats:
        run.num_stats += 1
        run.is_cut = parse_stats(line.text) is None
    elif rank == _BLOCKS:
        run.num_anchors += 1


def _divide(late: Sequence[LogLine]) -> tuple[list[LogLine], list[LogLine]]:
    """Splits the lines after a summary: those of the same run, and early stderr lines of the next run.

    A run with a summary can only have failed during its blocks: a setup error belongs to the next.
    """
    another = any(line.is_setup_failure for line in late)
    early = []
    for line in late:
        is_error = line.marked_error or line.is_fatal if another else line.marked_error and not line.is_fatal
        if is_error or _EARLY.fullmatch(line.text):
            early.append(line)
    return [line for line in late if line not in early], early

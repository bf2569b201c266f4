"""Parses single lines of a log: the prefix, the figures of a block of runs, and errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from android_bench.printed.prefixes import Prefixes
from android_bench.reasons import Reason

NUMBER = r"\d{1,18}(?:\.\d{1,18})?(?:e[+-]?\d{1,2})?"
"""A number as C++ streams print it, such as 747733, 14290.9 or 2.20029e+06; neither negative nor nan."""
BENCHMARKING_FAILED = "Benchmarking failed"
LITERT_BLOCK = "========== BENCHMARK RESULTS =========="
"""The first line of LiteRT v2's results."""
LONGEST_QUOTE = 1000

_LINE_END = re.compile(r"\r*\n")
_STATS = re.compile(
    r"count=(?P<count>\d{1,18})"
    rf"(?:(?: first=(?P<first_ms>{NUMBER}) curr=(?P<last_ms>{NUMBER}) min=(?P<min_ms>{NUMBER})"
    rf" max=(?P<max_ms>{NUMBER}) avg=(?P<avg_ms>{NUMBER}) std=(?P<std_ms>{NUMBER}))"
    rf"| curr=(?P<same>{NUMBER})(?P<all>\(all same\))?)?"
    rf"(?: p5=(?P<p5_ms>{NUMBER}) median=(?P<median_ms>{NUMBER}) p95=(?P<p95_ms>{NUMBER}))?"
)
_SLACK = 1e-5
"""avg= has six significant digits."""
_WHAT_FAILED = (
    r"Failed to (?:apply .*delegate|load model|mmap model|allocate tensors|parse .*flag{more})"
    r"|Disallowed CPU fallback detected|Required flag not provided"
)
_FATAL = re.compile(f"{BENCHMARKING_FAILED}|{_WHAT_FAILED.format(more='')}")
"""After one of these every version of the tool fails."""
_TELLING = re.compile(
    _WHAT_FAILED.format(more="|initialize|construct|create|invoke|build|compile")
    + "|Too few command line arguments|Cannot find the corresponding input_layer"
)
"""Lines that name what failed, marked as errors or not."""
_SOFT = re.compile(
    r"(?:Following|Next) operations are not supported by GPU delegate|[A-Z][A-Z0-9_]+(?: \S+)?:(?: |$)"
    r"|(?:First )?\d+ operations will run|usage: |Restored original execution plan"
)
"""Error lines that do not end the run, or that only follow from another error."""
_SHELL = re.compile(
    r"not executable|can't execute|cannot execute|CANNOT LINK EXECUTABLE|Permission denied|Exec format error"
    r"|inaccessible or not found|(?:: |command )not found|No such file or directory|Text file busy"
)
_CRASH = re.compile(
    r"(?:\S+\s+)?(?:\d+ )?(?:Segmentation fault|Aborted|Killed|Bus error|Illegal instruction)"
    r"(?: \(core dumped\))?(?:\s.*)?|.*\bFatal signal \d+ \(SIG\w+\).*"
)

_STATUSES = {
    126: "the phone's shell cannot execute it",
    127: "the phone's shell does not find it",
    132: "illegal instruction",
    134: "aborted",
    135: "bus error",
    136: "floating point exception",
    137: "killed",
    139: "segmentation fault",
    143: "terminated",
}


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line."""

    number: int
    """From 1."""
    text: str
    """Without its prefix, colours and outer spaces."""
    marked_error: bool
    """Whether its prefix marks it as an error."""
    pid: int | None
    """The process, in a logcat."""
    file: str
    """The source file that its prefix names; empty without."""
    ended: bool
    """False for a last line without a line end: it may have been cut."""

    @property
    def is_fatal(self) -> bool:
        """Whether the tool says here that the run failed."""
        return _FATAL.search(self.text) is not None

    @property
    def is_setup_failure(self) -> bool:
        """Whether the tool says here that the run failed before its first inference."""
        return self.is_fatal and BENCHMARKING_FAILED not in self.text

    @property
    def is_telling(self) -> bool:
        """Whether it names what failed, more than the benchmark itself."""
        return _TELLING.search(self.text) is not None and BENCHMARKING_FAILED not in self.text

    @property
    def is_error(self) -> bool:
        """Whether it is an error that ends the run and says more than that the benchmark failed."""
        said = self.marked_error and BENCHMARKING_FAILED not in self.text
        return (said or self.is_telling) and not _SOFT.match(self.text)

    @property
    def is_crash(self) -> bool:
        """Whether the shell or logcat says here that a signal ended the process."""
        return _CRASH.fullmatch(self.text) is not None

    @property
    def is_shell_error(self) -> bool:
        """Whether a shell or linker says here that a program cannot be started."""
        return _SHELL.search(self.text) is not None and " --" not in self.text

    @property
    def says_no_taskset(self) -> bool:
        """Whether the shell does not find the program that pins the tool to cores."""
        return self.is_shell_error and re.search(r"\btaskset: ", self.text) is not None

    @property
    def is_stats(self) -> bool:
        """Whether it holds a block's figures, complete or cut; false for the profiler's `Timings`."""
        return self.text.startswith("count=")

    @property
    def is_summary(self) -> bool:
        """Whether it is, or begins, a run's summary; it may be cut."""
        ends = ("Inference timings in us:", "Average inference timings in us:", LITERT_BLOCK)
        return self.text.startswith(ends)

    @property
    def quoted(self) -> str:
        """The text shortened for a message, without its final full stop."""
        short = self.text if len(self.text) <= LONGEST_QUOTE else f"{self.text[: LONGEST_QUOTE - 1]}…"
        return short.rstrip(" .!:")


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Number and times of a block of runs. None for what the tool did not print.

    If all runs took the same time (one run, or `(all same)`), every figure is that time.
    """

    count: int | None
    """None only if the text has the summary but not the block itself."""
    first_ms: float | None = None
    last_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    avg_ms: float | None = None
    std_ms: float | None = None
    p5_ms: float | None = None
    """None in versions before 2023, like the median and p95."""
    median_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that did not complete."""

    line: int
    """Line number of the error, from 1; for a cut run, its last line."""
    reason: str


def read_lines(text: str) -> list[LogLine]:
    """All lines that are not empty, without their prefixes (prefixes.py); lines end with LF or CRLF."""
    parts = _LINE_END.split(text)
    prefixes = Prefixes(parts)
    lines = []
    for number, part in enumerate(parts, start=1):
        bare = prefixes.bare(part)
        if bare is None or not bare.text:
            continue
        lines.append(
            LogLine(
                number=number,
                text=bare.text,
                marked_error=not {"E", "F", "A"}.isdisjoint(bare.levels),
                pid=bare.pid,
                file=bare.file,
                ended=number < len(parts),
            )
        )
    return lines


def parse_stats(text: str) -> Stats | None:
    """The figures of `count=50 first=... std=...[ p5=... median=... p95=...]`, which the line has in µs.

    None for a line that is cut or whose figures contradict each other; `count=0` gives Stats without figures.
    """
    found = _STATS.fullmatch(text)
    if found is None:
        return None
    count, same = int(found["count"]), found["same"]
    if count == 0:
        return Stats(count=0) if same is None and found["first_ms"] is None else None
    if same is not None:
        percentiles = {found["p5_ms"], found["median_ms"], found["p95_ms"]}
        whole = (count > 1) == (found["all"] is not None) and percentiles in ({None}, {same})
        return equal_runs(count, milliseconds(same)) if whole else None
    if found["first_ms"] is None or count == 1:
        return None
    told = found.groupdict().items()
    figures = {name: milliseconds(value) for name, value in told if name.endswith("_ms") and value}
    stats = Stats(count=count, **figures)
    return stats if _is_ordered(stats) else None


def find_failure(lines: Sequence[LogLine], status: int | None) -> Failure | None:
    """The failure shown by the lines of one run or its exit status; None without one.

    The reason is the first important error and its consequence.
    """
    crash = next((line for line in lines if line.is_crash), None)
    fatal = next((line for line in lines if line.is_fatal), None)
    if status in (None, 0) and crash is None and fatal is None:
        return None
    cause = first_error(lines) or next((line for line in lines if line.is_shell_error), None)
    effect = next((line for line in reversed(lines) if line.is_telling), None)
    effect = None if effect is cause else effect
    said = " (".join(line.quoted for line in (cause, effect) if line is not None)
    said += ")" if cause and effect else ""
    ended = crash.quoted if crash else _status_words(status, said)
    if cause is not None and cause.says_no_taskset:
        return Failure(line=cause.number, reason=Reason.NO_TASKSET.text(said=cause.quoted))
    where = cause or effect or crash or fatal or (lines[-1] if lines else None)
    parts = [said, ended] if said else [ended or BENCHMARKING_FAILED, _last_words(lines)]
    reason = Reason.FAILED.text(said="; ".join(part for part in parts if part))
    return Failure(line=where.number if where else 1, reason=reason)


def first_error(lines: Sequence[LogLine]) -> LogLine | None:
    """The first error that ends the run and says more than that it failed."""
    return next((line for line in lines if line.is_error), None)


def milliseconds(microseconds: str) -> float:
    """A printed number of µs as ms, with the same digits."""
    return round(float(microseconds) / 1000, 9)


def equal_runs(count: int, each_ms: float) -> Stats:
    """The figures of runs that all took the same time."""
    figures = dict.fromkeys((each.name for each in fields(Stats) if each.name != "count"), each_ms)
    return Stats(count=count, **(figures | {"std_ms": 0.0}))


def _is_ordered(stats: Stats) -> bool:
    """Whether the figures are consistent; if a line lost digits, they mostly are not."""
    smallest, largest = stats.min_ms or 0.0, stats.max_ms or 0.0
    inner = [stats.first_ms, stats.last_ms, stats.avg_ms, stats.p5_ms, stats.median_ms, stats.p95_ms]
    figures = [figure for figure in inner if figure is not None]
    percentiles = [each for each in (stats.p5_ms, stats.median_ms, stats.p95_ms) if each is not None]
    within = all(smallest * (1 - _SLACK) <= figure <= largest * (1 + _SLACK) for figure in figures)
    return within and smallest <= largest and percentiles == sorted(percentiles)


def _last_words(lines: Sequence[LogLine]) -> str:
    rest = [line for line in lines if BENCHMARKING_FAILED not in line.text and not line.is_crash]
    return f"the last line was '{rest[-1].quoted}'" if rest else "nothing was printed"


def _status_words(status: int | None, said: str) -> str:
    """The exit status as words to add to the reason."""
    if status in (None, 0) or (said and status in (1, 126, 127)):
        return ""
    code = 128 - status if status < 0 else status
    if code in _STATUSES:
        return f"{_STATUSES[code]} (status {status})"
    return f"ended by signal {code - 128} (status {status})" if 128 < code < 193 else f"exit status {status}"

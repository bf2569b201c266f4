"""`pipeline bench --from-log`: the runs of benchmark_model in any log. Nothing is stored."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from android_bench.delegates import Delegation
from android_bench.errors import LogError
from android_bench.printed.encoding import log_text, read_log, read_log_text
from android_bench.printed.lab_folder import LabRun, read_folder
from android_bench.printed.lines import Failure
from android_bench.printed.pasted import parse_log
from android_bench.printed.profile import OperatorTime
from pipeline.bench.table import MISSING, megabytes, milliseconds
from pipeline.commands.output import print_records, say, stdout_console
from pipeline.console import console
from pipeline.errors import PipelineError, UsageError
from spelling import counted

if TYPE_CHECKING:
    from rich.table import Table

STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class LogRecord:
    """A completed run. None for what the log does not contain."""

    where: str | None
    """The phone, where a lab's folder names it."""
    accelerator: str | None
    """The delegate that the lab was asked for, where its folder says so."""
    graph: str | None
    """The file's path on the phone."""
    tool: str
    """'tflite', or 'litert' for LiteRT v2's benchmark_model."""
    num_threads: int | None
    delegates: tuple[str, ...]
    """Each with the part of the graph that it took."""
    num_runs: int | None
    warmup_runs: int | None
    median_ms: float | None
    avg_ms: float | None
    std_ms: float | None
    min_ms: float | None
    max_ms: float | None
    p5_ms: float | None
    p95_ms: float | None
    first_ms: float | None
    init_ms: float | None
    init_memory_bytes: int | None
    overall_memory_bytes: int | None
    peak_memory_bytes: int | None
    model_size_bytes: int | None
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not the requested run."""
    operators: tuple[OperatorTime, ...]
    """The profile of the timed runs, where the run was profiled; not whole where the log is cut."""


Column = tuple[str, Callable[[LogRecord], str]]

_WHAT: tuple[Column, ...] = (
    ("threads", lambda record: MISSING if record.num_threads is None else str(record.num_threads)),
    ("runs", lambda record: MISSING if record.num_runs is None else str(record.num_runs)),
)
_LATENCY: tuple[Column, ...] = (
    ("median\nms", lambda record: milliseconds(record.median_ms)),
    ("avg\nms", lambda record: milliseconds(record.avg_ms)),
    ("p5\nms", lambda record: milliseconds(record.p5_ms)),
    ("p95\nms", lambda record: milliseconds(record.p95_ms)),
    ("min\nms", lambda record: milliseconds(record.min_ms)),
)
_REST: tuple[Column, ...] = (
    ("std\nms", lambda record: milliseconds(record.std_ms)),
    ("first\nms", lambda record: milliseconds(record.first_ms)),
    ("init\nms", lambda record: milliseconds(record.init_ms)),
    ("overall mem\nMB", lambda record: megabytes(record.overall_memory_bytes)),
    ("size\nMB", lambda record: megabytes(record.model_size_bytes)),
)


def show_log(source: str, *, as_json: bool) -> int:
    """Prints every completed run in a log (a path, a lab's folder, or '-' for stdin); returns 1 without one.

    Failed and cut runs are reported on stderr. UsageError for a path that cannot be read, PipelineError for a
    file that is not text.
    """
    name = "the input" if source == STDIN else source
    runs, failures, unread = _folder(source) if source != STDIN and _is_folder(source) else _log(source, name)
    records = [_record(run) for run in runs]
    if as_json:
        print_records(records)
    elif records:
        names = _names(records)
        _show(records, names)
        _show_profiles(runs, names)
    for path, failure in failures:
        say(f"{path}, line {failure.line}: a run did not complete: {failure.reason.rstrip('.')}.")
    for path, why in unread:
        say(f"{path} is not read: {why.rstrip('.')}.")
    if not records:
        say(
            f"{name} holds no completed run of benchmark_model. Give all that it printed, from STARTING! to "
            "its summary 'Inference timings in us: ...', stdout and stderr together (>log.txt 2>&1)."
        )
        return 1
    if not as_json:
        click.echo(_last_line(len(records), len(failures)))
    return 0


Failures = list[tuple[str, Failure]]
"""The failed runs, each with the name of its log."""
Unread = list[tuple[str, str]]
"""Files of a folder that cannot be read, and why."""


def _log(source: str, name: str) -> tuple[list[LabRun], Failures, Unread]:
    log = parse_log(_text(source, name))
    runs = [
        LabRun(where=None, accelerator=None, report=report, profile=profile)
        for report, profile in zip(log.runs, log.profiles, strict=True)
    ]
    return runs, [(name, failure) for failure in log.failures], []


def _is_folder(source: str) -> bool:
    try:
        return Path(source).is_dir()
    except ValueError:  # a NUL in a path
        return False


def _folder(source: str) -> tuple[list[LabRun], Failures, Unread]:
    try:
        found = read_folder(Path(source))
    except OSError as error:
        raise UsageError(
            f"{error.filename or source} cannot be read: {error.strerror}. Give a folder that you may read."
        ) from error
    if not found.num_files:
        raise UsageError(
            f"the folder {source} holds no log (.txt, .log, logcat, stdout) and no result file (results.pb). "
            "Give what a lab's session left, or a log's path."
        )
    failures = [(str(each.path), each.failure) for each in found.failures]
    return found.runs, failures, [(str(path), why) for path, why in found.unread]


def _text(source: str, name: str) -> str:
    try:
        return log_text(read_log(sys.stdin.buffer)) if source == STDIN else read_log_text(Path(source))
    except OSError as error:
        raise UsageError(
            f"the log {source} cannot be read: {error.strerror}. Give a log, a folder, or - for stdin."
        ) from error
    except ValueError as error:  # a NUL in a path
        raise UsageError(f"{source!r} is no path. Give a log, a folder, or - for stdin.") from error
    except LogError as error:
        raise PipelineError(f"{name} cannot be read: {error}.") from error


def _record(run: LabRun) -> LogRecord:
    report = run.report
    timed = report.timed
    return LogRecord(
        where=run.where,
        accelerator=run.accelerator,
        graph=report.graph,
        tool=report.tool,
        num_threads=report.num_threads,
        delegates=tuple(_delegate(each) for each in report.delegations),
        num_runs=timed.count,
        warmup_runs=report.warmup.count if report.warmup else None,
        median_ms=timed.median_ms,
        avg_ms=timed.avg_ms,
        std_ms=timed.std_ms,
        min_ms=timed.min_ms,
        max_ms=timed.max_ms,
        p5_ms=timed.p5_ms,
        p95_ms=timed.p95_ms,
        first_ms=report.first_ms,
        init_ms=report.init_ms,
        init_memory_bytes=report.init_memory_bytes,
        overall_memory_bytes=report.overall_memory_bytes,
        peak_memory_bytes=report.peak_memory_bytes,
        model_size_bytes=report.model_size_bytes,
        valid=not report.reasons,
        reasons=report.reasons,
        operators=run.profile.operators,
    )


def _delegate(delegation: Delegation) -> str:
    kind = delegation.name if delegation.kind == "other" else delegation.kind
    return f"{kind}: {delegation.share}"


def _show(records: Sequence[LogRecord], names: Sequence[str]) -> None:
    drawing = stdout_console()
    for table in _tables(records, names, width=drawing.width):
        drawing.print(table)
    for name, record in zip(names, records, strict=True):
        if record.delegates:
            click.echo(f"{name}: {', '.join(record.delegates)}.")
        for reason in record.reasons:
            click.echo(f"{name} is not valid: {reason}.")


def _show_profiles(runs: Sequence[LabRun], names: Sequence[str]) -> None:
    from pipeline.bench.phone_profile import file_profile
    from pipeline.commands.phones.profile import show_profiles

    profiled = [each for each in zip(names, runs, strict=True) if each[1].profile.operators]
    show_profiles(
        [
            file_profile(
                run.profile,
                name=name,
                delegate=" and ".join(dict.fromkeys(each.kind for each in run.report.delegations)) or "cpu",
                num_threads=run.report.num_threads,
                median_ms=run.report.timed.median_ms,
                reasons=(),  # shown with the latency
            )
            for name, run in profiled
        ]
    )
    for name, run in profiled:
        if not run.profile.complete:
            click.echo(f"{name}: the operators are not whole: the log's profile is cut or garbled.")


def _tables(records: Sequence[LogRecord], names: Sequence[str], *, width: int) -> list[Table]:
    """One table, or two with the same lines if one would be wider than `width` characters."""
    whole = _table(records, names, _WHAT + _LATENCY + _REST)
    if console(width=1000).measure(whole).maximum <= width:
        return [whole]
    return [_table(records, names, _WHAT + _LATENCY), _table(records, names, _REST)]


def _table(records: Sequence[LogRecord], names: Sequence[str], columns: Sequence[Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold", min_width=12)
    for heading, _ in columns:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for name, record in zip(names, records, strict=True):
        cells = (cell(record) for _, cell in columns)
        table.add_row(Text(name), *cells, style=None if record.valid else "dim")
    return table


def _names(records: Sequence[LogRecord]) -> list[str]:
    """The phones' and files' names; prefixed with the run's number if two are equal or one is missing."""
    told = [
        (record.where, record.accelerator, None if record.graph is None else _stem(record.graph))
        for record in records
    ]
    names = [" ".join(word for word in words if word) for words in told]
    return [
        name if name and names.count(name) == 1 else f"run {number} {name}".strip()
        for number, name in enumerate(names, start=1)
    ]


def _stem(path: str) -> str:
    name = PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
    return name.removesuffix(".tflite")


def _last_line(num_runs: int, num_failures: int) -> str:
    runs = counted(num_runs, "run")
    failed = f", {num_failures} that did not complete" if num_failures else ""
    return f"{runs}{failed}. Nothing was stored: a log names its file, but does not say what was in it."

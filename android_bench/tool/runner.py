"""One run of benchmark_model on one phone: the command, its result, and why it may not count."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from android_bench.delegates import (
    FLAGS,
    LITERT,
    TFLITE,
    TOOL_NAMES,
    Tool,
    delegate_named,
    delegation_reasons,
)
from android_bench.errors import AnswerLimitError, LogError, StorageError, TimeLimitError, ToolError
from android_bench.phone.device import split_sections
from android_bench.phone.session import LocalFile, Session
from android_bench.phone.tool_process import PID_FILE, written_down
from android_bench.phone.wire import ANSWER_LIMIT
from android_bench.printed.result_file import differences, read_result, with_result
from android_bench.printed.run import BenchmarkReport, count_reasons, parse_run
from android_bench.reasons import Reason
from android_bench.tool.beside import AFTER, BEFORE, reasons_beside

OURS = FLAGS | frozenset(
    [
        *("graph", "num_threads", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs"),
        *("use_cpu", "result_file_path"),
        *("enable_op_profiling", "op_profiling_output_mode", "op_profiling_output_file", "use_profiler"),
        *("input_layer", "input_layer_shape", "input_layer_value_files", "output_filepath"),
    ]
)
"""Flags that users may not pass: they have options, or name the files that the figures are read from."""
_RESULT, _PROFILE = "result.pb", "profile.csv"
_LITERT_MARKS = ("--dispatch_library_path", "benchmark_litert_model")
"""Texts in the --help output of LiteRT v2's tool."""
_LITERT_FLAGS = frozenset({"result_file_path"})
"""Flags not in every tool that LiteRT v2's tool has, since its help may list none."""
_THREAD_SAMPLES = 60
_FEW_SAMPLES = 3
"""With fewer samples than this the thread count of a run is unknown."""


@dataclass(frozen=True, kw_only=True)
class ToolFlags:
    """Which of the two tools it is, and the flags that it lists; an old one lists none."""

    kind: Tool
    names: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The settings of one run; names and meanings are benchmark_model's."""

    model: LocalFile
    size_bytes: int
    num_threads: int
    delegate: str
    mask: int | None
    """Bit mask of the CPUs to run on; None for any."""
    num_runs: int
    min_secs: float
    max_secs: float
    warmup_runs: int
    warmup_min_secs: float
    extra_flags: tuple[str, ...] = ()
    """Passed to the tool unchanged; none of OURS."""
    patience_secs: float
    """The tool is ended as hung when it exceeds its requested time by this much."""
    watch_threads: bool = False
    """Whether to count the process's threads while it runs."""
    profile: bool = False
    """Whether to measure each operator's time, which makes the run slower: its latency is not valid."""

    @property
    def limit_secs(self) -> float:
        """The timeout."""
        return self.warmup_min_secs + self.max_secs + self.patience_secs


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """The result of a run: a report, or else a short description of the failure."""

    report: BenchmarkReport | None
    failure: str | None
    reasons: tuple[str, ...]
    """Why the figures are not the requested ones."""
    beside: tuple[str, ...] = ()
    """Those of the reasons that may pass: what else ran on the phone."""
    profile: str | None = None
    output: str
    """The tool's whole output."""


def prepare(session: Session, tool: LocalFile) -> ToolFlags:
    """Puts the tool on the phone and probes its flags."""
    session.put([tool])
    return probe(session, tool)


def probe(session: Session, tool: LocalFile) -> ToolFlags:
    """Finds out from --help which of the two tools it is. ToolError if it does not run at all."""
    done = session.phone.shell(f"{shlex.quote(session.path_of(tool))} --help=true 2>&1")
    names = frozenset(re.findall(r"^\s*--([\w-]+)=", done.output, flags=re.MULTILINE))
    if not names and done.status >= 126:
        said = (done.output.strip() or "nothing").splitlines()[-1].replace(f"{session.path_of(tool)}: ", "")
        raise ToolError(
            f"{tool.path.name} does not run on phone {session.phone.serial} (status {done.status}: {said}). "
            "Give one that is built for its processor and its Android: --benchmark-model PATH"
        )
    if any(mark in done.output for mark in _LITERT_MARKS):
        return ToolFlags(kind=LITERT, names=names or _LITERT_FLAGS)
    return ToolFlags(kind=TFLITE, names=names)


def run(session: Session, tool: LocalFile, flags: ToolFlags, request: RunRequest) -> RunOutcome:
    """Runs the tool once and parses its text and its result file.

    The files must be on the phone (Session.put). DeviceError when the phone is lost; a tool that fails, hangs
    or is killed gives an outcome with a failure.
    """
    mark = secrets.token_hex(8)
    script = _script(session, tool, request, command_flags(session, flags, request), mark)
    try:
        done = session.phone.shell(script, limit_secs=request.limit_secs)
    except TimeLimitError:
        session.end_tool()  # raises where it is the phone that is hung
        return failed(Reason.HUNG.text(secs=f"{request.limit_secs:.0f}"))
    except AnswerLimitError:
        session.end_tool()
        return failed(Reason.PRINTED_WITHOUT_END.text(limit=ANSWER_LIMIT))
    printed, _, rest = done.output.partition(f"@@end {mark}")
    status, rest = split_end(rest)
    after = split_sections(rest)
    if status is None:
        return failed(Reason.NOT_STARTED.text(said=printed.strip() or "it said nothing"))
    try:
        report = parse_run(printed, status=status)
    except LogError as error:
        return failed("; ".join([str(error), *_size_there(after, request)]), printed)
    if not report.timed.count or report.timed.avg_ms is None:
        return failed(Reason.NO_STATISTICS.text(), printed)
    filed, doubts = _filed(session, report, flags)
    beside = reasons_beside(after, off_cpu=delegate_named(request.delegate).off_cpu)
    reasons = [
        *report.reasons,
        *delegate_reasons(report, request),
        *_thread_reasons(report, after, request, flags),
        *count_reasons(report.timed, request.num_runs, request.max_secs),
        *_size_reasons(report, after, request),
        *doubts,
        *beside,
    ]
    return RunOutcome(
        report=filed,
        failure=None,
        reasons=tuple(dict.fromkeys(reasons)),
        beside=tuple(beside),
        profile=_profile(session, printed, request, flags),
        output=printed,
    )


def command_flags(session: Session, flags: ToolFlags, request: RunRequest) -> list[str]:
    """The tool's flags for a request.

    ToolError for a delegate that this tool does not have.
    """
    ours = {
        "graph": session.path_of(request.model),
        "num_threads": str(request.num_threads),
        "num_runs": str(request.num_runs),
        "min_secs": f"{request.min_secs:g}",
        "max_secs": f"{request.max_secs:g}",
        "warmup_runs": str(request.warmup_runs),
        "warmup_min_secs": f"{request.warmup_min_secs:g}",
        **_delegate_flags(request.delegate, flags.kind),
    }
    if "result_file_path" in flags.names:
        ours["result_file_path"] = f"{session.folder}/{_RESULT}"
    if request.profile:
        ours |= _profile_flags(flags, session.folder)
    return [*(f"--{name}={value}" for name, value in ours.items()), *request.extra_flags]


def watched(command: str, mark: str, *, meanwhile: str = "") -> str:
    """Shell code that runs a tool in the background, where Session.end_tool can end it; prints its status."""
    return (
        f"{written_down(command)}{meanwhile}wait $pid; status=$?; rm -f {PID_FILE}; "
        f"echo; echo @@end {mark}; echo $status; "
    )


def split_end(text: str) -> tuple[int | None, str]:
    """The exit status after watched()'s mark (None without one), and the text after it."""
    found = re.match(r"\s*(\d+)\r?\n?", text)
    return (int(found.group(1)), text[found.end() :]) if found else (None, text)


def failed(why: str, output: str = "") -> RunOutcome:
    """The outcome of a run without figures."""
    return RunOutcome(report=None, failure=why, reasons=(), output=output)


def delegate_reasons(report: BenchmarkReport, request: RunRequest) -> list[str]:
    """The reason, if no line mentions the delegate; if one does, the report judges it."""
    kind = delegate_named(request.delegate).kind
    judged = {*report.asked_delegates, *(each.kind for each in report.delegations)}
    return [] if kind in judged else delegation_reasons((), [kind])


def _delegate_flags(word: str, tool: Tool) -> Mapping[str, str]:
    asked = delegate_named(word)
    if tool not in asked.flags:
        others = " or ".join(f"{TOOL_NAMES[other]}'s tool" for other in asked.flags)
        raise ToolError(
            Reason.NO_SUCH_DELEGATE.text(
                tool=TOOL_NAMES[tool], delegate=asked.title, others=others, word=word
            )
        )
    return asked.flags[tool]


def _profile_flags(flags: ToolFlags, folder: str) -> dict[str, str]:
    if flags.kind == LITERT:
        return {"use_profiler": "true"}
    if "op_profiling_output_file" in flags.names:
        return {
            "enable_op_profiling": "true",
            "op_profiling_output_mode": "csv",
            "op_profiling_output_file": f"{folder}/{_PROFILE}",
        }
    return {"enable_op_profiling": "true"}


def _script(session: Session, tool: LocalFile, request: RunRequest, flags: Sequence[str], mark: str) -> str:
    """The phone's shell script. The tool runs in the background, so that the shell can watch and end it."""
    pinned = [] if request.mask is None else ["taskset", f"{request.mask:x}"]
    command = shlex.join([*pinned, session.path_of(tool), *flags])
    watch = _WATCH_THREADS if request.watch_threads else ""
    return (
        f"exec 2>&1; cd {session.folder} || exit 97; rm -f {_RESULT} {_PROFILE}; most=0; looks=0; {BEFORE}"
        f"{watched(command, mark, meanwhile=watch)}echo @@threads; echo $most $looks; {AFTER}"
        f"echo @@size; wc -c < {session.path_of(request.model)}"
    )


_WATCH_THREADS = (
    f"while [ $looks -lt {_THREAD_SAMPLES} ] && [ -e /proc/$pid/exe ]; do "
    "set -- /proc/$pid/task/*; [ $# -gt $most ] && most=$#; looks=$((looks + 1)); sleep 0.05; done; "
)


def _thread_reasons(
    report: BenchmarkReport, after: dict[str, str], request: RunRequest, flags: ToolFlags
) -> list[str]:
    if request.num_threads > 1 and flags.kind == TFLITE and report.num_threads != request.num_threads:
        told = "none" if report.num_threads is None else str(report.num_threads)
        found = f"the tool took note of {told}"
        return [Reason.THREADS_IGNORED.text(asked=request.num_threads, found=found)]
    most, looks = (int(word) for word in (after.get("threads", "").split() or ["0", "0"])[:2])
    if not request.watch_threads or most >= request.num_threads:
        return []
    if looks < _FEW_SAMPLES:
        return [Reason.THREADS_NOT_COUNTED.text(asked=request.num_threads)]
    return [Reason.THREADS_IGNORED.text(asked=request.num_threads, found=f"{most} ran")]


def _size_reasons(report: BenchmarkReport, after: dict[str, str], request: RunRequest) -> list[str]:
    told = report.model_size_bytes
    if told is not None and abs(told - request.size_bytes) > max(request.size_bytes * 1e-5, 1):
        return [Reason.OTHER_FILE_RUN.text(found=f"{told:,}", asked=f"{request.size_bytes:,}")]
    return _size_there(after, request)


def _size_there(after: dict[str, str], request: RunRequest) -> list[str]:
    there = after.get("size", "").strip()
    if not there.isdecimal() or int(there) == request.size_bytes:
        return []
    return [Reason.OTHER_FILE.text(found=f"{there} bytes, not {request.size_bytes}")]


def _filed(session: Session, report: BenchmarkReport, flags: ToolFlags) -> tuple[BenchmarkReport, list[str]]:
    """The report with the result file's figures, and the reasons where file and text differ.

    A tool too old to write a result file needs none.
    """
    if "result_file_path" not in flags.names:
        return report, []
    try:
        result = read_result(session.phone.pull([f"{session.folder}/{_RESULT}"])[0])
    except StorageError:
        return report, [Reason.NO_RESULT_FILE.text()]
    except AnswerLimitError:
        return report, [Reason.BAD_RESULT_FILE.text(why=f"it has more than {ANSWER_LIMIT}")]
    except LogError as error:
        return report, [Reason.BAD_RESULT_FILE.text(why=error)]
    found = list(differences(report, result))
    return (report if found else with_result(report, result)), found


def _profile(session: Session, printed: str, request: RunRequest, flags: ToolFlags) -> str | None:
    if not request.profile:
        return None
    if "op_profiling_output_file" not in _profile_flags(flags, session.folder):
        return printed
    return session.phone.pull([f"{session.folder}/{_PROFILE}"])[0].decode(errors="replace")

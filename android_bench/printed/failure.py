"""Why a run of benchmark_model failed: its own errors, the shell's, and its exit status."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from android_bench.printed.lines import LogLine

LONGEST_QUOTE = 160
_ENDED = "Benchmarking failed"
_FATAL = re.compile(
    r"Benchmarking failed|Failed to (?:apply .*delegate|load model|mmap model|allocate tensors|parse .*flag)"
    r"|Disallowed CPU fallback detected|Required flag not provided"
)
"""After one of these the tool ends without a success, in every version."""
_TELLING = re.compile(
    r"Failed to (?:apply .*delegate|load model|mmap model|allocate tensors|parse .*flag|initialize|construct"
    r"|create|invoke|build|compile)|Disallowed CPU fallback detected|Required flag not provided"
    r"|Too few command line arguments|Cannot find the corresponding input_layer"
)
"""They tell what failed, whether or not the tool marks them as errors."""
_SOFT = re.compile(
    r"(?:Following|Next) operations are not supported by GPU delegate|[A-Z][A-Z0-9_]+(?: \S+)?:(?: |$)"
    r"|(?:First )?\d+ operations will run|usage: |Restored original execution plan"
)
"""Error lines that the run survives, or that only follow from another."""
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
class Failure:
    """A run that did not complete."""

    line: int
    """Where it says so, from 1; for a run that was cut, its last line."""
    reason: str


def find_failure(lines: Sequence[LogLine], status: int | None) -> Failure | None:
    """The failure that the lines of one run tell of, or its exit status; None where they tell of none.

    The reason is the first error that matters, and what it led to.
    """
    crash = next((line for line in lines if _CRASH.fullmatch(line.text)), None)
    fatal = next((line for line in lines if _FATAL.search(line.text)), None)
    if status in (None, 0) and crash is None and fatal is None:
        return None
    cause = first_error(lines)
    if cause is None:
        cause = next((line for line in lines if is_shell_error(line.text)), None)
    effect = last_effect(lines, cause)
    said = " (".join(quoted(line.text) for line in (cause, effect) if line is not None)
    said += ")" if cause and effect else ""
    ended = quoted(crash.text) if crash else _status_words(status, said)
    where = cause or effect or crash or fatal or (lines[-1] if lines else None)
    parts = [said, ended] if said else [ended or _ENDED, *_last_words(lines)]
    return Failure(line=where.number if where else 1, reason="; ".join(part for part in parts if part))


def first_error(lines: Sequence[LogLine]) -> LogLine | None:
    """The first error that a run does not survive, and that says more than that it failed."""
    return next(
        (
            line
            for line in lines
            if (line.is_error or _TELLING.search(line.text))
            and not _SOFT.match(line.text)
            and _ENDED not in line.text
        ),
        None,
    )


def last_effect(lines: Sequence[LogLine], cause: LogLine | None) -> LogLine | None:
    """The last line that names what failed, where it is not the cause itself."""
    effects = [line for line in lines if _TELLING.search(line.text) and _ENDED not in line.text]
    return effects[-1] if effects and effects[-1] is not cause else None


def is_fatal(text: str) -> bool:
    """Whether a line says that the run failed, in the tool's words."""
    return _FATAL.search(text) is not None


def is_setup_failure(text: str) -> bool:
    """Whether it failed before its first inference."""
    return is_fatal(text) and _ENDED not in text


def is_crash(text: str) -> bool:
    """Whether the shell or logcat says that the process was ended by a signal."""
    return _CRASH.fullmatch(text) is not None


def is_shell_error(text: str) -> bool:
    """Whether it is a shell's or linker's word that a program cannot be started."""
    return _SHELL.search(text) is not None and " --" not in text


def quoted(text: str) -> str:
    """A line short enough for a message, without the full stop at its end."""
    short = text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"
    return short.rstrip(" .!:")


def _last_words(lines: Sequence[LogLine]) -> list[str]:
    rest = [line for line in lines if _ENDED not in line.text and not is_crash(line.text)]
    return [f"the last line was '{quoted(rest[-1].text)}'"] if rest else ["nothing was printed"]


def _status_words(status: int | None, said: str) -> str:
    """What the exit status adds to what the lines say."""
    if status in (None, 0) or (said and status in (1, 126, 127)):
        return ""
    code = 128 - status if status < 0 else status
    if code in _STATUSES:
        return f"{_STATUSES[code]} (status {status})"
    return f"ended by signal {code - 128} (status {status})" if 128 < code < 193 else f"exit status {status}"

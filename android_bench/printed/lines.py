"""The lines of a log without what stands in front of them: time, process, level, place in the source."""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = r"\d{1,18}(?:\.\d{1,18})?(?:e[+-]?\d{1,2})?"
"""A number as C++ streams print it, such as 747733, 14290.9 or 2.20029e+06; neither negative nor nan."""

_LINE_END = re.compile(r"\r*\n")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)?\s+")
_DAY_AND_TIME = r"(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d+\s+"
_LOGCAT = (
    re.compile(_DAY_AND_TIME + r"(?P<pid>\d{1,9})\s+\d+\s+(?P<level>[VDIWEF])\s+[^:]*:\s?"),
    re.compile(rf"(?:{_DAY_AND_TIME})?" + r"(?P<level>[VDIWEF])/[^(:]*\(\s*(?P<pid>\d{1,9})\):\s?"),
)
_ABSL = re.compile(r"(?P<level>[IWEF])\d{4}(?:\d{4})?\s+\d\d:\d\d:\d+\.\d+\s+\d+\s+[^\s\]]+:\d+\]\s?")
_WORD = re.compile(r"(?P<level>VERBOSE|DEBUG|INFO|WARN|ERROR|FATAL|WARNING):\s?(?:\[[^\[\]\s]+:\d+\]\s?)?")


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line."""

    number: int
    """From 1."""
    text: str
    """Without its prefix, colours and outer spaces."""
    is_error: bool
    pid: int | None
    """The process, where the log is logcat's."""
    ended: bool
    """False for the last line of a text that has no line end there: it may have been cut."""


def read_lines(text: str) -> list[LogLine]:
    """Every line that says something.

    A prefix may be none, `INFO: `, `INFO: [file:line] `, absl's `I0000 00:00:1758.5 62590 file.cc:51] `,
    logcat's (threadtime, time, brief), or an ISO time; lines end with LF or CRLF.
    """
    parts = _LINE_END.split(text)
    lines = [_read(part, number, ended=number < len(parts)) for number, part in enumerate(parts, start=1)]
    return [line for line in lines if line.text]


def _read(raw: str, number: int, *, ended: bool) -> LogLine:
    rest, levels, pid = _COLOUR.sub("", raw).strip(), "", None
    if time := _ISO_TIME.match(rest):
        rest = rest[time.end() :]
    for form in _LOGCAT:
        if found := form.match(rest):
            rest, levels, pid = rest[found.end() :].lstrip(), found["level"], int(found["pid"])
            break
    for form in (_ABSL, _WORD):
        if found := form.match(rest):
            rest, levels = rest[found.end() :].lstrip(), levels + found["level"][0]
    is_error = "E" in levels or "F" in levels
    return LogLine(number=number, text=rest, is_error=is_error, pid=pid, ended=ended)

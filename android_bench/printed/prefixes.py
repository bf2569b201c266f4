"""What stands before the tool's own words on a line of a log: logcat, Android Studio, quotes, grep, times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_QUOTE = re.compile(r"^(?:>\s?)+")
_LEVEL = r"(?P<level>[VDIWEFAS])"
_END = r":(?:\s|$)"
_CLOCK = r"\d\d:\d\d:\d\d\.\d{3,9}"
_STAMP = rf"(?:(?:(?:\d{{4}}-)?\d\d-\d\d )?{_CLOCK}(?: [+-]\d{{4}})?|\d{{1,12}}\.\d{{3,9}})"
"""A date and time, a time, or seconds (-v epoch, monotonic); a zone where asked for (-v zone)."""
_LOGCAT = tuple(
    re.compile(form)
    for form in (
        # threadtime
        rf"{_STAMP}\s+(?:[\w.-]+\s+)??(?P<pid>\d{{1,9}})\s+\d+\s+{_LEVEL}\s.*?{_END}",
        # time and brief
        rf"(?:{_STAMP}:?\s+)?{_LEVEL}/[^(]*?\((?:\s*[\w.-]+:)?\s*(?P<pid>\d{{1,9}})\){_END}",
        # Android Studio until 2022, and tag
        rf"(?:{_STAMP}\s+)?(?:(?P<pid>\d{{1,9}})(?:-\d+)?/\S*\s+|[\w.?]+\.[\w.?]+\s+)?{_LEVEL}/[^\s:(][^\s(]*?\s*{_END}",
        # Android Studio since 2022
        rf"{_STAMP}\s+(?P<pid>\d{{1,9}})(?:-\d+)?\s+(?:\S.*?\s)?{_LEVEL}(?:\s{{1,2}}|$)",
        rf"(?P<pid>\d{{1,9}})-\d+\s+(?:\S.*?\s)?{_LEVEL}(?:\s{{1,2}}|$)",
        rf"{_STAMP}\s+(?:\S.*?\s)?{_LEVEL}(?:\s\s|$)",
        rf"[\w.:]{{1,40}}\s{{2,}}(?:[\w.:-]{{1,60}}\s{{2,}})?{_LEVEL}\s\s",
    )
)
_PROCESS = re.compile(rf"{_LEVEL}\((?P<ids>[\w.: -]*\d)\)(?:\s(?P<rest>.*?)(?P<tag>\s\s\([^()]*\))?)?$")
"""process, its tag at the end, and thread."""
_HEADER = re.compile(
    rf"\[ *{_STAMP}\s+(?:[\w.-]+:)??\s*(?P<pid>\d{{1,9}}):\s*(?:\d+|0x[\da-f]+) {_LEVEL}/.*\]"
)
"""long: a line of its own before the message."""
_ADDED = re.compile(r"-+ (?:beginning of|switch to) \w+|--|-{5,} PROCESS (?:STARTED|ENDED) .*|`{3,}\w*")
"""Lines that logcat, Android Studio or Markdown add."""
_TIME = re.compile(
    r"\[?(?:\d{4}[-/]\d\d[-/]\d\d[T ]|[A-Z][a-z]{2} {1,2}\d{1,2} )\d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"(?:Z|\s?[+-]\d\d:?\d\d)?\]?:?\s+"
)
_ABSL = re.compile(
    r"(?P<level>[IWEF])\d{4}(?:\d{4})?\s+\d\d:\d\d:\d+\.\d+\s+\d+\s+(?P<file>[^\s\]]+):\d+\]\s?"
)
_WORD = re.compile(
    r"(?P<level>VERBOSE|DEBUG|INFO|WARN|ERROR|FATAL|WARNING):\s?(?:\[(?P<file>[^\[\]\s]+):\d+\]\s?)?"
)
_OWN_WORDS = re.compile(
    r"STARTING!|(?:Average i|I)nference timings in us: |Running benchmark for at least \d|Num threads: \["
    r"|(?:/system/bin/)?sh: |Running TensorFlow Lite benchmark with args: "
    r"|(?<!\(microseconds\): )count=\d+ \w+="
    r"|Log parameter values verbosely: \[|Initialized session in \d|The input model file size \(MB\): "
    r"|={10} BENCHMARK RESULTS =|Model initialization: |Inference \(\w+\): |Benchmarking failed"
    r"|Failed to (?:load|mmap) model |Loaded model \S|Graph: \["
)
"""Words that only the tool begins a line with."""
_MENTION = re.compile(rf"(?:(?<![\w/])|(?<=\\[nrt]))(?:{_OWN_WORDS.pattern})")
"""The same anywhere, also behind an escaped line break."""
_PARTS = (
    *(
        "STARTING!",
        "timings in us",
        "Running ",
        "hreads: [",
        "sh: ",
        "count=",
        "verbosely: ",
        "Initialized session",
    ),
    *(
        "input model file",
        "BENCHMARK RESULTS",
        "Model init",
        "Inference (",
        "Benchmarking failed",
        "Failed to ",
    ),
    *("Loaded model ", "Graph: ["),
)
"""One of these stands in each of them; faster to look for."""
_FILE_NAMES = (re.compile(r"\S+"), re.compile(r"(?:[A-Za-z]:)?[^:]{1,80}\.\w{1,6}(?::\d+)?:"))
"""What may hold grep's file and number: a name has spaces only where it has an ending."""


@dataclass(frozen=True, kw_only=True)
class Bare:
    """A line's own words."""

    text: str
    levels: str
    """The letters of its prefixes' levels, such as E."""
    pid: int | None = None
    file: str = ""
    """The source file that its prefix names."""


class Prefixes:
    """Takes the prefixes off the lines of one text, in their order."""

    def __init__(self, raws: Iterable[str]) -> None:
        self._grep = _grep_prefix(raws)
        self._header: Bare | None = None

    def bare(self, raw: str) -> Bare | None:
        """The line without its prefixes; None for one that is none of the tool's."""
        rest = _unwrapped(raw, self._grep)
        if not rest:
            self._header = None
            return None
        if found := _HEADER.fullmatch(rest):
            self._header = Bare(text="", levels=found["level"], pid=int(found["pid"]))
            return None
        if _ADDED.fullmatch(rest):
            return None
        rest, levels, pid = _without_logcat(rest)
        if pid is None and not levels and self._header is not None:
            levels, pid = self._header.levels, self._header.pid
        file = ""
        for form in (_ABSL, _WORD):
            if found := form.match(rest):
                rest, levels = rest[found.end() :].lstrip(), levels + found["level"][0]
                file = found["file"] or file
        return Bare(text=rest, levels=levels, pid=pid, file=file)


def mentions(text: str) -> bool:
    """Whether words that only the tool begins a line with stand anywhere in the text."""
    return any(part in text for part in _PARTS) and _MENTION.search(text) is not None


def begins_the_tools_line(text: str) -> bool:
    """Whether it begins with words that only the tool prints, behind a logger's or logcat's prefix."""
    rest = text.strip()
    if _OWN_WORDS.match(rest):
        return True
    if not mentions(rest[:2000]):
        return False
    rest, _, _ = _without_logcat(rest)
    for form in (_ABSL, _WORD):
        if found := form.match(rest):
            rest = rest[found.end() :].lstrip()
    return bool(_OWN_WORDS.match(rest))


def _unwrapped(raw: str, grep: re.Pattern[str] | None) -> str:
    """The line without colours, quotes, grep's file and number, and a time that is not logcat's."""
    rest = COLOUR.sub("", raw).strip("\ufeff \t\r\n\f\v\x00")
    rest = _QUOTE.sub("", rest, count=1)
    if grep is not None and not _begins_a_line(rest) and (found := grep.match(rest)):
        shorter = rest[found.end("file") :] if found["file"] else ""
        rest = shorter if _begins_a_line(shorter) else rest[found.end() :]
    rest = _QUOTE.sub("", rest.strip(), count=1)
    if not _is_logcat(rest) and (found := _TIME.match(rest)):
        rest = rest[found.end() :].strip()
    return rest


def _is_logcat(text: str) -> bool:
    return any(form.match(text) for form in (*_LOGCAT, _PROCESS, _HEADER))


def _without_logcat(text: str) -> tuple[str, str, int | None]:
    """The message, its level and its process."""
    for form in _LOGCAT:
        if found := form.match(text):
            pid = found.groupdict().get("pid")
            return text[found.end() :].strip(), found["level"], None if pid is None else int(pid)
    if found := _PROCESS.fullmatch(text):
        ids = [word.strip() for word in found["ids"].split(":")]
        told = ids[-1] if found["tag"] or len(ids) == 1 else ids[-2]
        return (found["rest"] or "").strip(), found["level"], int(told) if told.isdecimal() else None
    return text, "", None


def _grep_prefix(raws: Iterable[str]) -> re.Pattern[str] | None:
    """The pattern of what grep put before the lines; None if it did not."""
    lines = (_QUOTE.sub("", COLOUR.sub("", raw).strip(), count=1) for raw in raws)
    files = {file for line in lines if (file := _grep_file(line)) is not None}
    if not files:
        return None
    names = "|".join(re.escape(file) for file in sorted(files, key=len, reverse=True) if file) or "(?!)"
    number = r"|\d+[:-]" if "" in files else ""
    return re.compile(rf"(?P<file>(?:{names})[:-])(?:\d+[:-])?{number}")


def _grep_file(line: str) -> str | None:
    """The file that grep found the line in, empty if it only gave a number; None if grep did not find it."""
    if not line or _begins_a_line(line) or _TIME.match(line):
        return None
    heads = (form.match(line) for form in _FILE_NAMES)
    ends = {at.end() for head in heads if head is not None for at in re.finditer("[:-]", head[0])}
    for end in sorted(ends):
        if line[end : end + 1].strip() and _begins_a_line(line[end:]):
            return re.sub(r"(?:^|[:-])\d+$", "", line[: end - 1])
    return None


def _begins_a_line(text: str) -> bool:
    return bool(_OWN_WORDS.match(text) or _WORD.match(text) or _ABSL.match(text)) or _is_logcat(text)

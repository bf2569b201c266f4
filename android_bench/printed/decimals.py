"""Figures that a spreadsheet or a browser wrote with decimal commas, as the tool writes them."""

from __future__ import annotations

import re

from android_bench.errors import LogError
from android_bench.printed.prefixes import mentions

_FIGURE = re.compile(
    r"(?:\b(?:avg|std)=|\((?:avg|min|max)\): +|\bat least |timings in us: (?:.{0,200}: )?)"
    r"\d+,\d+(?!\d|,\d)"
)
"""A figure of the tool's with a comma; a whole number never has one."""
_WHOLE = re.compile(
    r"\b(?:(?:count|first|curr|min|max|p5|median|p95)="
    r"|timings in us: (?:.{0,200}, )?(?:Init|First inference): )"
    "\\d{1,3}(?:[.,'\u2019\u00a0\u202f]\\d{3})+(?!\\d)"
)
"""Whole microseconds with their thousands apart."""
_TOLD = re.compile(
    r"count=\d|(?:Average i|I)nference timings in us: |Running benchmark for at least "
    r"|Initialized session in |The input model file size |Memory footprint delta |Peak memory footprint "
    r"|Overall peak memory "
    r"|(?:Model initialization|Warmup|Inference|Init footprint|Overall footprint|Peak memory)\b[^:]*: "
)
"""Where a line with figures begins, behind any prefix."""
_COMMA = re.compile(r"(?<=\d),(?=\d)")
_ROW = re.compile(r"\S.*\s-?\d+,\d+\s+-?\d+,\d+\s.*\d,\d+%\s")
"""A row of a profile."""


def with_points(text: str) -> str:
    """The text, its figures with decimal points. LogError if their thousands are apart."""
    telling = "\n".join(filter(mentions, text.split("\n")))
    if grouped := _WHOLE.search(telling):
        raise LogError(
            f"its figures have their thousands apart ({grouped[0]}), so that 7.105 may be seven or seven "
            "thousand. Give the log as the tool printed it"
        )
    if not _FIGURE.search(telling):
        return text
    return "\n".join(map(_pointed, text.split("\n")))


def _pointed(line: str) -> str:
    found = _TOLD.search(line)
    begin = found.start() if found else 0 if _ROW.match(line) else len(line)
    return line[:begin] + _COMMA.sub(".", line[begin:])

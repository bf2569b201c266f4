"""The text of a log, as the programs write it that save logs."""

from __future__ import annotations

import codecs

from android_bench.errors import LogError
from android_bench.printed.unwrapping import unwrapped

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The longer marks first: one begins with another."""


def log_text(content: bytes) -> str:
    """The tool's lines in the content. LogError with what to do if there are none to be read.

    The content may be UTF-8, UTF-16 (PowerShell's >) or UTF-32, and what unwrapping.py takes off.
    """
    return unwrapped(_decoded(content))


def _decoded(content: bytes) -> str:
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    num_nul = content.count(0)
    if not num_nul:
        return content.decode("utf-8-sig", errors="replace")
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if content[first::2].count(0) == num_nul and num_nul * 4 > len(content):
            return content.decode(encoding, errors="replace")
    raise LogError(
        "it is not text: it holds NUL bytes. Give what benchmark_model printed, not a model or its result "
        "file"
    )

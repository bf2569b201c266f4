"""The text of a log, as the programs write it that save logs."""

from __future__ import annotations

import codecs
import json

from android_bench.errors import LogError

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_STUDIO = "logcatMessages"


def log_text(content: bytes) -> str:
    """The content as text. LogError if it is none.

    UTF-8; UTF-16, as PowerShell's > writes it; and the JSON of Android Studio's "Export logs to file".
    """
    text = _decoded(content)
    if text.lstrip().startswith("{") and _STUDIO in text:
        return _exported(text)
    return text


def _decoded(content: bytes) -> str:
    if content.startswith(_MARKS):
        return content.decode("utf-16", errors="replace")
    num_nul = content.count(0)
    if not num_nul:
        return content.decode("utf-8-sig", errors="replace")
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if content[first::2].count(0) == num_nul and num_nul * 4 > len(content):
            return content.decode(encoding, errors="replace")
    raise LogError("it holds NUL bytes")


def _exported(text: str) -> str:
    """The messages that Android Studio exported, as lines of logcat."""
    try:
        messages = json.loads(text)[_STUDIO]
        lines = [
            f"{each['header']['timestamp']['seconds']}.000 {each['header']['pid']} {each['header']['tid']} "
            f"{each['header']['logLevel'][0]} {each['header']['tag']}: {line}"
            for each in messages
            for line in each["message"].splitlines()
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise LogError("it begins like an export of Android Studio, but is cut") from error
    return "".join(f"{line}\n" for line in lines)

"""The log inside a text, out of everything that other programs put around it."""

from __future__ import annotations

import quopri
import re

from android_bench.errors import LogError
from android_bench.printed.decimals import with_points
from android_bench.printed.html_text import text_in_html, without_entities
from android_bench.printed.json_text import text_in_json
from android_bench.printed.line_frames import (
    without_bars,
    without_heads,
    without_numbers,
    without_quotes,
    without_times,
)
from android_bench.printed.prefixes import COLOUR, Prefixes, begins_the_tools_line, mentions
from android_bench.printed.time_order import oldest_first

_MOST_LAYERS = 6
_MOST_TRIES = 60
_QUOTED_PRINTABLE = re.compile(r"\w=3D\d|(?:=3D){5}")


def _of_a_mail(text: str) -> str | None:
    """The text of a mail's source, where '=' is '=3D' and long lines are broken."""
    if not _QUOTED_PRINTABLE.search(text):
        return None
    plain = quopri.decodestring(text.encode()).decode(errors="replace")
    return plain if plain != text else None


_LAYERS = (without_quotes, without_numbers, without_bars, without_times, without_heads)


def unwrapped(text: str) -> str:
    """The text without JSON, HTML, tables, numbers and the like around the tool's lines.

    What is around every line is taken off in any order; the most lines that only the tool begins decide, so
    that a log that can be read as it is stays. One whose newest line is first is turned round. LogError if
    nothing can be read, and why.
    """
    search = _Search()
    search.visit(COLOUR.sub("", text), _MOST_LAYERS)
    if search.num_ours == 0 and search.refusal is not None:
        raise search.refusal
    return with_points(search.best if search.num_ours else oldest_first(text))


class _Search:
    """The best text found so far, and the first layer's refusal."""

    def __init__(self) -> None:
        self.best = ""
        self.num_ours = 0
        self.refusal: LogError | None = None
        self._seen = set[str]()

    def visit(self, text: str, num_layers: int) -> None:
        text = oldest_first(text)
        if text in self._seen or len(self._seen) >= _MOST_TRIES:
            return
        self._seen.add(text)
        num_ours = _num_ours(text)
        try:
            inside = text_in_json(text) or _shown(text, num_ours) or _of_a_mail(text)
        except LogError as error:
            self.refusal = self.refusal or error
            return
        if inside is not None and num_layers:
            self.visit(inside, num_layers - 1)
            return
        if num_ours > self.num_ours:
            self.best, self.num_ours = without_entities(text), num_ours
        for layer in _LAYERS if num_layers else ():
            try:
                inside = layer(text)
            except LogError:
                if not self.num_ours:
                    raise
                continue
            if inside is not None:
                self.visit(inside, num_layers - 1)


def _shown(text: str, num_ours: int) -> str | None:
    """The text of HTML, unless lines of the tool would be lost."""
    inside = text_in_html(text)
    return inside if inside is not None and _num_ours(inside) >= num_ours else None


def _num_ours(text: str) -> int:
    """The number of lines that only the tool begins."""
    telling = [line for line in text.splitlines() if mentions(line)]
    bare = Prefixes(telling)
    return sum(each is not None and begins_the_tools_line(each.text) for each in map(bare.bare, telling))

"""The text of HTML or XML as a browser shows it: a saved page, a copied `<pre>`, a test's report."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_LINES = frozenset(
    (
        *("html", "head", "body", "p", "div", "pre", "hr", "table", "thead", "tbody", "tr", "ul", "ol", "li"),
        *(
            "dl",
            "dt",
            "dd",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "details",
            "summary",
            "blockquote",
            "section",
        ),
        *("article", "main", "header", "footer", "nav", "form", "figure"),
        *("testsuites", "testsuite", "testcase", "system-out", "system-err", "failure", "error", "log"),
    )
)
"""Elements that begin and end a line; the last ones are of test reports."""
_CELLS = frozenset(("td", "th", "a"))
"""Elements after which there is a gap: a cell, and a line's number as a link."""
_INLINE = frozenset(
    (
        *(
            "br",
            "span",
            "code",
            "b",
            "i",
            "em",
            "strong",
            "font",
            "small",
            "samp",
            "kbd",
            "tt",
            "u",
            "s",
            "sup",
        ),
        *("sub", "time", "del", "ins", "mark", "img", "path", "g", "use", "input", "label", "meta", "link"),
        *("base", "noscript", "colgroup", "col", "abbr", "include-fragment", "clipboard-copy"),
    )
)
_HIDDEN = frozenset(("script", "style", "svg", "title", "template", "button"))
"""Elements whose text is not shown as part of a log."""
_TAG = re.compile(
    r"<(?P<end>/?)(?P<name>[A-Za-z][\w-]{0,30})(?P<rest>(?:\s(?:[^<>\"']|\"[^\"<]{0,9999}\"|'[^'<]{0,9999}')*)?)\s*/?>"
)
_KNOWN = re.compile(rf"</?(?:{'|'.join(sorted(_LINES | _CELLS | _INLINE))})\b|<!\[CDATA\[", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]\w{1,30});")


def text_in_html(text: str) -> str | None:
    """The text with its elements as line breaks and gaps; None without any known element."""
    if not _KNOWN.search(text):
        return None
    shown: list[str] = []
    found = False
    for piece in _pieces(text):
        found |= piece[0] != "text"
        match piece:
            case "line", _:
                if shown and not shown[-1].endswith("\n"):
                    shown.append("\n")
            case "break", _:
                shown.append("\n")
            case "gap", _:
                shown.append("\t")
            case _, words:
                words = words.removeprefix("\n") if shown and shown[-1] == "\n" else words
                if words:
                    shown.append(words)
    return "".join(shown).replace("\xa0", " ") if found else None


def without_entities(text: str) -> str:
    """The text with the characters that its entities stand for."""
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The parts of the text: 'text', 'line', 'break', 'gap' or 'nothing', and the words of a text."""
    done = 0
    while (begin := text.find("<", done)) >= 0:
        kind, words, end = _element(text, begin)
        yield "text", without_entities(text[done:begin])
        yield kind, words
        done = end
    yield "text", without_entities(text[done:])


def _element(text: str, begin: int) -> tuple[str, str, int]:
    """What begins with this '<', and where it ends."""
    for opening, closing in (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<!", ">"), ("<?", "?>")):
        if text.startswith(opening, begin):
            end = text.find(closing, begin)
            inside = text[begin + len(opening) : end if end >= 0 else None]
            after = len(text) if end < 0 else end + len(closing)
            return ("raw", inside, after) if "CDATA" in opening else ("nothing", "", after)
    tag = _TAG.match(text, begin)
    name = tag["name"].lower() if tag else ""
    if tag is None or name not in _LINES | _CELLS | _INLINE | _HIDDEN:
        return "text", "<", begin + 1
    if name in _HIDDEN and not tag["end"] and not tag["rest"].endswith("/"):
        closing_tag = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, tag.end())
        return "nothing", "", closing_tag.end() if closing_tag else len(text)
    if name == "br":
        return "break", "", tag.end()
    if name in _CELLS:
        return ("gap" if tag["end"] else "nothing"), "", tag.end()
    return ("line" if name in _LINES else "nothing"), "", tag.end()

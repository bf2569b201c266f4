"""What a program puts around every line of a log: numbers, a table's bars, a service's name and time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from android_bench.errors import LogError
from android_bench.printed.prefixes import begins_the_tools_line, mentions

_QUOTE = re.compile(r"\s*>\s?")
_NUMBER = re.compile(r"\s*(?P<number>\d{1,9})(?:\t|\s*[|│:.)]\s?|\s{1,4}|$)")
_RULE = re.compile(r"[\s|+:=\-─━┼│┃├┤┌┐└┘┬┴═║╔╗╚╝]+")
_BARS = re.compile(r"(?<!\\)[|│┃║]")
_TIME = re.compile(
    r"\s*\[?(?:\d{4}[-/]\d\d[-/]\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
    r"(?:Z|\s?[+-]\d\d:?\d\d)?\]?(?:\s+|:\s+|$)"
)
_LONGEST_HEAD = 200
_NUM_STUDIED = 200
"""Lines from which the head of all lines is learned."""
_TIMES = re.compile(r"((?<![\w-])\d+[\d:.,TZ/+-]*[:.]\d[\d:.,TZ/+-]*)")
_SPACES = re.compile(r"(?:\\\s|\s)+")
_BEGINS_A_RUN = "STARTING!"
_SPLIT = re.compile(r"[\s|:>\])│-]+(?=\S)")


def without_quotes(text: str) -> str | None:
    """The text without the '>' before every line."""
    return _without(text, _QUOTE)


def without_times(text: str) -> str | None:
    """The text without the time before every line."""
    return _without(text, _TIME)


def without_numbers(text: str) -> str | None:
    """The text without line numbers, as cat -n, nl, editors and web pages show them."""
    lines = text.splitlines()
    found = [(line, _NUMBER.match(line)) for line in lines]
    numbers = [int(number["number"]) for line, number in found if number and line.strip()]
    if not numbers or len(numbers) < sum(bool(line.strip()) for line in lines):
        return None
    if any(after != before + 1 for before, after in pairwise(numbers)):
        return None
    return _again(text, [line[number.end() :] if number else "" for line, number in found])


def without_bars(text: str) -> str | None:
    """The column of a table that holds the log: Markdown's, a box's, a client's of a database.

    LogError if a log stands in each of several columns.
    """
    lines = text.splitlines()
    told = [_cells(line) for line in lines if _BARS.match(line.lstrip()) and mentions(line)]
    telling = [[at for at, cell in enumerate(row) if mentions(cell)] for row in told]
    if any(len(columns) > 1 for columns in telling):
        raise LogError("a log stands in each of several columns of its table. Give each log in its own file")
    if len({at for columns in telling for at in columns}) != 1:
        return None
    num_cells, column = min(map(len, told)), telling[0][0]
    behind = num_cells - 1 - column
    rows = (_cells(line) for line in lines)
    return _again(text, ["|".join(row[column : len(row) - behind]).strip() for row in rows])


def without_heads(text: str) -> str | None:
    """The text without what stands before the tool's words on most lines, such as a service's name and time.

    The head is learned from lines that only the tool begins; digits may differ in it. Where each of several
    services has a run of its own, their lines come after one another.
    """
    lines = text.splitlines()
    telling = [line for line in lines if mentions(line)][:_NUM_STUDIED]
    headed = [(head, line) for line in telling if (head := _head(line))]
    if 2 * len(headed) <= len(telling):
        return None
    if services := _services(headed):
        forms = [re.compile(service) for service in services]
        rest = [[line[found.end() :] for line in lines if (found := form.match(line))] for form in forms]
        return _again(text, [line for each in rest for line in each])
    shapes = Counter(_shape(head) for head, _ in headed)
    lone = len(headed) == 1 and _ends_like_a_head(headed[0][0])
    kept = [shape for shape, count in shapes.items() if count > 1 or lone]
    if not kept:
        return None
    form = re.compile("|".join(f"(?:{shape})" for shape in kept))
    return _again(text, [line[found.end() :] if (found := form.match(line)) else line for line in lines])


def _without(text: str, form: re.Pattern[str]) -> str | None:
    """The text without the pattern; None unless every line begins with it."""
    lines = text.splitlines()
    found = [form.match(line) for line in lines]
    if not lines or any(each is None and line.strip() for line, each in zip(lines, found, strict=True)):
        return None
    return _again(text, [line[each.end() :] if each else "" for line, each in zip(lines, found, strict=True)])


def _again(text: str, lines: Sequence[str]) -> str:
    """The lines as a text, the last one ended as before."""
    return "\n".join(lines) + ("\n" if text.endswith("\n") else "")


def _cells(line: str) -> list[str]:
    """The cells of a table's row; the line itself, alone, where there is no bar."""
    if _RULE.fullmatch(line):
        return []
    return [part.replace("\\|", "|") for part in _BARS.split(line.strip())]


def _head(line: str) -> str | None:
    """What stands before the tool's own words; None if they begin the line."""
    if begins_the_tools_line(line):
        return None
    ends = (found.end() for found in _SPLIT.finditer(line, 0, _LONGEST_HEAD))
    return next((line[:end] for end in ends if begins_the_tools_line(line[end:])), None)


def _services(headed: Sequence[tuple[str, str]]) -> list[str]:
    """The heads, but for their times, if there are several and each begins a run; empty for any other."""
    runs: dict[str, bool] = {}
    for head, line in headed:
        shape = "".join(
            _SPACES.sub(r"\\s+", re.escape(part)) if at % 2 == 0 else r"[\d:.,TZ/+-]+"
            for at, part in enumerate(_TIMES.split(head))
        )
        runs[shape] = runs.get(shape, False) or _BEGINS_A_RUN in line
    return list(runs) if len(runs) > 1 and all(runs.values()) else []


def _shape(head: str) -> str:
    """A pattern of the head with any digits and gaps."""
    return _SPACES.sub(r"\\s+", re.sub(r"\d+", r"\\d+", re.escape(head)))


def _ends_like_a_head(head: str) -> bool:
    """Whether it ends as a program ends one, with a sign or a number, and not in a word."""
    return re.search(r"(?:[|:\]>)│-]|\S*\d\S*)\s*$", head) is not None

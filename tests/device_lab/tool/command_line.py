"""Parses flags like TFLite's tools: --name=value, the first of two wins, unknown ones are left over."""

from __future__ import annotations

import re

from device_lab.tool.flag_table import ALWAYS, FLAGS, LABELS, Flag

_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_NUMBERS = {
    "int32": (int, re.compile(r"\s*[+-]?\d+")),
    "float": (float, re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)),
}


class CommandLine:
    """The parameters, which of them were given, and the messages about the words."""

    def __init__(self, flavour: str, words: list[str], *, ignored: str = "") -> None:
        """`ignored` names a flag to leave unconsumed."""
        self.flavour = flavour
        self.values: dict[str, object] = {}
        self.given: set[str] = set()
        self.errors: list[str] = []
        self.duplicates: list[str] = []
        self.unconsumed: list[str] = []
        flags = {flag.name: flag for flag in FLAGS[flavour]}
        for flag in flags.values():
            self.values[flag.name] = _value(flag.kind, flag.default)
        for word in words:
            self._take(word, flags, ignored)

    def __getitem__(self, name: str) -> object:
        return self.values.get(name)

    @property
    def refused(self) -> bool:
        """Whether the tool prints its usage and runs nothing."""
        return bool(self.errors) or self["help"] is True or self.unconsumed[:1] == ["--help"]

    def parameter_lines(self) -> list[str]:
        """The tool's log lines of the given parameters, or of all if requested."""
        lines = []
        for name, label, *mark in LABELS[self.flavour]:
            if mark == [ALWAYS] or name in self.given or self["verbose"]:
                lines.append(f"{label}: [{_shown(self[name])}]")
        return lines

    def usage(self, program: str) -> str:
        """The text of --help=true."""
        flags = FLAGS[self.flavour]
        width = max(len(_column(flag)) for flag in flags)
        rows = [f"\t{_column(flag):<{width}}\t{flag.kind}\toptional\t{flag.text}\n" for flag in flags]
        return f"usage: {program} <flags>\nFlags:\n{''.join(rows)}"

    def _take(self, word: str, flags: dict[str, Flag], ignored: str) -> None:
        name, equals, text = word.removeprefix("--").partition("=")
        known = word.startswith("--") and equals and name in flags and name != ignored
        if not known or name in self.given:
            self.unconsumed.append(word)
            if known:
                self.duplicates.append(name)
            return
        self.given.add(name)
        try:
            self.values[name] = _value(flags[name].kind, text)
        except ValueError:
            self.errors.append(f"Failed to parse flag '{name}' against argv '{word}'")


def _value(kind: str, text: str) -> object:
    """Parses a value; ValueError for a wrong type. Letters may follow a number, as in C++ streams."""
    if kind == "string":
        return text
    if kind == "bool":
        if text not in _BOOLS:
            raise ValueError(text)
        return _BOOLS[text]
    convert, pattern = _NUMBERS[kind]
    found = pattern.match(text)
    if found is None and text:
        raise ValueError(text)
    return convert(found[0]) if found else convert(0)


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    return f"{value:g}" if isinstance(value, float) else value


def _column(flag: Flag) -> str:
    return f"--{flag.name}={flag.default}"

"""The tool's output, flushed line by line: INFO and WARN on stdout, the others on stderr."""

from __future__ import annotations

import os
import sys


def info(text: str) -> None:
    _write(1, f"INFO: {text}\n")


def warn(text: str) -> None:
    _write(1, f"WARN: {text}\n")


def error(text: str) -> None:
    _write(2, f"ERROR: {text}\n")


def fatal(text: str) -> None:
    """Prints a fatal line; the tool ends by abort(): raises SystemExit with 134."""
    _write(2, f"FATAL: {text}\n")
    sys.exit(134)


def runtime(text: str, *, level: str = "INFO") -> None:
    """Prints a log line of the runtime on stderr."""
    _write(2, f"{level}: {text}\n")


def litert(text: str, *, line: int, file: str = "benchmark_litert_model.h") -> None:
    """Prints a line of LiteRT's logger, with file and line number, on stderr."""
    _write(2, f"INFO: [{file}:{line}] {text}\n")


def unfinished(text: str) -> None:
    """Prints part of a line."""
    _write(1, text)


def _write(stream: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(stream, data) :]

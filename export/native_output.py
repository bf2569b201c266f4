"""Captures the output of TensorFlow's converter, to keep it off the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Noise:
    """The output printed inside `captured()`; filled when the block ends, also when it raises."""

    text: str = ""


@contextlib.contextmanager
def captured() -> Iterator[Noise]:
    """Collects stdout and stderr of this process, C++ included, and silences Python warnings and absl.

    It redirects file descriptors 1 and 2, so a progress bar of another thread is silent meanwhile, unless it
    writes to its own descriptor (os.dup(2) taken beforehand).
    """
    noise = Noise()
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    _flush()
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        text = stack.enter_context(open(os.dup(file.fileno()), "w", errors="replace"))  # noqa: PTH123
        stack.enter_context(contextlib.redirect_stdout(text))
        stack.enter_context(contextlib.redirect_stderr(text))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            for descriptor, _ in saved:
                os.dup2(file.fileno(), descriptor)
            yield noise
        finally:
            text.flush()
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            file.seek(0)
            noise.text = file.read().decode(errors="replace")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()

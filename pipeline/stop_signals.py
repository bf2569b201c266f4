"""SIGTERM and SIGHUP as Ctrl-C: what is finished is kept, and the exit status names the signal."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import Any

CTRL_C = 130
"""The exit status of a command that Ctrl-C stopped: 128 and SIGINT's number."""
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class StopSignals:
    """Turns the first SIGTERM or SIGHUP into KeyboardInterrupt, and ignores later ones.

    A signal that was ignored at the start stays ignored, as under nohup.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._terminals = [each for each in (0, 1, 2) if os.isatty(each)]
        for each in _SIGNALS:
            if signal.getsignal(each) is signal.SIG_DFL:
                signal.signal(each, self._stop)

    def exit_status(self, status: int) -> int:
        """The command's exit status: 143 or 129 instead of 130 if a signal stopped it."""
        return 128 + self._received if self._received is not None and status == CTRL_C else status

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        self._received = signal.Signals(number)
        if self._received.name == "SIGHUP":
            self._leave_terminal()
        raise KeyboardInterrupt

    def _leave_terminal(self) -> None:
        for each in self._terminals:
            _send_nowhere(each)


def outlive_terminal() -> None:
    """From now on, what is printed after the terminal was closed goes nowhere, instead of failing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or not stream.isatty():
            continue
        raw = _Terminal(stream.fileno(), "w", closefd=False)
        text = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True
        )
        setattr(sys, name, text)


class _Terminal(io.FileIO):
    def write(self, content: Any) -> int:  # noqa: ANN401 - whatever has bytes
        try:
            return super().write(content)
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that is gone
                raise
            _send_nowhere(self.fileno())
            return super().write(content)


def _send_nowhere(stream: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, stream)
    os.close(nowhere)

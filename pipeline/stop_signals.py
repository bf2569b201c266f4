"""SIGTERM and SIGHUP as Ctrl-C: what is finished is kept, and the exit status names the signal."""

from __future__ import annotations

import os
import signal
from types import FrameType

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
        """Sends what is still printed nowhere: a terminal that is gone fails every write."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for each in self._terminals:
            os.dup2(nowhere, each)
        os.close(nowhere)

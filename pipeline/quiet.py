"""Hides TensorFlow's start-up messages.

TensorFlow and absl write them to file descriptor 2 on import, regardless of TF_CPP_MIN_LOG_LEVEL. Here that
descriptor becomes a pipe, from which other lines are passed on; Python's sys.stderr still writes to the
terminal. TF_CPP_MIN_LOG_LEVEL=0 shows everything.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading

from pipeline.terminal import printable_bytes

CHATTER = re.compile(
    rb"[IW]\d{4} |\d{4}-\d\d-\d\d [\d:.]+: [IW] |E\d{4} .* node_def_util"
    rb"|WARNING: All log messages before absl|To enable the following instructions"
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate|\s*$"
)


def quiet_native_logs() -> None:
    """Filters what native code writes to standard error, from now until the process ends."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    terminal = os.dup(2)
    os.set_inheritable(terminal, False)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    passing_on = threading.Thread(target=_pass_on, args=(reader, terminal), daemon=True)
    passing_on.start()

    def finish() -> None:
        os.dup2(terminal, 2)  # closes the pipe, unless a child still holds it
        passing_on.join(timeout=0.5)

    atexit.register(finish)


def _pass_on(reader: int, terminal: int) -> None:
    with os.fdopen(reader, "rb") as lines:
        for line in lines:
            if not CHATTER.match(line):
                os.write(terminal, printable_bytes(line))

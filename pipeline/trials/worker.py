"""A process that carries out tasks one after another, so that TensorFlow is imported once for many.

Run as a program: python -P -m pipeline.trials.worker WORK FOLDER. It reads a task, a line of JSON, at a time
and answers in lines of JSON: {"doing": ...} and {"note": ...} of its progress, then {"reply": ...} or
{"failure": ...}. It ends with its standard input, also in the middle of a task, after a failure, and when it
has grown.
What is printed meanwhile goes to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

from pipeline.bench.worker import private_stdout, reply_with
from pipeline.progress import Doing, Event
from pipeline.stop_signals import StopSignals
from pipeline.trials.tasks import attempted, event_as_json, find_work

SAY_SECS = 0.5
"""The least time between two reports of progress in one stage."""
LAST_SECS = 10.0
"""How long the work may take to clean up once nobody listens."""
MAX_GROWTH_BYTES = 1_000_000_000
"""The process ends once it holds so much more memory than after its first task."""


def main(arguments: list[str]) -> int:
    """Answers tasks until standard input ends."""
    StopSignals()
    replies = private_stdout()
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    work, folder = find_work(arguments[0]), Path(arguments[1])
    first_bytes = None
    reply_with(replies, {"ready": True})
    try:
        while (line := tasks.get()) is not None:
            answer = attempted(work, json.loads(line), folder, _Telling(replies))
            held = _resident_bytes()
            first_bytes = first_bytes or held
            is_last = "failure" in answer or held - first_bytes > MAX_GROWTH_BYTES
            reply_with(replies, {**answer, "last": is_last})
            if is_last:
                return 0
    except KeyboardInterrupt:
        return 143
    return 0


class _Telling:
    """A progress callback that writes lines, but not more often than somebody can read."""

    def __init__(self, replies: object) -> None:
        self._replies = replies
        self._stage = ""
        self._said = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Doing):
            is_due = event.what != self._stage or time.monotonic() - self._said >= SAY_SECS
            if not is_due:
                return
            self._stage, self._said = event.what, time.monotonic()
        reply_with(self._replies, event_as_json(event))  # type: ignore[arg-type]


def _read(tasks: queue.SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    tasks.put(None)
    os.kill(os.getpid(), signal.SIGTERM)  # the parent is gone: what is finished is kept
    time.sleep(LAST_SECS)
    os._exit(143)


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

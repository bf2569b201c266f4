"""One process a run: a lock in the run's folder, which ends with its process."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.partial import LOCK, hold
from pipeline.errors import PipelineError

MOST_LETTERS = 200


class RunInUseError(PipelineError):
    """Another process trains the run."""


@contextmanager
def only_process_of(run: Path) -> Iterator[None]:
    """Keeps other processes from training this run. RunInUseError, which names it, if one does."""
    handle = _take(run / LOCK)
    try:
        yield
    finally:
        (run / LOCK).unlink(missing_ok=True)
        os.close(handle)


def _take(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if hold(handle):
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
            return handle
        removed = os.fstat(handle).st_nlink == 0
        who = os.read(handle, MOST_LETTERS).decode(errors="replace")
        os.close(handle)
        if not removed:
            raise RunInUseError(
                f"the run {path.parent.name} is in use by {who or 'another process'}. Wait until it ends, or "
                "stop it, then run the same command again."
            )

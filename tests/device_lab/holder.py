"""Holds the lab's network and mounts; when its input closes, ends all processes in them. Run with `-m`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from device_lab.linux import (
    NEW_MOUNTS,
    NEW_NETWORK,
    PRIVATE,
    RECURSIVE,
    bring_loopback_up,
    mount,
    unmount,
    unshare,
)
from device_lab.process_table import processes_sharing


def main(folder: str) -> None:
    """Prints "ready", waits until its parent closes the pipe or ends, then cleans up."""
    owner = os.getppid()
    unshare(NEW_NETWORK | NEW_MOUNTS)
    mount("none", "/", flags=PRIVATE | RECURSIVE)
    bring_loopback_up()
    print("ready", flush=True)
    sys.stdin.buffer.read()
    _end_everyone(spared={os.getpid(), owner})
    _unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _unmount_below(folder: str) -> None:
    """Unmounts the phones' storages, so that their folders can be removed."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        target = line.split()[1]
        if target.startswith(f"{folder}/"):
            unmount(target)


def _end_everyone(spared: set[int]) -> None:
    """Kills every process of this network until none is left."""
    for _ in range(100):
        inside = set(processes_sharing("self", "net")) - spared
        if not inside:
            return
        for process in inside:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1])

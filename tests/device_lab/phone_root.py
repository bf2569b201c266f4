"""Starts a phone's daemon with its own root, process table and mounts, and lets the phone cool.

Run with `-m`; takes the path of a JSON file, prints the daemon's process id, ends when the daemon ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from device_lab.heat import cool_down
from device_lab.linux import (
    BIND,
    NEW_MOUNTS,
    NEW_NETWORK,
    NEW_PROCESSES,
    RECURSIVE,
    die_with_parent,
    enter,
    make_read_only,
    mount,
    unshare,
)

STORAGE = "data/local/tmp"
_OWN = {"data", "lab", "proc", "system", "lost+found"}
"""Top-level names that are the phone's own, even if the machine has them."""
_TICK_S = 0.1


def main(path: str) -> int:
    """Runs the daemon; returns its exit status."""
    spec = json.loads(Path(path).read_text())
    for name, kind in (("net", NEW_NETWORK), ("mnt", NEW_MOUNTS)):
        with Path(f"/proc/{spec['holder']}/ns/{name}").open() as namespace:
            enter(namespace.fileno(), kind)
    unshare(NEW_PROCESSES)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    daemon = os.fork()
    if daemon == 0:
        _become_daemon(spec)
    print(daemon, flush=True)
    return _watch(daemon, Path(spec["folder"]) / "lab")


def _watch(daemon: int, lab: Path) -> int:
    last = time.monotonic()
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, _TICK_S)
        ended, status = os.waitpid(daemon, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        cool_down(lab, now - last)
        last = now


def _become_daemon(spec: dict) -> None:
    """Replaces this process by the daemon; earlier errors are in the log."""
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        die_with_parent()
        unshare(NEW_MOUNTS)
        folder = Path(spec["folder"])
        build_root(folder / "root", folder)
        os.chroot(folder / "root")
        os.chdir("/")
        os.execve(spec["command"][0], spec["command"], spec["environment"])
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def build_root(root: Path, folder: Path) -> None:
    """Makes a tmpfs with the machine's top-level folders, read-only, and the phone's own over them."""
    mount("phone", root, "tmpfs", options="mode=755,size=4m")
    for entry in sorted(Path("/").iterdir()):
        if entry.name not in _OWN:
            _take_over(entry, root / entry.name, inside=folder.is_relative_to(entry))
    (root / "proc").mkdir()
    mount("proc", root / "proc", "proc")
    (root / "system").mkdir()
    (root / "system/bin").symlink_to("/lab/bin")
    for source, target in (("storage", STORAGE), ("lab", "lab")):
        (root / target).mkdir(parents=True)
        mount(folder / source, root / target, flags=BIND)
    mount(folder / "cpu", root / "sys/devices/system/cpu", flags=BIND)
    mount(folder / "lab/thermal", root / "sys/class/thermal", flags=BIND)


def _take_over(entry: Path, target: Path, *, inside: bool) -> None:
    """Bind-mounts a folder, without the mounts below it if the phone's root is one of them."""
    if entry.is_symlink():
        target.symlink_to(entry.readlink())
    elif entry.is_dir():
        target.mkdir()
        mount(entry, target, flags=BIND if inside else BIND | RECURSIVE)
        if entry.name != "dev":
            make_read_only(target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

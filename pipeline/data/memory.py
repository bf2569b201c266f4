"""The memory available to this process."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Bytes available without swapping: the machine's, or the container's if that is less."""
    free = _meminfo_bytes()
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        free = min(free, max(limit - used, 0))
    return free


def room_bytes() -> int:
    """Bytes that this process can get at most, swap included: beyond, the system ends it."""
    free = _of_meminfo("MemAvailable")
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    room = installed if free is None else free + (_of_meminfo("SwapFree") or 0)
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        room = min(room, max(limit - used + _cached_bytes(), 0))
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        room = min(room, max(allowed - _mapped_bytes(), 0))
    return room


def _cached_bytes() -> int:
    """What the container's memory holds of files, which is given back when it is needed."""
    try:
        rows = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return int(rows["active_file"]) + int(rows["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0


def _mapped_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _meminfo_bytes() -> int:
    free = _of_meminfo("MemAvailable")
    if free is not None:
        return free
    # elsewhere (macOS) half of the installed memory is a cautious guess
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _of_meminfo(name: str) -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None

"""The processes that share a namespace with a given one."""

from __future__ import annotations

from pathlib import Path


def processes_sharing(process: int | str, kind: str) -> list[int]:
    """The ids of all processes, `process` included, in its namespace of that kind (net, pid)."""
    namespace = Path(f"/proc/{process}/ns/{kind}").readlink()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "ns" / kind).readlink() == namespace:
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile, or is a zombie
            continue
    return found


def command_line(process: int) -> str:
    """The process's command line, joined by spaces; "" if it has ended."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(word for word in words if word).decode()

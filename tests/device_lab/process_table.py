"""Which processes share a namespace with a given one."""

from __future__ import annotations

from pathlib import Path


def processes_sharing(process: int | str, kind: str) -> list[int]:
    """The process ids, `process` among them, whose namespace of that kind (net, pid) is its own."""
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
    """Its words with a space between; "" when it has ended."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(word for word in words if word).decode()

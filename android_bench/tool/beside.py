"""What else ran on the phone beside the tool, from two looks at its processes, before and after."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from android_bench.reasons import Reason

BUSY_CORES = 0.5
"""A process that uses more than this share of one core, on average, spoils the run beside it."""
MIN_SECS = 0.05
"""Less CPU time than this is not counted: the kernel counts in steps of 0.01 s."""
_TICKS_PER_SEC = 100
"""Of /proc/PID/stat on all of Android's processors (USER_HZ)."""
_KERNEL = 2
"""kthreadd's process id, the parent of all kernel threads."""
_DRIVERS = ("android.hardwar", "vendor.")
"""How the names of the services begin that run a GPU, DSP or NPU for the tool; a name has 15 characters."""
_STAT = (
    r"s/^\([0-9]*\) (\(.*\)) . \([0-9]*\) \([-0-9]* \)\{9\}\([0-9]*\) \([0-9]*\) "
    r"\([-0-9]* \)\{6\}\([0-9]*\) .*/\1 \8 \3 \5 \6 \2/p"
)
"""sed: id, start, parent, user and system time, and name of a process from /proc/PID/stat (proc(5))."""
_LOOK = (
    f"look() {{ cat /proc/[0-9]*/stat 2>/dev/null | sed -n '{_STAT}' > look$1; "
    "grep -l -e '--[g]raph=' -e 'tensorflow[.]lite[.]benchmark' /proc/[0-9]*/cmdline 2>/dev/null >> tools; "
    "read -r up rest < /proc/uptime; }; "
)
BEFORE = f"{_LOOK}rm -f tools; look 1; before=$up; "
"""Shell code for a session's folder, before the tool starts."""
AFTER = (
    "echo @@looks; look 2; echo $$ $before $up; echo @@tools; cat tools; "
    "echo @@processes; sort look1 look2 | uniq -u; "
)
"""Shell code after its end. Of the processes only those are printed that ran in between."""


@dataclass(frozen=True, kw_only=True)
class _Process:
    process: int
    parent: int
    name: str
    used_secs: float


def reasons_beside(sections: dict[str, str], *, off_cpu: bool) -> list[str]:
    """Why the run is not valid, from the output of AFTER as sections; empty if the looks failed.

    With `off_cpu` a GPU, DSP or NPU computes: kernel threads and the drivers' services work for the tool.
    """
    looks = re.fullmatch(r"(\d+) (\d+\.\d+) (\d+\.\d+)", sections.get("looks", "").strip())
    if looks is None:
        return []
    shell, before, after = int(looks[1]), float(looks[2]), float(looks[3])
    tools = {int(number) for number in re.findall(r"/proc/(\d+)/cmdline", sections.get("tools", ""))}
    others = sorted(tools - {shell})
    reasons = [Reason.BENCHMARK_BESIDE.text(process=process) for process in others[:1]]
    for each in _worked(sections.get("processes", ""), since_secs=before):
        cores = each.used_secs / max(after - before, 1e-3)
        if shell in (each.process, each.parent) or each.process in others:
            continue
        if off_cpu and (each.parent == _KERNEL or each.name.startswith(_DRIVERS)):
            continue
        if cores > BUSY_CORES and each.used_secs > MIN_SECS:
            reasons.append(Reason.PHONE_BUSY.text(name=each.name, process=each.process, share=f"{cores:.0%}"))
    return reasons


def _worked(lines: str, *, since_secs: float) -> Iterator[_Process]:
    """The processes of both looks, and those that started in between, with the CPU time they used."""
    found: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for line in re.findall(
        r"^(\d{1,9}) (\d{1,18}) (\d{1,9}) (\d{1,18}) (\d{1,18}) (.*?)\r?$", lines, re.MULTILINE
    ):
        number, born, parent, user, system, name = line
        found.setdefault((number, born), []).append((int(user) + int(system), int(parent), name))
    for (number, born), looks in found.items():
        ticks, parent, name = max(looks)
        if len(looks) > 1:
            ticks -= min(looks)[0]
        elif int(born) < since_secs * _TICKS_PER_SEC:
            continue  # it ended in between: what it used until then is unknown
        yield _Process(
            process=int(number), parent=parent, name=name.strip() or "?", used_secs=ticks / _TICKS_PER_SEC
        )

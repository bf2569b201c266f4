"""How busy other programs kept the machine during a round, and what that cost the round; from /proc."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_BUSY = (0, 1, 2, 5, 6, 7)
"""Columns of a CPU in /proc/stat, proc(5): user, nice, system, irq, softirq, and stolen by a hypervisor."""


@dataclass(frozen=True, kw_only=True)
class MachineUse:
    """The CPUs during one round."""

    num_cpus: int
    """That this process may use."""
    others_cpus: float
    """As many CPUs as other programs used, on average."""
    wait_share: float
    """The share of the round's time that a thread of it waited for a CPU, because of other programs."""


class Watch:
    """Started before a round; over() says how busy the CPUs were until then."""

    def __init__(self) -> None:
        self._busy_secs = _busy_secs()
        self._own_secs = time.process_time()
        self._start = time.monotonic()

    def over(
        self, *, num_threads: int, cpu_secs: float, waited_secs: float | None, num_cpus: int
    ) -> MachineUse | None:
        """The use of the machine; None where the system does not report it.

        cpu_secs and waited_secs are those of the round's process: what its threads ran, and waited for a CPU.
        """
        busy_secs = _busy_secs()
        if self._busy_secs is None or busy_secs is None:
            return None
        secs = max(time.monotonic() - self._start, 1e-3)
        own_secs = cpu_secs + time.process_time() - self._own_secs
        others = min(max(0.0, (busy_secs - self._busy_secs - own_secs) / secs), float(num_cpus))
        if waited_secs is None:  # then from what the others left
            waited = max(0.0, others + num_threads - num_cpus)
        else:
            waited = min(waited_secs / secs, others)  # threads also wait for one another
        return MachineUse(num_cpus=num_cpus, others_cpus=others, wait_share=min(1.0, waited / num_threads))


def typical(rounds: list[MachineUse]) -> MachineUse | None:
    """The medians over the rounds, as a measurement's own figure is; None without any."""
    if not rounds:
        return None
    return MachineUse(
        num_cpus=rounds[0].num_cpus,
        others_cpus=median(each.others_cpus for each in rounds),
        wait_share=median(each.wait_share for each in rounds),
    )


def _busy_secs() -> float | None:
    """Seconds that the CPUs which this process may use were busy since the start of the machine."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    except (OSError, AttributeError):  # not Linux
        return None
    rows = [words[1:] for words in map(str.split, lines) if words and words[0] in ours]
    ticks = sum(int(row[column]) for row in rows for column in _BUSY if column < len(row))
    return ticks / os.sysconf("SC_CLK_TCK") if rows else None

"""How busy other programs keep the machine: compared with the CPU time that real ones say they had."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.bench.host import num_cpus, run_rounds
from pipeline.bench.machine_use import MachineUse, Watch, typical

SPIN = "import time\nwhile True: pass"


@contextmanager
def spinning(count):
    """So many processes that want a CPU each."""
    processes = [subprocess.Popen([sys.executable, "-S", "-c", SPIN]) for _ in range(count)]
    try:
        yield processes
    finally:
        for each in processes:
            each.kill()
            each.wait()


def cpu_secs(process):
    words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def watched(watch, *, waited_secs, num_threads=1):
    return watch.over(num_threads=num_threads, cpu_secs=0.0, waited_secs=waited_secs, num_cpus=num_cpus())


def test_others_use_is_at_least_what_real_programs_had():
    with spinning(1) as (process,):
        time.sleep(0.1)  # its start
        before, start, watch = cpu_secs(process), time.monotonic(), Watch()
        time.sleep(0.6)
        use = watched(watch, waited_secs=0.0)
        had = (cpu_secs(process) - before) / (time.monotonic() - start)
    assert use is not None
    assert had - 0.1 < use.others_cpus <= num_cpus()
    assert use.wait_share == 0.0  # they left a CPU for a thread that never waited


def test_a_wait_that_others_cannot_have_caused_is_not_theirs():
    watch = Watch()
    time.sleep(0.2)
    use = watched(watch, waited_secs=100.0)
    assert use is not None
    assert use.wait_share == pytest.approx(min(1.0, use.others_cpus))


def test_without_a_count_of_waits_they_are_what_the_others_took_of_its_cpus():
    with spinning(2 * num_cpus()):
        watch = Watch()
        time.sleep(0.5)
        use = watched(watch, waited_secs=None, num_threads=num_cpus())
    assert use is not None
    assert use.wait_share == pytest.approx(use.others_cpus / num_cpus(), abs=0.01)
    assert use.wait_share > 0.8


def test_the_medians_of_the_rounds_are_told():
    rounds = [MachineUse(num_cpus=2, others_cpus=each, wait_share=each / 2) for each in (0.0, 0.2, 2.0)]
    assert typical(rounds) == MachineUse(num_cpus=2, others_cpus=0.2, wait_share=0.1)
    assert typical([]) is None


def test_a_figure_beside_programs_that_take_every_cpu_is_not_valid(files, quick):
    settings = dataclasses.replace(quick, max_wait=0.1)
    with spinning(3 * num_cpus()):
        (measured,) = run_rounds([files["ten"]], settings).measured
    found = measured.measurement
    assert not found.valid
    (reason,) = found.reasons
    words = rf"other programs used \d\.\d of {num_cpus()} CPUs and let its threads wait for \d+% of the time"
    assert re.fullmatch(words, reason)
    assert found.others_cpus > 0.3 * num_cpus()
    assert found.wait_share > 0.1

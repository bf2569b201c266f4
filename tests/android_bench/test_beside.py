"""What else ran on the phone: from real processes, and from looks as other phones print them."""

from __future__ import annotations

import re

import pytest

from android_bench.phone.device import split_sections
from android_bench.tool.beside import AFTER, BEFORE, reasons_beside

LOOKS = """@@looks
900 100.00 102.00
@@tools
/proc/900/cmdline
@@processes
{lines}
"""


def reasons(*lines, off_cpu=False):
    return reasons_beside(split_sections(LOOKS.format(lines="\n".join(lines))), off_cpu=off_cpu)


def test_a_process_above_half_a_core_is_named_with_its_share():
    busy = ("77 5000 1 1000 50 com.example.game", "77 5000 1 1100 60 com.example.game")
    quiet = ("78 5000 1 1000 50 system server", "78 5000 1 1090 60 system server")
    assert reasons(*busy, *quiet) == ["process 77 (com.example.game) used 55% of a core beside it"]


def test_one_that_started_in_between_counts_and_one_that_ended_is_unknown():
    assert reasons("77 10050 1 150 0 (a) b") == ["process 77 ((a) b) used 75% of a core beside it"]
    assert reasons("77 5000 1 150 0 a") == []


def test_the_shell_of_the_run_and_what_it_starts_is_no_other_process():
    assert reasons("900 9000 1 0 0 sh", "900 9000 1 150 0 sh", "901 10001 900 150 0 sed") == []


@pytest.mark.parametrize(
    "lines",
    [
        ("77 20 2 0 1000 kworker/u16:3", "77 20 2 0 1150 kworker/u16:3"),
        ("78 20 1 0 1000 android.hardwar", "78 20 1 0 1150 android.hardwar"),
    ],
)
def test_what_drives_a_gpu_or_npu_counts_beside_the_cpu_alone(lines):
    assert len(reasons(*lines)) == 1
    assert reasons(*lines, off_cpu=True) == []


def test_looks_that_failed_say_nothing():
    assert reasons_beside({}, off_cpu=False) == []
    assert reasons_beside(split_sections("@@looks\n12 1.0\n@@processes\nx"), off_cpu=False) == []
    assert reasons("", "no line of ours", "1 2 3") == []


def test_real_looks_see_a_real_process_by_its_odd_name(phone):
    folder, odd = "/data/local/tmp", "a) b (c"
    # in the class of real-time processes, which get their core on a machine that is busy with other tests
    phone.shell(
        f"cd {folder}; cp /bin/sh '{odd}'; "
        f"(exec chrt -r 1 './{odd}' -c 'while :; do :; done') >/dev/null 2>&1 </dev/null &"
    )
    done = phone.shell(f"cd {folder}; {BEFORE}sleep 0.5; {AFTER}")
    (reason,) = reasons_beside(split_sections(done.stdout), off_cpu=False)
    assert re.fullmatch(rf"process \d+ \({re.escape(odd)}\) used \d+% of a core beside it", reason)

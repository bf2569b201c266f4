"""A figure does not count when another process worked on the phone beside the tool."""

from __future__ import annotations

import json
import re
import threading
import time

BUSY = "(exec chrt -r 1 sh -c 'while :; do :; done') >/dev/null 2>&1 </dev/null & echo $!"
"""A process that gets its core also on a machine that is busy with other tests; prints its id."""
LONG = ("--num-runs", "1", "--min-secs", "0.6", "--warmup-min-secs", "0", "--num-rounds", "2")


def timed_runs(phone):
    return [each for each in phone.runs() if any(word.startswith("--graph=") for word in each.argv)]


def test_a_busy_process_beside_makes_a_row_not_valid(bench, files, phone):
    process = phone.shell(BUSY).stdout.strip()
    status, out, _ = bench(files["one"], "--json", quick=LONG)
    (row,) = json.loads(out)
    assert status == 1
    assert not row["valid"]
    assert re.fullmatch(rf"process {process} \(sh\) used \d+% of a core beside it", row["reasons"][0])
    assert len(timed_runs(phone)) == 3  # the first round, and twice more


def test_a_round_is_measured_again_when_what_ran_beside_it_has_ended(bench, files, phone):
    process = phone.shell(BUSY).stdout.strip()

    def end():
        while not [each for each in timed_runs(phone) if each.status == 0]:
            time.sleep(0.02)
        phone.shell(f"kill {process}")

    thread = threading.Thread(target=end)
    thread.start()
    status, out, err = bench(files["one"], "--json", quick=LONG)
    thread.join()
    assert status == 0, out + err
    assert json.loads(out)[0]["num_rounds"] == 2
    assert len(timed_runs(phone)) in (3, 4)  # the second may have begun just before


def test_another_benchmark_model_beside_makes_a_row_not_valid(bench, lab, files, phone):
    there = "/data/local/tmp/benchmark_model"
    phone.adb("push", str(lab.benchmark_model), there)
    phone.adb("push", str(files["ten"]), "/data/local/tmp/other.tflite")
    phone.set_faults(hang=True, only_for="other.tflite")
    process = phone.shell(
        f"(exec {there} --graph=/data/local/tmp/other.tflite) >/dev/null 2>&1 </dev/null & echo $!"
    ).stdout.strip()
    while not timed_runs(phone):
        time.sleep(0.02)
    status, out, _ = bench(files["one"], "--json")
    assert status == 1
    assert json.loads(out)[0]["reasons"] == [
        f"another benchmark_model ran beside it (process {process} on the phone)"
    ]
